"""The quickest legal layout of a step on a number of GPUs.

Legal is what training libraries take: tensor groups divide heads, feed-forward and servers, and
stay in one (unless nothing else fits), stages get equal numbers of blocks or the last one fewer,
copies take equal shares, micro-batches divide a share, interleaved stages have equal pieces and
take micro-batches in groups of the number of stages, ZeRO-3 stands alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from itertools import product

from wse.cluster.block import Passes, Slice, passes
from wse.cluster.calibration import ClusterCalibration
from wse.cluster.configuration import Configuration, Recomputation
from wse.cluster.eras import Era
from wse.cluster.hardware import Cluster
from wse.cluster.memory import MemoryBytes, memory_bytes, usable_bytes
from wse.cluster.step import ClusterStep, cluster_step
from wse.errors import PlanError
from wse.transformer import Shape


@dataclass(frozen=True)
class ClusterChoice:
    """A layout that fits, what it keeps in memory, and the step it makes."""

    configuration: Configuration
    memory: MemoryBytes
    step: ClusterStep


@dataclass(frozen=True)
class Search:
    """What a search is for: a model, GPUs, software, and sequences in a step."""

    shape: Shape
    cluster: Cluster
    era: Era
    global_batch: int
    calibration: ClusterCalibration


def best_cluster_choice(search: Search, gpus: int) -> ClusterChoice | None:
    """The quickest layout of a step on ``gpus`` GPUs, or ``None`` if none fits."""
    inside = tensor_groups(search, search.cluster.gpus_per_node)
    beyond = [size for size in tensor_groups(search, search.shape.heads) if size not in inside]
    return _best(search, gpus, inside) or _best(search, gpus, beyond)


def smallest_memory(search: Search, gpus: int) -> MemoryBytes | None:
    """What the most frugal legal layout needs; ``None`` if no layout divides the step."""
    layouts = _layouts(search, gpus, tensor_groups(search, search.cluster.gpus_per_node))
    needs = (
        memory_bytes(search.shape, search.era, _with_recomputation(first, Recomputation.full))
        for first in (next(micro_batches) for micro_batches in layouts)
    )
    return min(needs, key=lambda need: need.total, default=None)


def tensor_groups(search: Search, largest: int) -> list[int]:
    """Sizes of a tensor group up to ``largest`` that divide the model and fill servers."""
    shape, node = search.shape, search.cluster.gpus_per_node
    return [
        size
        for size in divisors(shape.heads)
        if size <= largest
        and shape.feed_forward % size == 0
        and (node % size == 0 or size % node == 0)
    ]


def stage_counts(layers: int) -> list[int]:
    """Numbers of stages that share ``layers`` equally, or but for one block of the last stage."""
    return sorted({*divisors(layers), *(n for n in divisors(layers + 1) if n <= layers)})


def passes_of(search: Search) -> Callable[[Configuration], Passes]:
    """Seconds of a layout's block and vocabulary, each slice computed once."""
    gpu = search.calibration.machine(search.cluster, search.era)

    @cache
    def of_slice(part: Slice) -> Passes:
        return passes(part, search.cluster, gpu, search.era)

    def of_configuration(chosen: Configuration) -> Passes:
        group, shards = chosen.tensor_parallel, chosen.norm_shards
        return of_slice(Slice(search.shape, chosen.micro_batch, group, shards))

    return of_configuration


def step_in(
    search: Search, layout: Configuration, passes_for: Callable[[Configuration], Passes]
) -> ClusterStep:
    """The step of ``layout``; ``passes_for`` is what :func:`passes_of` gives."""
    return cluster_step(
        search.shape, search.cluster, search.era, layout, search.calibration, passes_for(layout)
    )


