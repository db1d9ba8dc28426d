"""What a plan of a step on a cluster says: one value, with units in its names.

All numbers of a plan are simulated. ``mfu`` counts FLOPs as papers on GPUs do, with the whole
square of attention; a wafer's plan counts the half that is not masked.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from wse.cluster.configuration import Configuration, design_sentences
from wse.cluster.memory import MemoryBytes, block_parameters, usable_bytes
from wse.cluster.search import ClusterChoice, Search
from wse.cluster.step import CAUSES
from wse.transformer import Shape, training_graph

# The band of the rows' errors grows by these factors at both ends: for code and networks that are
# not those of the rows, and for another card. Assumptions.
OTHER_CODE = 1.1
OTHER_CARD = 1.1


@dataclass(frozen=True, kw_only=True)
class ClusterPlan:
    """A step on a cluster; ``None`` where a step that does not fit has no number.

    Bytes are those of the fullest GPU; if the step does not fit, of the most frugal layout, or
    ``None`` if no layout divides the step. ``seconds_by_cause`` adds up to ``step_seconds``;
    ``step_seconds_low`` and ``step_seconds_high`` are its band. Joules are those of whole servers,
    dollars the rent of the GPUs. ``design`` says in sentences what a person would have had to
    design; ``would_fit`` lists settings of which each alone makes the step fit.
    """

    model: str
    parameters: int
    sequence_length: int
    cluster: str
    era: str
    gpus: int
    global_batch: int
    fits: bool
    configuration: Configuration | None = None
    design: list[str] = field(default_factory=list)
    memory_bytes_per_gpu: float | None
    memory_bytes_by_content: Mapping[str, float] | None
    memory_bytes_usable: float
    step_seconds: float | None = None
    step_seconds_low: float | None = None
    step_seconds_high: float | None = None
    tokens_per_second: float | None = None
    samples_per_second: float | None = None
    model_flops_per_step: float
    mfu: float | None = None
    bottleneck: str | None = None
    seconds_by_cause: Mapping[str, float | None] = field(
        default_factory=lambda: dict.fromkeys(CAUSES)
    )
    joules_per_step: float | None = None
    joules_per_token: float | None = None
    dollars_per_step: float | None = None
    dollars_per_token: float | None = None
    would_fit: list[str] = field(default_factory=list)
    simulated: bool = True

    def to_dict(self) -> dict[str, Any]:
        """The plan as plain values, for JSON."""
        values = dataclasses.asdict(self)
        if self.configuration:
            values["configuration"]["recomputation"] = self.configuration.recomputation.value
        return values


def tokens_per_step(search: Search) -> int:
    """Tokens of a step."""
    return search.global_batch * search.shape.sequence_length


def _model_flops_per_token(shape: Shape) -> float:
    """Forward and backward, with the whole square of attention (arXiv 2205.05198, appendix A)."""
    head = 0 if shape.family == "bert" else shape.vocabulary * shape.hidden
    products = shape.layers * block_parameters(shape) + head
    return 6.0 * products + 12.0 * shape.layers * shape.hidden * shape.sequence_length


def _common(search: Search, gpus: int, memory: MemoryBytes | None) -> dict[str, Any]:
    return {
        "model": search.shape.name,
        "parameters": training_graph(search.shape).parameters,
        "sequence_length": search.shape.sequence_length,
        "cluster": search.cluster.name,
        "era": search.era.name,
        "gpus": gpus,
        "global_batch": search.global_batch,
        "memory_bytes_per_gpu": memory.total if memory else None,
        "memory_bytes_by_content": dataclasses.asdict(memory) if memory else None,
        "memory_bytes_usable": usable_bytes(search.cluster),
        "model_flops_per_step": _model_flops_per_token(search.shape) * tokens_per_step(search),
    }


def fitting_plan(search: Search, choice: ClusterChoice) -> ClusterPlan:
    """The plan of a layout that fits."""
    cluster, gpus = search.cluster, choice.configuration.gpus
    common = _common(search, gpus, choice.memory)
    seconds, causes = choice.step.seconds, choice.step.seconds_by_cause
    low, high = _band(search)
    peak = gpus * cluster.peak_bf16_flops_per_second
    joules = gpus / cluster.gpus_per_node * cluster.server_watts * seconds
    dollars = gpus * cluster.dollars_per_gpu_hour * seconds / 3600
    return ClusterPlan(
        **common,
        fits=True,
        configuration=choice.configuration,
        design=design_sentences(choice.configuration),
        step_seconds=seconds,
        step_seconds_low=low * seconds,
        step_seconds_high=high * seconds,
        tokens_per_second=tokens_per_step(search) / seconds,
        samples_per_second=search.global_batch / seconds,
        mfu=common["model_flops_per_step"] / seconds / peak,
        bottleneck=max(causes, key=lambda cause: causes[cause]),
        seconds_by_cause=causes,
        joules_per_step=joules,
        joules_per_token=joules / tokens_per_step(search),
        dollars_per_step=dollars,
        dollars_per_token=dollars / tokens_per_step(search),
    )


def _band(search: Search) -> tuple[float, float]:
    """Factors on the step time; an era without rows takes the widest."""
    calibration, era = search.calibration, search.era.name
    low = calibration.low.get(era, min(calibration.low.values()))
    high = calibration.high.get(era, max(calibration.high.values()))
    known = search.cluster.name == calibration.cluster
    widened = OTHER_CODE if known else OTHER_CODE * OTHER_CARD
    return low / widened, high * widened


def refused_plan(
    search: Search, gpus: int, memory: MemoryBytes | None, would_fit: Sequence[str]
) -> ClusterPlan:
    """The plan of a step that needs ``memory``, more than there is, or that nothing divides."""
    return ClusterPlan(**_common(search, gpus, memory), fits=False, would_fit=list(would_fit))
