"""The plan of a training step on wafers: does it fit, how long does it take, what binds.

All numbers of a plan are simulated.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from wse.answer import Arrangement, Plan, PlanBytes, PlanCalibration
from wse.calibration import Calibration, calibration
from wse.choice import best_step, share_of_one_system
from wse.cost import Prices, run_cost
from wse.energy import step_joules
from wse.errors import PlanError
from wse.graph import Graph
from wse.hardware import Wafer, check
from wse.losses import seconds_by_use
from wse.mapping import layouts
from wse.memory import policies, sram_use
from wse.sensitivity import gains
from wse.step import Setup, Step


@dataclass(frozen=True)
class Request:
    """What is to be planned: a step of ``global_batch`` sequences on ``systems`` wafers.

    ``release`` names the software whose constants are taken (by default the newest that was
    fitted), ``sparsity`` the share of weights that are zero, ``run_tokens`` the length of the
    whole run (by default 20 tokens a parameter: Hoffmann et al. 2022, arXiv 2203.15556).
    """

    graph: Graph
    wafer: Wafer
    global_batch: int
    systems: int = 1
    release: str | None = None
    sparsity: float = 0.0
    run_tokens: float | None = None
    prices: Prices = field(default_factory=Prices)


def plan(
    request: Request,
    others: Mapping[str, Wafer] | None = None,
    at_length: Callable[[int], Graph] | None = None,
) -> Plan:
    """Plan a step; the batch is shared equally by the systems.

    ``others`` are wafers to try where this one cannot hold a sequence, ``at_length`` gives the
    model's graph for shorter sequences. Raises :class:`~wse.errors.PlanError` or
    :class:`~wse.errors.WaferError`, naming the wrong setting.
    """
    setup, share = _setup(request)
    found = best_step(setup, share)
    if found is None:
        return Plan(
            **_common(request),
            fits=False,
            bytes=_bytes_of_one_sequence(setup),
            calibration=PlanCalibration(setup.calibration.release),
            would_fit=_would_fit(setup, others or {}, at_length),
        )
    return Plan(
        **_common(request),
        **_rates(request, setup, found),
        fits=True,
        arrangement=_arrangement(setup, found),
        gain_of_ten_percent=gains(setup, share, found),
        bytes=_bytes(setup, found),
        calibration=_band(setup, share, found),
    )


def planned_step(request: Request) -> tuple[Setup, Step | None]:
    """The setup of a request and its quickest step; None if no sequence fits."""
    setup, share = _setup(request)
    return setup, best_step(setup, share)


def _setup(request: Request) -> tuple[Setup, int]:
    check(request.wafer)
    if not 0 <= request.sparsity < 1:
        raise PlanError(f"partition.sparsity: {request.sparsity} is not a share from 0 to below 1")
    if request.run_tokens is not None and not (
        math.isfinite(request.run_tokens) and request.run_tokens > 0
    ):
        raise PlanError(f"partition.run_tokens: {request.run_tokens} is not a positive number")
    share = share_of_one_system(request.wafer, request.global_batch, request.systems)
    made = Setup(
        request.graph,
        request.wafer,
        calibration(request.release),
        request.systems,
        1 - request.sparsity,
    )
    return made, share


def _common(request: Request) -> dict[str, Any]:
    graph = request.graph
    tokens = request.global_batch * graph.sequence_length
    return {
        "model": graph.name,
        "family": graph.family,
        "parameters": graph.parameters,
        "layers": graph.blocks,
        "hidden": graph.hidden,
        "sequence_length": graph.sequence_length,
        "wafer": request.wafer.name,
        "systems": request.systems,
        "sparsity": request.sparsity,
        "global_batch": request.global_batch,
        "model_flops_per_step": graph.model_flops_per_token * tokens,
        "unknown_operators": graph.unknown,
    }


def _rates(request: Request, setup: Setup, found: Step) -> dict[str, Any]:
    seconds, causes = found.seconds, found.timeline.seconds_by_cause
    tokens = request.global_batch * request.graph.sequence_length
    joules = {name: one * request.systems for name, one in step_joules(setup, found).items()}
    total = sum(joules.values())
    flops_per_second = request.graph.model_flops_per_token * tokens / seconds
    run_tokens = request.run_tokens or 20.0 * request.graph.parameters
    return {
        "micro_batch": found.way.micro_batch,
        "gradient_accumulation": found.way.accumulation,
        "step_seconds": seconds,
        "tokens_per_second": tokens / seconds,
        "samples_per_second": request.global_batch / seconds,
        "mfu": flops_per_second / (request.wafer.peak_fp16_flops_per_second * request.systems),
        "bottleneck": max(causes, key=lambda cause: causes[cause]),
        "seconds_by_cause": causes,
        "seconds_by_use": seconds_by_use(setup, found),
        "joules_per_step": total,
        "joules_per_token": total / tokens,
        "joules_by_class": joules,
        "run": run_cost(
            run_tokens,
            tokens / seconds,
            total / tokens,
            request.wafer.system_dollars * request.systems,
            request.prices,
        ),
    }


def _arrangement(setup: Setup, found: Step) -> Arrangement:
    layout, policy = found.way.layout, found.way.policy
    use = sram_use(setup.wafer, setup.graph, layout, policy, found.way.micro_batch)
    return Arrangement(
        hidden_axis=layout.hidden_axis,
        hidden_pes=layout.hidden_pes,
        token_pes=layout.token_pes,
        features_per_pe=layout.slices(setup.graph.hidden),
        tokens_per_pe=layout.tokens_per_pe(found.way.micro_batch * setup.graph.sequence_length),
        policy=policy.name,
        policy_interval=policy.interval,
        sram_bytes_per_pe={
            "code": use.code,
            "weight_buffers": use.weight_buffers,
            "kept_activations": use.kept_activations,
            "working_set": use.working_set,
            "free": setup.wafer.sram_bytes_per_pe - use.total,
        },
        fullest_moment=use.moment,
    )


def _bytes(setup: Setup, found: Step) -> PlanBytes:
    way, wafer = found.way, setup.wafer
    use = sram_use(wafer, setup.graph, way.layout, way.policy, way.micro_batch)
    return PlanBytes(
        weights_in=found.bytes.weights_in,
        gradients_out=found.bytes.gradients_out,
        activations_sram_peak=(use.total - use.code) * wafer.usable_pes,
        sram_capacity=wafer.usable_sram_bytes,
        activations_offloaded=found.bytes.activations_each_way,
    )


def _bytes_of_one_sequence(setup: Setup) -> PlanBytes:
    least = min(
        use.total - use.code
        for layout in layouts(setup.wafer)
        for policy in policies(setup.graph, setup.calibration.release)
        for use in [sram_use(setup.wafer, setup.graph, layout, policy, 1)]
    )
    wafer = setup.wafer
    return PlanBytes(None, None, least * wafer.usable_pes, wafer.usable_sram_bytes)


def _band(setup: Setup, share: int, found: Step) -> PlanCalibration:
    """The band of the residuals, widened to what a PE rate that follows SRAM bandwidth gives."""
    constants: Calibration = setup.calibration
    other = best_step(setup.changed(calibration=replace(constants, scales_with_sram=True)), share)
    ratio = (other or found).seconds / found.seconds
    return PlanCalibration(
        release=constants.release,
        low=constants.low * min(1.0, ratio),
        high=constants.high * max(1.0, ratio),
    )


def _would_fit(
    setup: Setup, others: Mapping[str, Wafer], at_length: Callable[[int], Graph] | None
) -> list[str]:
    """Overrides of the command line, each tried: a sequence fits with it."""
    length = setup.graph.sequence_length
    shorter = [2**power for power in reversed(range(length.bit_length())) if 2**power < length]
    changes = []
    if at_length is not None:
        fitting = (n for n in shorter if _fits(_at_length(setup, at_length(n))))
        longest = next(fitting, None)
        changes = [f"partition.sequence_length={longest}"] if longest else []
    return changes + [
        f"wafer={name}" for name, other in others.items() if _fits(setup.changed(wafer=other))
    ]


def _at_length(setup: Setup, graph: Graph) -> Setup:
    return Setup(graph, setup.wafer, setup.calibration, setup.systems, setup.density)


def _fits(setup: Setup) -> bool:
    return best_step(setup, 1) is not None
