"""A training step as data: what each layer of a transformer holds and computes, in closed form.

Counts are exact: parameters are those that ``transformers`` builds, FLOPs are those of the
matrix products (one multiply-add is two FLOPs) of a forward pass; a backward pass takes twice
as many. A decoder's token attends to the tokens before it, so the attention products are
counted for that half of the square; an encoder's (``bert``) for all of it. Softmax, LayerNorm,
GELU and the look-up of embeddings are not counted.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from enum import Enum

from wse.errors import PlanError


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


class Kind(Enum):
    """What a streamed layer is."""

    embedding = "embedding"
    block = "block"
    head = "head"


@dataclass(frozen=True)
class Layer:
    """One layer as it streams; FLOPs are of a forward pass over one token.

    ``matrix_parameters`` are those that are multiplied with every token; ``outputs`` counts the
    features that these products write for one token.
    """

    kind: Kind
    parameters: int
    matrix_parameters: int
    outputs: int
    forward_flops_per_token: float


@dataclass(frozen=True)
class Graph:
    """A training step: ``embedding``, then ``shape.layers`` equal blocks, then ``head``."""

    shape: Shape
    embedding: Layer
    block: Layer
    head: Layer

    @property
    def counted_layers(self) -> tuple[tuple[Layer, int], ...]:
        """Each kind of layer with how often it occurs, in the order of a forward pass."""
        return (self.embedding, 1), (self.block, self.shape.layers), (self.head, 1)

    @property
    def parameters(self) -> int:
        """Parameters of the model; a tied table counts once."""
        return sum(layer.parameters * count for layer, count in self.counted_layers)

    @property
    def model_flops_per_token(self) -> float:
        """FLOPs of forward and backward without recomputation, the FLOPs of MFU."""
        forward = sum(layer.forward_flops_per_token * n for layer, n in self.counted_layers)
        return 3.0 * forward


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
    return Graph(shape, _embedding(shape), _block(shape), _head(shape))


def is_sequential(shape: Shape) -> bool:
    """Whether a block adds to the residual twice, attention first; else both at once."""
    return _TRAITS[shape.family].sequential


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
    return Layer(Kind.embedding, rows * shape.hidden, 0, 0, 0.0)


def _block(shape: Shape) -> Layer:
    """Query, key, value and output projections, the feed-forward's two, and attention itself."""
    traits = _TRAITS[shape.family]
    hidden, inner = shape.hidden, shape.feed_forward
    matrices = 4 * hidden * hidden + 2 * hidden * inner
    biases = (4 * hidden if traits.attention_biases else 0) + inner + hidden
    attended = shape.sequence_length / (2 if traits.causal else 1)
    return Layer(
        kind=Kind.block,
        parameters=matrices + biases + 2 * hidden * traits.block_norms,
        matrix_parameters=matrices,
        outputs=5 * hidden + inner,
        forward_flops_per_token=2.0 * matrices + 4.0 * attended * hidden,
    )


def _head(shape: Shape) -> Layer:
    """The last LayerNorm and the products with the vocabulary; BERT's pooler has no product."""
    if shape.family == "bert":
        # The pooler sees one token of a sequence: its FLOPs are left out.
        return Layer(Kind.head, shape.hidden * (shape.hidden + 1), 0, 0, 0.0)
    matrix = shape.vocabulary * shape.hidden
    bias = shape.vocabulary if _TRAITS[shape.family].head_bias else 0
    return Layer(
        kind=Kind.head,
        parameters=matrix + bias + 2 * shape.hidden,
        matrix_parameters=matrix,
        outputs=shape.vocabulary,
        forward_flops_per_token=2.0 * matrix,
    )
