from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.wse.cases import shapes
from wse.graph import Graph, Operator, OperatorKind
from wse.kernels import VECTOR_CYCLES, Product, kernel_cost
from wse.mapping import Layout
from wse.streaming_constants import FabricConstants
from wse.transformer import Shape, linear, training_graph

small_layouts = st.builds(Layout, st.integers(1, 1000), st.integers(1, 1000), st.just("width"))
WEIGHTED = (OperatorKind.linear, OperatorKind.input_gradient, OperatorKind.weight_gradient)
# A fabric of 4 x 2 PEs, sequences of 8 tokens.
LAYOUT = Layout(4, 2, "width")
GRAPH = training_graph(Shape("small", "gptj", 1, 8, 2, 32, 16, 8, 8))


def _operators(graph: Graph) -> list[Operator]:
    return [operator for _, operator in graph.operators()]


@given(
    st.sampled_from(["gpt2", "gptj", "gptneox", "bert"]),
    st.integers(1, 20),
    st.integers(1, 20),
    st.integers(1, 4),
    st.integers(1, 6),
    st.integers(1, 5),
)
def test_sizes_that_divide_take_the_exact_count_of_each_pe(
    family: str, across: int, along: int, slices: int, tokens: int, wide: int
) -> None:
    hidden, length = across * slices, along * tokens
    sizes = {"feed_forward": wide * hidden, "vocabulary": wide * across}
    shape = Shape(
        "any", family, 2, hidden, slices, positions=length, sequence_length=length, **sizes
    )
    graph, layout = training_graph(shape), Layout(across, along, "width")
    for operator in _operators(graph):
        cost = kernel_cost(operator, graph, layout, tokens)
        exact = operator.flops / 2
        assert cost.multiply_adds * across * along == pytest.approx(exact), operator.name


@given(shapes(), small_layouts, st.integers(1, 50))
def test_padding_only_ever_adds(shape: Shape, layout: Layout, sequences: int) -> None:
    graph = training_graph(shape)
    tokens = layout.tokens_per_pe(sequences * graph.sequence_length)
    for operator in _operators(graph):
        cost = kernel_cost(operator, graph, layout, tokens)
        on_all = cost.multiply_adds * layout.hidden_pes * layout.token_pes
        assert on_all >= operator.flops / 2 * sequences * (1 - 1e-9), operator.name
        assert min(cost.stream_cycles, cost.vector_cycles, cost.link_words) >= 0


@given(shapes(), small_layouts, st.integers(1, 300), st.floats(0.05, 1))
def test_zero_weights_are_neither_sent_nor_multiplied(
    shape: Shape, layout: Layout, tokens: int, density: float
) -> None:
    graph = training_graph(shape)
    for operator in _operators(graph):
        dense = kernel_cost(operator, graph, layout, tokens)
        sparse = kernel_cost(operator, graph, layout, tokens, density)
        if operator.kind not in WEIGHTED:
            assert sparse == dense
            continue
        assert sparse.multiply_adds == pytest.approx(density * dense.multiply_adds)
        assert sparse.stream_cycles <= dense.stream_cycles
        assert density * dense.stream_cycles <= sparse.stream_cycles * (1 + 1e-9)
        assert density * dense.link_words <= sparse.link_words * (1 + 1e-9)
        assert sparse.link_words <= dense.link_words


def test_cycles_of_a_product_and_its_gradients_by_hand() -> None:
    # 3 features of 10 tokens on a PE, 12 outputs: 36 weights, 60 words of outputs.
    fabric = FabricConstants(
        multiply_adds_per_cycle=2.0,
        issue_cycles=7,
        wavelet_cycles=1.0,
        clear_cycles=0.5,
        forward_column_cycles=50.0,
        backward_column_cycles=70.0,
        forward_row_cycles=1.0,
        backward_row_cycles=8.0,
        addition_cycles=0.25,
    )
    product = Product(3, 12, 10, fabric)
    multiplying = 36 * 10 / 2
    costs = product.forward(), product.input_gradient(), product.weight_gradient()
    assert [cost.compute_cycles(2.0) - multiplying for cost in costs] == [
        36 * (7 + 1) + 60,
        36 * (7 + 1),
        36 * (1 + 0.5) + 60,
    ]
    assert {cost.link_words for cost in costs} == {60}
    # With one feature the PE multiplies as the partial sums pass.
    one = replace(product, features=1)
    assert one.forward().stream_cycles == 12
    assert replace(one, density=0.5).forward().stream_cycles == 6


@pytest.mark.parametrize(("tokens", "words"), [(1, 32), (4, 32), (8, 64)])
def test_words_of_a_link_in_a_product_are_its_weights_or_its_partial_sums(
    tokens: int, words: int
) -> None:
    # 8 features on 4 PEs, two each: 2 x 16 weights come down, 16 sums per token run along the row.
    product = linear("product", 8, 8, 16, bias=False)
    assert kernel_cost(product, GRAPH, LAYOUT, tokens).link_words == words


def test_words_of_a_link_in_attention_are_the_keys_or_the_scores() -> None:
    scores = next(one for one in _operators(GRAPH) if one.name == "scores")
    # Keys of 8 tokens, two features each, two to a word; or 8 scores a token, half of them seen.
    assert kernel_cost(scores, GRAPH, LAYOUT, 4).link_words == 8
    wide = replace(LAYOUT, hidden_pes=8)
    assert kernel_cost(scores, GRAPH, wide, 8).link_words == 8 * 8 / 2 / 2


@pytest.mark.parametrize("kind", VECTOR_CYCLES)
def test_vectors_take_cycles_by_the_elements_of_a_pe(kind: OperatorKind) -> None:
    vector = Operator("vector", kind, elements=8 * 32)
    cost = kernel_cost(vector, GRAPH, LAYOUT, 3)
    assert cost.multiply_adds == 0
    assert cost.vector_cycles == VECTOR_CYCLES[kind] * 3 * 32 / 4
    assert cost.link_words == (3 * 8 / 2 if kind is OperatorKind.embedding else 0)


def test_every_kind_of_operator_has_a_cost() -> None:
    for kind in OperatorKind:
        kernel_cost(Operator("one", kind, 8, rows=8, inner=8, columns=8), GRAPH, LAYOUT, 4)
