"""Cycles of the weight-streaming layer and its gradients in closed form, held to simulated ones.

They rest on the machine's rates and on :mod:`wse.fabric.library.streaming_constants`. All results
are simulated cycles, as floats.
"""

from __future__ import annotations

from wse.fabric.library.streaming_constants import FabricConstants
from wse.fabric.machine import Machine

HALVES_PER_WORD = 2


def streaming_layer(
    columns: int,
    rows: int,
    tokens: int,
    features: int,
    machine: Machine,
    fabric: FabricConstants,
) -> float:
    """Of the forward pass of a square layer, ``features`` of ``tokens`` on each PE.

    For each weight an AXPY, and the cycle that takes it in; partial sums, two to a word, pass the
    vector unit too, but where a PE has one feature and adds to what passes.
    """
    outputs = columns * features
    weights = outputs * features
    sums = outputs * tokens / HALVES_PER_WORD
    own = weights * (_axpy(tokens, machine, fabric) + 1) + (sums if features > 1 else 0.0)
    mesh = columns * fabric.forward_column_cycles + rows * fabric.forward_row_cycles
    return max(own, weights, sums) + mesh


def streaming_backward(
    columns: int,
    rows: int,
    tokens: int,
    features: int,
    machine: Machine,
    fabric: FabricConstants,
) -> float:
    """Of both gradients: of the inputs as the forward pass, without sums; then of the weights.

    A gradient of a weight is taken in AXPYs over outputs enough to be long; its sum begins at
    zero. The gradients of the outputs pass the vector unit.
    """
    outputs = columns * features
    weights = outputs * features
    passing = outputs * tokens / HALVES_PER_WORD
    of_inputs = weights * (_axpy(tokens, machine, fabric) + 1)
    long = tokens / _rate(machine)
    of_weights = weights * (long + 1 + fabric.clear_cycles) + passing
    mesh = columns * fabric.backward_column_cycles + rows * fabric.backward_row_cycles
    return of_inputs + max(of_weights, weights, passing) + mesh


def _axpy(tokens: int, machine: Machine, fabric: FabricConstants) -> float:
    """Cycles of a vector operation among many."""
    return max(fabric.least_axpy_cycles, tokens / _rate(machine))


def _rate(machine: Machine) -> float:
    """Multiply-adds a cycle, of fp16 factors with an fp32 sum."""
    return machine.mixed.width32_milli / 1000
