"""The plan of a training step on a wafer: does it fit, how long does it take, what binds.

All numbers of a plan are simulated.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from wse.calibration import Calibration, committed
from wse.choice import Choice, best_choice, share_of_one_system
from wse.energy import step_joules
from wse.graph import Graph, Shape, training_graph
from wse.hardware import Wafer, check
from wse.mapping import layouts
from wse.memory import activation_bytes, intervals
from wse.schedule import CAUSES


@dataclass(frozen=True)
class PlanBytes:
    """Bytes over the links of one system in a step; its SRAM taken and usable, without code."""

    weights_in: int | None
    gradients_out: int | None
    activations_sram_peak: int
    sram_capacity: int


@dataclass(frozen=True)
class PlanCalibration:
    """The software release that a plan stands for; its band, as factors on ``step_seconds``."""

    release: str
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What ``partition.json`` holds; ``None`` where a step that does not fit has no number.

    Rates and joules are those of all systems together, ``bytes`` those of one; if the step does
    not fit, ``activations_sram_peak`` is that of a single sequence. ``seconds_by_cause`` adds up
    to ``step_seconds``. ``mfu`` is ``model_flops_per_step`` per second over the published dense
    fp16 peak. ``would_fit`` lists settings of which each alone makes a sequence fit.
    """

    model: str
    family: str
    parameters: int
    layers: int
    hidden: int
    sequence_length: int
    wafer: str
    mode: str = "weight_streaming"
    fits: bool
    micro_batch: int | None = None
    gradient_accumulation: int | None = None
    global_batch: int
    step_seconds: float | None = None
    tokens_per_second: float | None = None
    samples_per_second: float | None = None
    model_flops_per_step: float
    mfu: float | None = None
    bottleneck: str | None = None
    seconds_by_cause: Mapping[str, float | None] = field(
        default_factory=lambda: dict.fromkeys(CAUSES)
    )
    bytes: PlanBytes
    joules_per_step: float | None = None
    joules_per_token: float | None = None
    calibration: PlanCalibration
    would_fit: list[str] = field(default_factory=list)
    simulated: bool = True

    def to_dict(self) -> dict[str, Any]:
        """The plan as plain values, for JSON."""
        return dataclasses.asdict(self)


def plan(
    shape: Shape,
    wafer: Wafer,
    global_batch: int,
    systems: int = 1,
    others: Mapping[str, Wafer] | None = None,
    calibration: Calibration | None = None,
) -> Plan:
    """Plan a step of ``global_batch`` sequences, shared equally by ``systems`` wafers.

    ``others`` are wafers to try where this one cannot hold a sequence. Raises
    :class:`~wse.errors.PlanError` or :class:`~wse.errors.WaferError`, naming the wrong setting.
    """
    calibration = calibration or committed()
    check(wafer)
    graph = training_graph(shape)
    share = share_of_one_system(wafer, global_batch, systems)
    choice = best_choice(wafer, graph, share, calibration)
    common = _common(graph, wafer, global_batch)
    if choice is None:
        return Plan(
            **common,
            fits=False,
            bytes=PlanBytes(None, None, _one_sequence(wafer, graph), wafer.usable_sram_bytes),
            calibration=PlanCalibration(calibration.release),
            would_fit=_would_fit(shape, wafer, others or {}),
        )
    return Plan(
        **common,
        **_rates(graph, wafer, global_batch, systems, choice),
        fits=True,
        bytes=_bytes(graph, wafer, choice),
        calibration=_band(wafer, graph, share, calibration, choice),
    )


def _common(graph: Graph, wafer: Wafer, global_batch: int) -> dict[str, Any]:
    shape = graph.shape
    tokens = global_batch * shape.sequence_length
    return {
        "model": shape.name,
        "family": shape.family,
        "parameters": graph.parameters,
        "layers": shape.layers,
        "hidden": shape.hidden,
        "sequence_length": shape.sequence_length,
        "wafer": wafer.name,
        "global_batch": global_batch,
        "model_flops_per_step": graph.model_flops_per_token * tokens,
    }


def _rates(
    graph: Graph, wafer: Wafer, global_batch: int, systems: int, choice: Choice
) -> dict[str, Any]:
    seconds = choice.step.seconds
    causes = choice.step.seconds_by_cause
    tokens = global_batch * graph.shape.sequence_length
    joules = step_joules(wafer, choice.step) * systems
    flops_per_second = graph.model_flops_per_token * tokens / seconds
    return {
        "micro_batch": choice.micro_batch,
        "gradient_accumulation": choice.accumulation,
        "step_seconds": seconds,
        "tokens_per_second": tokens / seconds,
        "samples_per_second": global_batch / seconds,
        "mfu": flops_per_second / (wafer.peak_fp16_flops_per_second * systems),
        "bottleneck": max(causes, key=lambda cause: causes[cause]),
        "seconds_by_cause": causes,
        "joules_per_step": joules,
        "joules_per_token": joules / tokens,
    }


def _bytes(graph: Graph, wafer: Wafer, choice: Choice) -> PlanBytes:
    return PlanBytes(
        weights_in=choice.step.weights_in_bytes,
        gradients_out=choice.step.gradients_out_bytes,
        activations_sram_peak=activation_bytes(
            wafer, graph, choice.layout, choice.interval, choice.micro_batch
        ),
        sram_capacity=wafer.usable_sram_bytes,
    )


def _one_sequence(wafer: Wafer, graph: Graph) -> int:
    return min(
        activation_bytes(wafer, graph, layout, interval, 1)
        for layout in layouts(wafer)
        for interval in intervals(graph)
    )


def _band(
    wafer: Wafer, graph: Graph, sequences: int, calibration: Calibration, choice: Choice
) -> PlanCalibration:
    """The band of the residuals, widened to what a PE rate that follows SRAM bandwidth gives."""
    by_sram = replace(calibration, scales_with_sram=True)
    other = best_choice(wafer, graph, sequences, by_sram) or choice
    ratio = other.step.seconds / choice.step.seconds
    return PlanCalibration(
        release=calibration.release,
        low=calibration.low * min(1.0, ratio),
        high=calibration.high * max(1.0, ratio),
    )


def _would_fit(shape: Shape, wafer: Wafer, others: Mapping[str, Wafer]) -> list[str]:
    """Overrides of the command line, each tried: a sequence fits with it."""
    lengths = (2**power for power in reversed(range(shape.sequence_length.bit_length())))
    shorter = (replace(shape, sequence_length=n) for n in lengths if n < shape.sequence_length)
    longest = next((one.sequence_length for one in shorter if _fits(one, wafer)), None)
    changes = [f"partition.sequence_length={longest}"] if longest else []
    return changes + [f"wafer={name}" for name, other in others.items() if _fits(shape, other)]


def _fits(shape: Shape, wafer: Wafer) -> bool:
    return best_choice(wafer, training_graph(shape), 1, committed()) is not None
