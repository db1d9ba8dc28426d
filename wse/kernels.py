"""Cycles of an operator of a training step on the whole fabric, from what one PE and one link do.

A PE holds ``slices`` features of ``tokens_per_pe`` tokens. In a product with weights every weight
of its features arrives once over the fabric and multiplies the PE's tokens, an AXPY: one cycle to
issue, then the multiply-adds. Partial sums run along the features' axis from PE to PE; the sum
that arrives is where the accumulation starts, so adding it takes no cycle of its own. Arithmetic
and traffic overlap: an operator takes as long as the slower.

Words are 32 bits, one per link and cycle: a weight is a word; activations and their partial
sums, fp16, go two to a word; gradients of weights are a word each.
"""

from __future__ import annotations

from dataclasses import dataclass

from wse.graph import Graph, Layer, Operator, OperatorKind
from wse.mapping import Layout

ISSUE_CYCLES = 1  # of a vector operation before its first element (WSE-2, vendor's SDK)
HALVES_PER_WORD = 2

# Cycles of a PE for each element that an operator writes: assumption, from the instructions that
# each element takes. An addition of fp16 vectors does four elements a cycle; an exponential, an
# error function or a reciprocal is a polynomial or a table look-up of some ten instructions.
VECTOR_CYCLES = {
    OperatorKind.softmax: 16.0,
    OperatorKind.normalization: 8.0,
    OperatorKind.activation: 16.0,
    OperatorKind.elementwise: 0.5,
    OperatorKind.embedding: 1.0,
    OperatorKind.cross_entropy: 16.0,
    OperatorKind.unknown: 0.0,
}


@dataclass(frozen=True)
class KernelCost:
    """What one operator takes of the busiest PE and the busiest link.

    ``multiply_adds`` are those of a PE, idle slots included; ``issues`` its vector operations;
    ``vector_cycles`` the cycles of other arithmetic; ``link_words`` the words of a link.
    """

    multiply_adds: float
    issues: float
    vector_cycles: float
    link_words: float

    def __add__(self, other: KernelCost) -> KernelCost:
        return KernelCost(
            self.multiply_adds + other.multiply_adds,
            self.issues + other.issues,
            self.vector_cycles + other.vector_cycles,
            self.link_words + other.link_words,
        )

    def times(self, count: float) -> KernelCost:
        """The cost of ``count`` such operators."""
        return KernelCost(
            self.multiply_adds * count,
            self.issues * count,
            self.vector_cycles * count,
            self.link_words * count,
        )

    def compute_cycles(self, multiply_adds_per_cycle: float) -> float:
        """Cycles of the PE at an achieved rate."""
        return (
            self.issues * ISSUE_CYCLES
            + self.multiply_adds / multiply_adds_per_cycle
            + self.vector_cycles
        )


def kernel_cost(
    operator: Operator, graph: Graph, layout: Layout, tokens_per_pe: int, density: float = 1.0
) -> KernelCost:
    """The cost of ``operator`` for ``tokens_per_pe`` tokens on each PE.

    ``density`` is the share of weights that are not zero: a zero is neither sent nor multiplied.
    """
    if operator.kind in (OperatorKind.linear, OperatorKind.input_gradient):
        return _streamed_product(operator, graph, layout, tokens_per_pe, density)
    if operator.kind is OperatorKind.weight_gradient:
        return _weight_gradient(operator, graph, layout, tokens_per_pe, density)
    if operator.kind is OperatorKind.attention:
        return _attention(operator, graph, layout, tokens_per_pe)
    return _vector(operator, graph, layout, tokens_per_pe)


def _streamed_product(
    operator: Operator, graph: Graph, layout: Layout, tokens_per_pe: int, density: float
) -> KernelCost:
    """Weights come down a PE's column, partial sums of every output run along its row."""
    tokens = tokens_per_pe * operator.rows / graph.sequence_length
    weights = operator.count * layout.slices(operator.inner) * operator.columns * density
    sums = operator.count * operator.columns * tokens / HALVES_PER_WORD
    return KernelCost(weights * tokens, weights, 0.0, max(weights, sums))


def _weight_gradient(
    operator: Operator, graph: Graph, layout: Layout, tokens_per_pe: int, density: float
) -> KernelCost:
    """Each weight's gradient is a sum over the PE's tokens, then over the PEs of its column.

    The gradients of the outputs come along the row, as the partial sums went.
    """
    tokens = tokens_per_pe * operator.inner / graph.sequence_length
    weights = operator.count * layout.slices(operator.rows) * operator.columns * density
    outputs = operator.count * operator.columns * tokens / HALVES_PER_WORD
    return KernelCost(weights * tokens, weights, 0.0, max(weights, outputs))


def _attention(operator: Operator, graph: Graph, layout: Layout, tokens_per_pe: int) -> KernelCost:
    """Keys or values pass along the token axis; scores are summed over the features of a head.

    A PE's share is that of its features and tokens. The keys of a sequence pass every PE that
    holds one of its tokens; a row of scores, two to a word, runs along a head's PEs.
    """
    length = graph.sequence_length
    share = layout.slices(graph.hidden) / graph.hidden
    multiply_adds = operator.flops / 2 / length * tokens_per_pe * share
    passing = max(length, tokens_per_pe) * layout.slices(graph.hidden) / HALVES_PER_WORD
    scores = tokens_per_pe * length * operator.visible / HALVES_PER_WORD
    issues = multiply_adds / max(1, min(tokens_per_pe, length))
    return KernelCost(multiply_adds, issues, 0.0, max(passing, scores))


def _vector(operator: Operator, graph: Graph, layout: Layout, tokens_per_pe: int) -> KernelCost:
    """Elements of a PE times the cycles of each; a look-up moves its vectors over the fabric."""
    features = -(-operator.elements // graph.sequence_length)
    elements = layout.slices(features) * tokens_per_pe * operator.count
    moved = elements / HALVES_PER_WORD if operator.kind is OperatorKind.embedding else 0.0
    return KernelCost(0.0, 1.0, elements * VECTOR_CYCLES[operator.kind], moved)


def pass_costs(
    layer: Layer, graph: Graph, layout: Layout, tokens_per_pe: int, density: float = 1.0
) -> tuple[tuple[KernelCost, ...], tuple[KernelCost, ...]]:
    """The costs of a layer's operators, of its forward and of its backward pass."""

    def costs(operators: tuple[Operator, ...]) -> tuple[KernelCost, ...]:
        return tuple(kernel_cost(one, graph, layout, tokens_per_pe, density) for one in operators)

    return costs(layer.forward), costs(layer.backward)
