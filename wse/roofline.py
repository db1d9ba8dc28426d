"""The operators of a block against the roofs of a wafer: what bounds each, per PE.

An operator has one intensity for each way that its data comes: FLOPs for a byte that it moves in
SRAM, over the busiest fabric link, and over the wafer's external links (its weights, once a
micro-batch). Of each way there is a roof at that way's intensity. A plan takes no roof from SRAM,
so that on a wafer whose published arithmetic outruns its published SRAM points lie above it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from wse.energy import SRAM_BYTES_PER_MULTIPLY_ADD
from wse.graph import PRODUCTS, Layer, LayerKind, Operator, OperatorKind
from wse.hardware import LINK_BYTES
from wse.kernels import KernelCost
from wse.memory import ACTIVATION_BYTES
from wse.step import WIRE_BYTES, Setup, Step, link_words_per_cycle

WAYS = ("SRAM", "fabric link", "I/O links")
# An operator of vectors reads and writes an fp16 element.
SRAM_BYTES_PER_ELEMENT = 2 * ACTIVATION_BYTES
FLOPS_PER_ELEMENT = 1
WEIGHTED = (OperatorKind.linear, OperatorKind.input_gradient, OperatorKind.weight_gradient)


@dataclass(frozen=True)
class Point:
    """The operators of one kind in one pass of a block.

    ``flops_per_second`` is what a PE achieves of useful FLOPs, padding not counted; an element
    of a vector operation counts as one FLOP. ``share`` is that of the block's seconds on the
    wafer, repeated forward passes included. ``flops_per_byte`` is by way; a way that the operators
    do not use is not in it.
    """

    kind: str
    phase: str  # forward or backward
    flops_per_second: float
    share: float
    flops_per_byte: Mapping[str, float]


@dataclass(frozen=True)
class Roofline:
    """The roofs of one PE and its points, simulated.

    ``peak`` and ``achieved`` are FLOPs per second of fp16 factors with an fp32 sum: published or
    assumed for the wafer, and calibrated. ``bytes_per_second`` is by way, a PE's share of each.
    """

    model: str
    wafer: str
    pes: int
    peak: float
    achieved: float
    bytes_per_second: Mapping[str, float]
    points: tuple[Point, ...]

    def roof(self, way: str, flops_per_byte: float) -> float:
        """The most FLOPs per second at an intensity of one way."""
        return min(self.peak, flops_per_byte * self.bytes_per_second[way])


def roofline(setup: Setup, planned: Step) -> Roofline:
    """The roofline of a planned step's largest block."""
    wafer = setup.wafer
    peak = 2 * wafer.mixed_fmac_per_cycle_per_pe * wafer.clock_hz
    achieved = 2 * setup.calibration.multiply_adds_per_cycle(wafer) * wafer.clock_hz
    return Roofline(
        model=setup.graph.name,
        wafer=wafer.name,
        pes=wafer.usable_pes,
        peak=peak,
        achieved=achieved,
        bytes_per_second={
            "SRAM": wafer.sram_bytes_per_second / wafer.cores,
            "fabric link": link_words_per_cycle(wafer) * LINK_BYTES * wafer.clock_hz,
            "I/O links": wafer.io_bytes_per_second / wafer.usable_pes,
        },
        points=tuple(_points(setup, planned)),
    )


@dataclass
class _Work:
    """What the operators of one kind do in a micro-batch: FLOPs and bytes of a PE, seconds."""

    flops: float = 0.0
    seconds: float = 0.0
    sram_bytes: float = 0.0
    link_bytes: float = 0.0
    io_bytes: float = 0.0


def _points(setup: Setup, planned: Step) -> Iterator[Point]:
    blocks = [layer for layer in setup.graph.layers if layer.kind is LayerKind.block]
    block = max(blocks, key=lambda layer: layer.parameters)
    repeats = 1 + min(planned.way.policy.interval, 2)
    forward = _by_kind(setup, planned, block, "forward")
    backward = _by_kind(setup, planned, block, "backward")
    runs = {"forward": repeats, "backward": 1}
    seconds = sum(repeats * one.seconds for one in forward.values())
    seconds += sum(one.seconds for one in backward.values())
    for phase, found in (("forward", forward), ("backward", backward)):
        for kind, work in found.items():
            moved = (work.sram_bytes, work.link_bytes, work.io_bytes)
            yield Point(
                kind=kind.value,
                phase=phase,
                flops_per_second=work.flops / work.seconds,
                share=runs[phase] * work.seconds / seconds,
                flops_per_byte={
                    way: work.flops / size for way, size in zip(WAYS, moved, strict=True) if size
                },
            )


def _by_kind(setup: Setup, planned: Step, block: Layer, phase: str) -> dict[OperatorKind, _Work]:
    """The work of one pass of a block by kind of operator, those of unknown time left out."""
    way = planned.way
    tokens = way.layout.tokens_per_pe(way.micro_batch * setup.graph.sequence_length)
    forward, backward = setup.layer_costs(block, way.layout, tokens)
    costs, operators = (
        (forward, block.forward) if phase == "forward" else (backward, block.backward)
    )
    found: dict[OperatorKind, _Work] = defaultdict(_Work)
    for operator, cost in zip(operators, costs, strict=True):
        if operator.kind is not OperatorKind.unknown:
            _add(found[operator.kind], setup, way.micro_batch, operator, cost)
    return found


def _add(work: _Work, setup: Setup, sequences: int, operator: Operator, cost: KernelCost) -> None:
    wafer = setup.wafer
    compute = cost.compute_cycles(setup.calibration.multiply_adds_per_cycle(wafer))
    work.seconds += max(compute, cost.link_words / link_words_per_cycle(wafer)) / wafer.clock_hz
    work.link_bytes += cost.link_words * LINK_BYTES
    density = setup.density if operator.kind in WEIGHTED else 1.0
    if operator.kind in PRODUCTS:
        flops = operator.flops * density * sequences / wafer.usable_pes
        work.flops += flops
        work.sram_bytes += flops / 2 * SRAM_BYTES_PER_MULTIPLY_ADD
    else:
        elements = operator.elements * operator.count * sequences / wafer.usable_pes
        work.flops += elements * FLOPS_PER_ELEMENT
        work.sram_bytes += elements * SRAM_BYTES_PER_ELEMENT
    if operator.kind in WEIGHTED:
        of_gradient = operator.kind is OperatorKind.weight_gradient
        weights = operator.count * (operator.rows if of_gradient else operator.inner)
        weights *= operator.columns
        work.io_bytes += WIRE_BYTES * weights * density / wafer.usable_pes