def check_configuration(search: Search, layout: Configuration) -> None:
    """Raise :class:`PlanError` naming the number of ``layout`` that the model cannot take."""
    shape = search.shape
    group, stages = layout.tensor_parallel, layout.pipeline_parallel
    if group not in tensor_groups(search, shape.heads):
        raise PlanError(
            f"cluster.tensor_parallel: {group} does not divide {shape.heads} heads, "
            f"{shape.feed_forward} features of the feed-forward, and servers of "
            f"{search.cluster.gpus_per_node} GPUs"
        )
    if stages not in stage_counts(shape.layers):
        raise PlanError(
            f"cluster.pipeline_parallel: {stages} stages cannot share {shape.layers} layers "
            "equally, or but for one layer of the last"
        )
    if layout.interleave not in _pieces(shape.layers, stages):
        raise PlanError(
            f"cluster.interleave: {layout.interleave} equal pieces cannot be made of the "
            f"{shape.layers} layers on {stages} stages"
        )
    if layout.zero_stage not in _zero_stages(search.era, group * stages, layout.data_parallel):
        raise PlanError(
            f"cluster.zero_stage: {layout.zero_stage} is not what {search.era.name} does with "
            f"{layout.data_parallel} copies, each split over {group * stages} GPUs"
        )


def _best(search: Search, gpus: int, groups: list[int]) -> ClusterChoice | None:
    passes_for = passes_of(search)
    fitting = (
        fit
        for micro_batches in _layouts(search, gpus, groups)
        for fit in _that_fit(search, micro_batches)
    )
    choices = (
        ClusterChoice(layout, memory, step_in(search, layout, passes_for))
        for layout, memory in fitting
    )
    return min(choices, key=lambda choice: choice.step.seconds, default=None)


def _layouts(search: Search, gpus: int, groups: list[int]) -> Iterator[Iterator[Configuration]]:
    """For every split of the GPUs, its layouts with growing micro-batches."""
    layers = search.shape.layers
    for group, stages in product(groups, stage_counts(layers)):
        copies, rest = divmod(gpus, group * stages)
        if rest or not copies or search.global_batch % copies:
            continue
        zero_stages = _zero_stages(search.era, group * stages, copies)
        for zero_stage, pieces in product(zero_stages, _pieces(layers, stages)):
            split = Configuration(
                tensor_parallel=group,
                pipeline_parallel=stages,
                interleave=pieces,
                data_parallel=copies,
                micro_batch=1,
                accumulation=search.global_batch // copies,
                sequence_parallel=group > 1 and search.era.sequence_parallelism,
                recomputation=Recomputation.none,
                zero_stage=zero_stage,
            )
            if pieces == 1 or split.accumulation % stages == 0:
                yield _with_micro_batches(split)


def _with_micro_batches(split: Configuration) -> Iterator[Configuration]:
    share = split.accumulation
    for size in divisors(share):
        if split.interleave == 1 or share // size % split.pipeline_parallel == 0:
            yield replace(split, micro_batch=size, accumulation=share // size)


def _that_fit(
    search: Search, micro_batches: Iterator[Configuration]
) -> Iterator[tuple[Configuration, MemoryBytes]]:
    """Every micro-batch with the least recomputation that fits, until one does not fit at all."""
    room = usable_bytes(search.cluster)
    for layout in micro_batches:
        for recomputation in _recomputations(search.era):
            tried = _with_recomputation(layout, recomputation)
            memory = memory_bytes(search.shape, search.era, tried)
            if memory.total <= room:
                yield tried, memory
                break
        else:
            return


def _with_recomputation(layout: Configuration, recomputation: Recomputation) -> Configuration:
    return replace(layout, recomputation=recomputation)


def _recomputations(era: Era) -> list[Recomputation]:
    """From the quickest to the most frugal; flash attention leaves no scores to keep."""
    if era.selective_recomputation and not era.flash_attention:
        return [Recomputation.none, Recomputation.selective, Recomputation.full]
    return [Recomputation.none, Recomputation.full]


def _zero_stages(era: Era, model_split: int, copies: int) -> list[int]:
    if copies == 1:
        return [0]
    return [stage for stage in era.zero_stages if stage < 3 or model_split == 1]


def _pieces(layers: int, stages: int) -> tuple[int, ...]:
    if stages == 1 or layers % stages:
        return (1,)
    return divisors(layers // stages)


@cache
def divisors(number: int) -> tuple[int, ...]:
    """Divisors of ``number``, in ascending order."""
    small = [size for size in range(1, math.isqrt(number) + 1) if number % size == 0]
    return tuple(sorted({*small, *(number // size for size in small)}))
