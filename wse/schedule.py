"""The time of a step: every layer's passes one after the other, each as slow as its slowest part.

A *pass* of a layer is its forward, its repeated forward (only where a group of blocks is
computed again) or its backward. While one runs, four things go on at once: arithmetic, weights
in, gradients out (Ethernet is full duplex) and traffic on the fabric. The pass takes as long as
the slowest of them, and its seconds are charged to that one, or shared by those that tie. On top
comes a fixed cost for each layer and micro-batch, so the seconds by cause add up to the step's.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from wse.calibration import Calibration
from wse.graph import Graph, Kind, Layer
from wse.hardware import LINK_BYTES, Wafer
from wse.mapping import Layout

WIRE_BYTES = 4  # per parameter and direction: Hall, Schreiber and Lie's white paper, second-hand
PARTIAL_SUM_BYTES = 2  # fp16, two to a wavelet of the fabric (assumption)


CAUSES = ("compute", "weight_stream", "gradient_stream", "fabric", "fixed")


@dataclass(frozen=True)
class Pass:
    """One passage of a layer's weights through the wafer; ``flops`` are of one token."""

    layer: Layer
    flops: float
    backward: bool


@dataclass(frozen=True)
class Step:
    """A step on one system: seconds by cause, and bytes over its external links."""

    seconds_by_cause: dict[str, float]
    weights_in_bytes: int
    gradients_out_bytes: int

    @property
    def seconds(self) -> float:
        """Seconds of the step."""
        return sum(self.seconds_by_cause.values())


def passes(graph: Graph, interval: int) -> Iterator[tuple[Pass, int]]:
    """Each distinct pass of a micro-batch with how often it occurs.

    A block is computed twice forward: on its own pass if ``interval`` is above 1, else within its
    backward pass. The ends, whose inputs are kept, are computed once.
    """
    for layer, count in graph.counted_layers:
        forward = layer.forward_flops_per_token
        again = forward if layer.kind is Kind.block else 0.0
        yield Pass(layer, forward, backward=False), count
        if layer.kind is Kind.block and interval > 1:
            yield Pass(layer, again, backward=False), count
            again = 0.0
        yield Pass(layer, 2 * forward + again, backward=True), count


def step(
    wafer: Wafer,
    graph: Graph,
    layout: Layout,
    interval: int,
    micro_batch: int,
    accumulation: int,
    calibration: Calibration,
) -> Step:
    """A step of ``accumulation`` micro-batches, each of ``micro_batch`` sequences.

    Gradients leave with every micro-batch and are summed in the parameter store: the wafer has no
    room to keep them.
    """
    seconds = dict.fromkeys(CAUSES, 0.0)
    weights_in = gradients_out = 0
    tokens_per_pe = layout.tokens_per_pe(micro_batch * graph.shape.sequence_length)
    for one, count in passes(graph, interval):
        parts = _seconds(one, wafer, graph, layout, tokens_per_pe, calibration)
        longest = max(parts.values())
        slowest = [cause for cause in parts if parts[cause] == longest]
        for cause in slowest:
            seconds[cause] += longest * count * accumulation / len(slowest)
        streamed = WIRE_BYTES * one.layer.parameters * count * accumulation
        weights_in += streamed
        gradients_out += streamed if one.backward else 0
    layers = sum(count for _, count in graph.counted_layers)
    seconds["fixed"] = calibration.fixed_seconds_per_layer * layers * accumulation
    return Step(seconds, weights_in, gradients_out)


def _seconds(
    one: Pass,
    wafer: Wafer,
    graph: Graph,
    layout: Layout,
    tokens_per_pe: int,
    calibration: Calibration,
) -> dict[str, float]:
    """How long each part of a pass takes alone, in seconds."""
    hidden = graph.shape.hidden
    slices = layout.slices(hidden)
    # The slots of a PE: its slices times its tokens, idle ones included.
    flops_per_pe = one.flops * tokens_per_pe * slices / hidden
    # On a link of a PE's row come the weights of its slices, on one of its column go the sums.
    weight_words = one.layer.matrix_parameters * slices / hidden
    sum_words = one.layer.outputs * tokens_per_pe * PARTIAL_SUM_BYTES / LINK_BYTES
    directions = 2 if one.backward else 1  # the gradients of inputs, and of weights
    stream = WIRE_BYTES * one.layer.parameters / wafer.io_bytes_per_second
    return {
        "compute": flops_per_pe / calibration.flops_per_second_per_pe(wafer),
        "weight_stream": stream,
        "gradient_stream": stream if one.backward else 0.0,
        "fabric": directions * (weight_words + sum_words) / wafer.clock_hz,
    }
