"""Cycles of an operator of a training step on the whole fabric, from what one PE and one link do.

A PE holds ``features`` features of ``tokens`` tokens. In a product with weights every weight of its
features arrives once over the fabric and multiplies the PE's tokens, an AXPY: a vector operation
of its own. Partial sums run along the features' axis from PE to PE, two to a word, through the
vector unit; where a PE has one feature, it multiplies and adds as they pass. Arithmetic and traffic
overlap: an operator takes as long as the slower.

What an AXPY takes beside its multiply-adds, and what a wavelet takes, are those of the programs
:mod:`wse.fabric.library.streaming_layer` and :mod:`wse.fabric.library.streaming_backward`,
simulated cycle by cycle: see :mod:`wse.streaming_constants`. What these take besides, to begin the
outputs of each column of PEs, is in no operator's cost: it is part of a layer's fixed cost.
Attention's products are AXPYs of the same kind; they and the operators without products were not
simulated.

Words are 32 bits, one per link and cycle: a weight is a word; activations and their partial
sums, fp16, go two to a word; gradients of weights are a word each.
"""

from __future__ import annotations

from dataclasses import dataclass

from wse.graph import Graph, Layer, Operator, OperatorKind
from wse.mapping import Layout
from wse.streaming_constants import FabricConstants, committed

HALVES_PER_WORD = 2

# Cycles of a PE for each element that an operator writes. Simulated: an addition of fp16 vectors.
# Assumption, from the instructions that each element takes: the others. An exponential, an error
# function or a reciprocal is a polynomial or a table look-up of some ten instructions.
VECTOR_CYCLES = {
    OperatorKind.softmax: 16.0,
    OperatorKind.normalization: 8.0,
    OperatorKind.activation: 16.0,
    OperatorKind.elementwise: committed().addition_cycles,
    OperatorKind.embedding: 1.0,
    OperatorKind.cross_entropy: 16.0,
    OperatorKind.unknown: 0.0,
}


@dataclass(frozen=True)
class KernelCost:
    """What one operator takes of the busiest PE and the busiest link.

    ``multiply_adds`` are those of a PE, idle slots included; ``stream_cycles`` what its vector
    unit takes beside them, to issue AXPYs and to pass wavelets on; ``vector_cycles`` the cycles
    of other arithmetic; ``link_words`` the words of a link.
    """

    multiply_adds: float
    stream_cycles: float
    vector_cycles: float
    link_words: float

    def __add__(self, other: KernelCost) -> KernelCost:
        return KernelCost(
            self.multiply_adds + other.multiply_adds,
            self.stream_cycles + other.stream_cycles,
            self.vector_cycles + other.vector_cycles,
            self.link_words + other.link_words,
        )

    def times(self, count: float) -> KernelCost:
        """The cost of ``count`` such operators."""
        return KernelCost(
            self.multiply_adds * count,
            self.stream_cycles * count,
            self.vector_cycles * count,
            self.link_words * count,
        )

    def compute_cycles(self, multiply_adds_per_cycle: float) -> float:
        """Cycles of the PE at an achieved rate."""
        multiplying = self.multiply_adds / multiply_adds_per_cycle
        return self.stream_cycles + multiplying + self.vector_cycles


@dataclass(frozen=True)
class Product:
    """A product with streamed weights, and its gradients.

    ``features`` inputs of ``tokens`` tokens on each PE, ``outputs`` in all. ``density`` is the
    share of weights that are not zero: a zero is neither sent nor multiplied.
    """

    features: int
    outputs: float
    tokens: float
    fabric: FabricConstants
    density: float = 1.0

    @property
    def weights(self) -> float:
        """Of a PE's features."""
        return self.features * self.outputs * self.density

    @property
    def output_words(self) -> float:
        """Of a row of PEs: the outputs, their partial sums, or their gradients."""
        return self.outputs * self.tokens / HALVES_PER_WORD

    def forward(self) -> KernelCost:
        """Weights come down a PE's column, partial sums of every output run along its row."""
        fabric = self.fabric
        cycles = self.weights * fabric.wavelet_cycles
        if self.features > 1:
            cycles += self.weights * fabric.issue_cycles
            cycles += self.output_words * fabric.wavelet_cycles
        return self._cost(cycles)

    def input_gradient(self) -> KernelCost:
        """Weights come down once more; the gradients of the inputs stay where the inputs are."""
        fabric = self.fabric
        return self._cost(self.weights * (fabric.issue_cycles + fabric.wavelet_cycles))

    def weight_gradient(self) -> KernelCost:
        """Each weight's is a sum over the PE's tokens, then over the PEs of its column.

        The gradients of the outputs come along the row, as the partial sums went. AXPYs over many
        outputs are long, and one operation.
        """
        fabric = self.fabric
        cycles = self.weights * (fabric.wavelet_cycles + fabric.clear_cycles)
        cycles += self.output_words * fabric.wavelet_cycles
        return self._cost(cycles)

    def _cost(self, stream_cycles: float) -> KernelCost:
        words = max(self.weights, self.output_words)
        return KernelCost(self.weights * self.tokens, stream_cycles, 0.0, words)


