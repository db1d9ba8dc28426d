"""The plan of a training step on a GPU cluster, and the number of GPUs that reaches a rate.

    cluster_plan(shape, cluster, gpus=64, global_batch=512, era="2022")
    configured_plan(shape, cluster, Configuration(...), era="2022")
    gpus_to_match(shape, cluster, tokens_per_second=1e5, global_batch=512, era="2024")

All numbers of a plan are simulated.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

from wse.cluster.calibration import ClusterCalibration, committed
from wse.cluster.configuration import Configuration, Recomputation, check_counts
from wse.cluster.eras import ERAS, Era, era_named
from wse.cluster.hardware import Cluster, check
from wse.cluster.memory import memory_bytes, usable_bytes
from wse.cluster.outcome import ClusterPlan, fitting_plan, refused_plan, tokens_per_step
from wse.cluster.search import (
    ClusterChoice,
    Search,
    best_cluster_choice,
    check_configuration,
    divisors,
    passes_of,
    smallest_memory,
    stage_counts,
    step_in,
    tensor_groups,
)
from wse.errors import PlanError
from wse.transformer import Shape, training_graph

MOST_GPUS = 65_536  # no larger cluster is looked at


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
    if choice is None:
        return refused_plan(
            search, gpus, smallest_memory(search, gpus), [*_would_fit(search, gpus)]
        )
    return fitting_plan(search, choice)


def configured_plan(
    shape: Shape,
    cluster: Cluster,
    configuration: Configuration,
    era: Era | str,
    calibration: ClusterCalibration | None = None,
) -> ClusterPlan:
    """Plan a step in a layout that you already have; raises as :func:`cluster_plan`."""
    chosen = configuration
    check_counts(chosen)
    search = _search(shape, cluster, chosen.global_batch, era, calibration)
    check_configuration(search, chosen)
    memory = memory_bytes(shape, search.era, chosen)
    if memory.total > usable_bytes(cluster):
        others = [*_would_fit(search, chosen.gpus)]
        if best_cluster_choice(search, chosen.gpus):
            others.insert(0, "another layout: ask cluster_plan")
        return refused_plan(search, chosen.gpus, memory, others)
    passes_for = passes_of(search)
    return fitting_plan(search, ClusterChoice(chosen, memory, step_in(search, chosen, passes_for)))


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
        if choice and tokens_per_step(search) / choice.step.seconds >= tokens_per_second:
            return fitting_plan(search, choice)
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
    node = search.cluster.gpus_per_node
    counts = {
        group * stages * count
        for group in tensor_groups(search, node)
        for stages in stage_counts(search.shape.layers)
        for count in divisors(search.global_batch)
    }
    return sorted(n for n in counts if n <= node or (n <= MOST_GPUS and n % node == 0))


def _highest_rate_per_gpu(search: Search) -> float:
    """Tokens per second that no layout exceeds on a GPU: only the passes themselves, no waiting."""
    layers, length = search.shape.layers, search.shape.sequence_length
    passes_for = passes_of(search)
    rates = []
    for group in tensor_groups(search, search.cluster.gpus_per_node):
        for size in divisors(search.global_batch):
            sharded = group > 1 and search.era.sequence_parallelism
            one = passes_for(Configuration(group, 1, 1, 1, size, 1, sharded, Recomputation.none, 0))
            seconds = layers * (one.forward.seconds + one.backward.seconds) + one.head.seconds
            rates.append(size * length / (seconds * group))
    return max(rates)


def _would_fit(search: Search, gpus: int) -> Iterator[str]:
    """Settings, each tried: the step fits with it."""
    more = (n for n in _gpu_counts(search) if n > gpus)
    enough = next((n for n in more if best_cluster_choice(search, n)), None)
    if enough:
        yield f"cluster.gpus={enough}"
    for name, era in ERAS.items():
        if era != search.era and best_cluster_choice(replace(search, era=era), gpus):
            yield f"cluster.era={name}"
    length = search.shape.sequence_length
    while length > 1:
        length //= 2
        shorter = replace(search, shape=replace(search.shape, sequence_length=length))
        if best_cluster_choice(shorter, gpus):
            yield f"partition.sequence_length={length}"
            return
