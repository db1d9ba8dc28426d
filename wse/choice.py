"""The choices behind a plan: which layout, recomputation policy and micro-batch is quickest."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from wse.calibration import Calibration
from wse.errors import PlanError
from wse.graph import Graph
from wse.hardware import Wafer
from wse.mapping import Layout, layouts
from wse.memory import STORE_BYTES_PER_PARAMETER, intervals, largest_micro_batch
from wse.schedule import Step, step


@dataclass(frozen=True)
class Choice:
    """One way to run a step, and the step it makes."""

    layout: Layout
    interval: int
    micro_batch: int
    accumulation: int
    step: Step


def share_of_one_system(wafer: Wafer, global_batch: int, systems: int) -> int:
    """Sequences of a step that each of ``systems`` takes; :class:`PlanError` if not equal."""
    if global_batch < 1:
        raise PlanError(f"partition.global_batch: {global_batch} is not a positive number")
    if not 1 <= systems <= wafer.max_systems:
        raise PlanError(
            f"partition.systems: {systems} is not between 1 and {wafer.max_systems}, "
            f"the most that work together (wafer.max_systems)"
        )
    if global_batch % systems:
        raise PlanError(
            f"partition.global_batch: {global_batch} is not a multiple of partition.systems, "
            f"{systems}: each system takes an equal share"
        )
    return global_batch // systems


def best_choice(
    wafer: Wafer, graph: Graph, sequences: int, calibration: Calibration
) -> Choice | None:
    """The quickest way to run ``sequences`` on one system; of equals, the fewest bytes in."""
    if STORE_BYTES_PER_PARAMETER * graph.parameters > wafer.parameter_store_bytes:
        return None
    choices = _choices(wafer, graph, sequences, calibration)
    # Equal sums of floats differ by rounding: below a nanosecond they are equal.
    return min(
        choices, key=lambda c: (round(c.step.seconds, 9), c.step.weights_in_bytes), default=None
    )


def _choices(
    wafer: Wafer, graph: Graph, sequences: int, calibration: Calibration
) -> Iterator[Choice]:
    for layout in layouts(wafer):
        for interval in intervals(graph):
            largest = largest_micro_batch(wafer, graph, layout, interval)
            for size in _divisors(sequences, largest):
                count = sequences // size
                made = step(wafer, graph, layout, interval, size, count, calibration)
                yield Choice(layout, interval, size, count, made)


def _divisors(number: int, largest: int) -> list[int]:
    return [size for size in range(1, min(number, largest) + 1) if number % size == 0]