def kernel_cost(
    operator: Operator, graph: Graph, layout: Layout, tokens_per_pe: int, density: float = 1.0
) -> KernelCost:
    """The cost of ``operator`` for ``tokens_per_pe`` tokens on each PE.

    ``density`` is the share of weights that are not zero.
    """
    match operator.kind:
        case OperatorKind.linear | OperatorKind.input_gradient:
            tokens = tokens_per_pe * operator.rows / graph.sequence_length
            product = _product(operator, operator.inner, tokens, layout, density)
            forward = operator.kind is OperatorKind.linear
            cost = product.forward() if forward else product.input_gradient()
            return cost.times(operator.count)
        case OperatorKind.weight_gradient:
            tokens = tokens_per_pe * operator.inner / graph.sequence_length
            product = _product(operator, operator.rows, tokens, layout, density)
            return product.weight_gradient().times(operator.count)
        case OperatorKind.attention:
            return _attention(operator, graph, layout, tokens_per_pe)
        case _:
            return _vector(operator, graph, layout, tokens_per_pe)


def _product(
    operator: Operator, inputs: int, tokens: float, layout: Layout, density: float
) -> Product:
    features = layout.slices(inputs)
    return Product(features, operator.columns, tokens, committed(), density)


def _attention(operator: Operator, graph: Graph, layout: Layout, tokens_per_pe: int) -> KernelCost:
    """Keys or values pass along the token axis; scores are summed over the features of a head.

    A PE's share is that of its features and tokens. The keys of a sequence pass every PE that
    holds one of its tokens; a row of scores, two to a word, runs along a head's PEs.
    """
    length, fabric = graph.sequence_length, committed()
    features = layout.slices(graph.hidden)
    multiply_adds = operator.flops / 2 / length * tokens_per_pe * features / graph.hidden
    passing = max(length, tokens_per_pe) * features / HALVES_PER_WORD
    scores = tokens_per_pe * length * operator.visible / HALVES_PER_WORD
    axpys = multiply_adds / max(1, min(tokens_per_pe, length))
    cycles = axpys * (fabric.issue_cycles + fabric.wavelet_cycles)
    if features > 1:
        cycles += scores * fabric.wavelet_cycles
    return KernelCost(multiply_adds, cycles, 0.0, max(passing, scores))


def _vector(operator: Operator, graph: Graph, layout: Layout, tokens_per_pe: int) -> KernelCost:
    """Elements of a PE times the cycles of each; a look-up moves its vectors over the fabric."""
    features = -(-operator.elements // graph.sequence_length)
    elements = layout.slices(features) * tokens_per_pe * operator.count
    moved = elements / HALVES_PER_WORD if operator.kind is OperatorKind.embedding else 0.0
    return KernelCost(0.0, 0.0, elements * VECTOR_CYCLES[operator.kind], moved)


def pass_costs(
    layer: Layer, graph: Graph, layout: Layout, tokens_per_pe: int, density: float = 1.0
) -> tuple[tuple[KernelCost, ...], tuple[KernelCost, ...]]:
    """The costs of a layer's operators, of its forward and of its backward pass."""

    def costs(operators: tuple[Operator, ...]) -> tuple[KernelCost, ...]:
        return tuple(kernel_cost(one, graph, layout, tokens_per_pe, density) for one in operators)

    return costs(layer.forward), costs(layer.backward)
