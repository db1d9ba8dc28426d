"""The training step of a transformer in closed form, from its sizes alone.

Counts are exact: parameters are those that ``transformers`` builds. A decoder's token attends to
the tokens before it, so of the attention products half of the square counts; an encoder's
(``bert``) all of it. The backward pass of a product is two products of as many FLOPs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields

from wse.errors import PlanError
from wse.graph import Graph, Layer, LayerKind, Operator, OperatorKind


@dataclass(frozen=True)
class Shape:
    """The sizes of a transformer, and the length in tokens of the sequences it trains on.

    ``family`` is ``gpt2`` (also GPT-3 and Cerebras-GPT), ``gptj``, ``gptneox`` or ``bert``;
    ``positions`` counts learned positions and matters to ``gpt2`` and ``bert`` only.
    """

    name: str
    family: str
    layers: int
    hidden: int
    heads: int
    feed_forward: int
    vocabulary: int
    positions: int
    sequence_length: int


@dataclass(frozen=True)
class _Traits:
    """What tells the families apart: LayerNorms in a block, biases, residuals and ends."""

    block_norms: int
    attention_biases: bool
    sequential: bool
    learned_positions: bool
    tied_head: bool
    head_bias: bool
    causal: bool = True


_TRAITS = {
    "gpt2": _Traits(2, True, True, True, True, False),
    "gptj": _Traits(1, False, False, False, False, True),
    "gptneox": _Traits(2, True, False, False, False, False),
    "bert": _Traits(2, True, True, True, False, False, causal=False),
}


def training_graph(shape: Shape) -> Graph:
    """Build the training step of ``shape``; raise :class:`PlanError` naming a wrong field."""
    _check(shape)
    layers = (_embedding(shape), _block(shape), _head(shape))
    return Graph(shape.name, shape.family, shape.sequence_length, shape.hidden, layers)


def _check(shape: Shape) -> None:
    if shape.family not in _TRAITS:
        raise PlanError(f"model.family: {shape.family!r} is none of {', '.join(_TRAITS)}")
    for field in fields(shape):
        value = getattr(shape, field.name)
        if field.name not in ("name", "family") and value < 1:
            where = "partition" if field.name == "sequence_length" else "model"
            raise PlanError(f"{where}.{field.name}: {value} is not a positive number")
    if shape.hidden % shape.heads:
        raise PlanError(f"model.heads: {shape.heads} does not divide model.hidden, {shape.hidden}")
    if shape.sequence_length > shape.positions:
        raise PlanError(
            f"partition.sequence_length: {shape.sequence_length} is more than the "
            f"{shape.positions} positions of {shape.name}; raise model.positions to plan it"
        )


def _embedding(shape: Shape) -> Layer:
    """The look-up; a table that is tied to the head streams with the head."""
    traits = _TRAITS[shape.family]
    rows = 0 if traits.tied_head else shape.vocabulary
    if traits.learned_positions:
        rows += shape.positions
    if shape.family == "bert":
        rows += 2 + 2  # two segments; weight and bias of the LayerNorm behind the look-up
    elements = shape.sequence_length * shape.hidden
    look_up = Operator("look_up", OperatorKind.embedding, elements)
    return Layer(
        name="embedding",
        kind=LayerKind.embedding,
        count=1,
        parameters=rows * shape.hidden,
        input_elements=shape.sequence_length,
        saved_elements=shape.sequence_length,
        widest_elements=elements,
        forward=(look_up,),
        backward=(look_up,),
    )


def _block(shape: Shape) -> Layer:
    """LayerNorms, query, key and value, attention, its projection, the feed-forward, residuals."""
    traits = _TRAITS[shape.family]
    tokens, hidden, inner = shape.sequence_length, shape.hidden, shape.feed_forward
    bias = traits.attention_biases
    projections = [
        linear("query_key_value", tokens, hidden, 3 * hidden, bias),
        linear("projection", tokens, hidden, hidden, bias),
        linear("feed_forward_in", tokens, hidden, inner, True),
        linear("feed_forward_out", tokens, inner, hidden, True),
    ]
    visible = 0.5 if traits.causal else 1.0
    attention = [
        _attention("scores", shape.heads, tokens, hidden // shape.heads, tokens, visible),
        _attention("values", shape.heads, tokens, tokens, hidden // shape.heads, visible),
    ]
    vectors = [
        *[
            Operator(f"layer_norm_{n + 1}", OperatorKind.normalization, tokens * hidden)
            for n in range(traits.block_norms)
        ],
        Operator("softmax", OperatorKind.softmax, round(shape.heads * tokens * tokens * visible)),
        Operator("activation", OperatorKind.activation, tokens * inner),
        Operator("residual_1", OperatorKind.elementwise, tokens * hidden),
        Operator("residual_2", OperatorKind.elementwise, tokens * hidden),
    ]
    matrices = sum(one.parameters for one in projections)
    return Layer(
        name="block",
        kind=LayerKind.block,
        count=shape.layers,
        parameters=matrices + 2 * hidden * traits.block_norms,
        input_elements=tokens * hidden,
        saved_elements=tokens * _saved_per_token(shape),
        widest_elements=tokens * max(3 * hidden, inner),
        forward=(*projections, *attention, *vectors),
        backward=(*_backward_products([*projections, *attention]), *vectors),
        part_elements=tokens * (hidden + 2 * inner) if traits.sequential else None,
    )


def _saved_per_token(shape: Shape) -> int:
    """The input; query, key, value, attention's output; feed-forward before and after its GELU.

    A sequential block also keeps the residual between attention and feed-forward. LayerNorms and
    attention's matrix are computed again from these.
    """
    residual = 1 if _TRAITS[shape.family].sequential else 0
    return (5 + residual) * shape.hidden + 2 * shape.feed_forward


def _head(shape: Shape) -> Layer:
    """The last LayerNorm, the products with the vocabulary and the loss; BERT has a pooler."""
    tokens, hidden = shape.sequence_length, shape.hidden
    if shape.family == "bert":
        # The pooler sees one token of a sequence.
        products = [linear("pooler", 1, hidden, hidden, True)]
        vectors: list[Operator] = []
    else:
        bias = _TRAITS[shape.family].head_bias
        products = [linear("logits", tokens, hidden, shape.vocabulary, bias)]
        vectors = [
            Operator("layer_norm", OperatorKind.normalization, tokens * hidden),
            Operator("loss", OperatorKind.cross_entropy, tokens * shape.vocabulary),
        ]
    norm = 0 if shape.family == "bert" else 2 * hidden
    widest = max(one.elements for one in products)
    return Layer(
        name="head",
        kind=LayerKind.head,
        count=1,
        parameters=sum(one.parameters for one in products) + norm,
        input_elements=tokens * hidden,
        saved_elements=tokens * hidden + widest,
        widest_elements=widest,
        forward=(*products, *vectors),
        backward=(*_backward_products(products), *vectors),
    )


def linear(name: str, tokens: int, inputs: int, outputs: int, bias: bool) -> Operator:
    """The forward product of a linear layer on ``tokens`` tokens."""
    parameters = inputs * outputs + (outputs if bias else 0)
    return Operator(
        name,
        OperatorKind.linear,
        elements=tokens * outputs,
        parameters=parameters,
        rows=tokens,
        inner=inputs,
        columns=outputs,
    )


def _attention(
    name: str, heads: int, rows: int, inner: int, columns: int, visible: float
) -> Operator:
    return Operator(
        name,
        OperatorKind.attention,
        elements=round(heads * rows * columns * (visible if columns == rows else 1.0)),
        count=heads,
        rows=rows,
        inner=inner,
        columns=columns,
        visible=visible,
    )


def _backward_products(products: list[Operator]) -> Iterator[Operator]:
    """The two products behind each forward product: by its right, and by its left factor."""
    for one in products:
        weighted = one.kind is OperatorKind.linear
        yield Operator(
            f"{one.name}.input_gradient",
            OperatorKind.input_gradient if weighted else OperatorKind.attention,
            elements=one.count * one.rows * one.inner,
            parameters=one.parameters,
            count=one.count,
            rows=one.rows,
            inner=one.columns,
            columns=one.inner,
            visible=one.visible,
        )
        yield Operator(
            f"{one.name}.{'weight' if weighted else 'right'}_gradient",
            OperatorKind.weight_gradient if weighted else OperatorKind.attention,
            elements=one.count * one.inner * one.columns,
            count=one.count,
            rows=one.inner,
            inner=one.rows,
            columns=one.columns,
            visible=one.visible,
        )
