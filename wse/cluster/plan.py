"""The plan of a training step on a GPU cluster, and the number of GPUs that reaches a rate.

    cluster_plan(shape, cluster, gpus=64, global_batch=512, era="2022")
    gpus_to_match(shape, cluster, tokens_per_second=1e5, global_batch=512, era="2024")

All numbers of a plan are simulated. ``mfu`` counts FLOPs as papers on GPUs do, with the whole
square of attention; a wafer's plan counts the half that is not masked.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from wse.cluster.calibration import ClusterCalibration, committed
from wse.cluster.configuration import Configuration, Recomputation, design_sentences
from wse.cluster.eras import ERAS, Era, era_named
from wse.cluster.hardware import Cluster, check
from wse.cluster.memory import MemoryBytes, block_parameters, usable_bytes
from wse.cluster.search import (
    ClusterChoice,
    Search,
    best_cluster_choice,
    passes_of,
    smallest_memory,
    stage_counts,
    tensor_groups,
)
from wse.cluster.step import CAUSES
from wse.errors import PlanError
from wse.graph import Shape, training_graph

MOST_GPUS = 65_536  # no larger cluster is looked at
# Another card than that of the rows: the band grows by this factor at both ends. Assumption.
OTHER_CARD = 1.15


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


def cluster_plan(
    shape: Shape,
    cluster: Cluster,
    gpus: int,
    global_batch: int,
    era: Era | str,
    calibration: ClusterCalibration | None = None,
) -> ClusterPlan:
    """Plan a step of ``global_batch`` sequences on ``gpus`` GPUs in the quickest layout that fits.

    Raises :class:`~wse.errors.PlanError` or :class:`~wse.cluster.hardware.ClusterError`, naming
    the wrong setting.
    """
    search = _search(shape, cluster, global_batch, era, calibration)
    _check_gpus(cluster, gpus)
    choice = best_cluster_choice(search, gpus)
    return _fitting(search, choice) if choice else _refused(search, gpus)


def gpus_to_match(
    shape: Shape,
    cluster: Cluster,
    tokens_per_second: float,
    global_batch: int,
    era: Era | str,
    calibration: ClusterCalibration | None = None,
) -> ClusterPlan | None:
    """The plan with the fewest GPUs that reaches ``tokens_per_second``.

    ``None`` if no number up to ``MOST_GPUS`` does. Raises as :func:`cluster_plan`.
    """
    search = _search(shape, cluster, global_batch, era, calibration)
    if not math.isfinite(tokens_per_second) or tokens_per_second <= 0:
        raise PlanError(
            f"cluster.tokens_per_second: {tokens_per_second} is not a positive, finite number"
        )
    least = tokens_per_second / _highest_rate_per_gpu(search)
    for gpus in _gpu_counts(search):
        if gpus < least:
            continue
        choice = best_cluster_choice(search, gpus)
        if choice and _tokens(search) / choice.step.seconds >= tokens_per_second:
            return _fitting(search, choice)
    return None


def _search(
    shape: Shape,
    cluster: Cluster,
    global_batch: int,
    era: Era | str,
    calibration: ClusterCalibration | None,
) -> Search:
    check(cluster)
    training_graph(shape)  # refuses a shape that contradicts itself
    if global_batch < 1:
        raise PlanError(f"cluster.global_batch: {global_batch} is not a positive number")
    return Search(shape, cluster, era_named(era), global_batch, calibration or committed())


def _check_gpus(cluster: Cluster, gpus: int) -> None:
    if not 1 <= gpus <= MOST_GPUS:
        raise PlanError(f"cluster.gpus: {gpus} is not between 1 and {MOST_GPUS}")
    if gpus > cluster.gpus_per_node and gpus % cluster.gpus_per_node:
        raise PlanError(
            f"cluster.gpus: {gpus} is more than one server of {cluster.gpus_per_node} "
            "(cluster.gpus_per_node) and no multiple of it; take whole servers"
        )


def _gpu_counts(search: Search) -> list[int]:
    """Numbers of GPUs that some layout divides, in ascending order."""
    node, batch = search.cluster.gpus_per_node, search.global_batch
    copies = [count for count in range(1, min(batch, MOST_GPUS) + 1) if batch % count == 0]
    counts = {
        group * stages * count
        for group in tensor_groups(search, node)
        for stages in stage_counts(search.shape.layers)
        for count in copies
    }
    return sorted(n for n in counts if n <= node or (n <= MOST_GPUS and n % node == 0))


def _highest_rate_per_gpu(search: Search) -> float:
    """Tokens per second that no layout exceeds on a GPU: only the passes themselves, no waiting."""
    layers, length = search.shape.layers, search.shape.sequence_length
    passes_for = passes_of(search)
    rates = []
    for group in tensor_groups(search, search.cluster.gpus_per_node):
        for size in (n for n in range(1, search.global_batch + 1) if search.global_batch % n == 0):
            sharded = group > 1 and search.era.sequence_parallelism
            one = passes_for(
                Configuration(group, 1, 1, 1, size, 1, sharded, Recomputation.none, 0)
            )
            seconds = layers * (one.forward.seconds + one.backward.seconds) + one.head.seconds
            rates.append(size * length / (seconds * group))
    return max(rates)


def _tokens(search: Search) -> int:
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
        "model_flops_per_step": _model_flops_per_token(search.shape) * _tokens(search),
    }


def _fitting(search: Search, choice: ClusterChoice) -> ClusterPlan:
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
        tokens_per_second=_tokens(search) / seconds,
        samples_per_second=search.global_batch / seconds,
        mfu=common["model_flops_per_step"] / seconds / peak,
        bottleneck=max(causes, key=lambda cause: causes[cause]),
        seconds_by_cause=causes,
        joules_per_step=joules,
        joules_per_token=joules / _tokens(search),
        dollars_per_step=dollars,
        dollars_per_token=dollars / _tokens(search),
    )


def _band(search: Search) -> tuple[float, float]:
    """Factors on the step time; an era without rows takes the widest."""
    calibration, era = search.calibration, search.era.name
    low = calibration.low.get(era, min(calibration.low.values()))
    high = calibration.high.get(era, max(calibration.high.values()))
    widened = 1.0 if search.cluster.name == calibration.cluster else OTHER_CARD
    return low / widened, high * widened


def _refused(search: Search, gpus: int) -> ClusterPlan:
    return ClusterPlan(
        **_common(search, gpus, smallest_memory(search, gpus)),
        fits=False,
        would_fit=list(_would_fit(search, gpus)),
    )


def _would_fit(search: Search, gpus: int) -> Iterator[str]:
    """Settings, each tried: the step fits with it."""
    more = (n for n in _gpu_counts(search) if n > gpus)
    enough = next((n for n in more if best_cluster_choice(search, n)), None)
    if enough:
        yield f"cluster.gpus={enough}"
    for name, era in ERAS.items():
        if best_cluster_choice(replace(search, era=era), gpus):
            yield f"cluster.era={name}"
    length = search.shape.sequence_length
    while length > 1:
        length //= 2
        shorter = replace(search, shape=replace(search.shape, sequence_length=length))
        if best_cluster_choice(shorter, gpus):
            yield f"partition.sequence_length={length}"
            return
