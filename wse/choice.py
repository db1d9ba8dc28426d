"""The choices behind a plan: which layout, policy and micro-batch is quickest."""

from __future__ import annotations

from collections.abc import Iterator

from wse.errors import PlanError
from wse.hardware import Wafer
from wse.mapping import layouts
from wse.memory import STORE_BYTES_PER_PARAMETER, largest_micro_batch, policies
from wse.step import Setup, Step, Way, least_seconds, step

SAME_SECONDS = 1e-9  # equal sums of floats differ by rounding


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


def best_step(setup: Setup, sequences: int) -> Step | None:
    """The quickest way to run ``sequences`` on one system; of equals, the fewest bytes in."""
    if STORE_BYTES_PER_PARAMETER * setup.graph.parameters > setup.wafer.parameter_store_bytes:
        return None
    best: Step | None = None
    bounded = [(least_seconds(setup, way), way) for way in ways(setup, sequences)]
    for least, way in sorted(bounded, key=lambda pair: pair[0]):
        if best is not None and least > best.seconds + SAME_SECONDS:
            break
        made = step(setup, way)
        if best is None or _better(made, best):
            best = made
    return best


def _better(made: Step, than: Step) -> bool:
    """Whether a step is quicker, or as quick with fewer bytes in."""
    if abs(made.seconds - than.seconds) > SAME_SECONDS:
        return made.seconds < than.seconds
    return made.bytes.weights_in < than.bytes.weights_in


def ways(setup: Setup, sequences: int) -> Iterator[Way]:
    """Every way that fits: layouts, the release's policies, equal micro-batches."""
    for layout in layouts(setup.wafer):
        for policy in policies(setup.graph, setup.calibration.release):
            largest = largest_micro_batch(setup.wafer, setup.graph, layout, policy)
            for size in _divisors(sequences, largest):
                yield Way(layout, policy, size, sequences // size)


def _divisors(number: int, largest: int) -> list[int]:
    return [size for size in range(1, min(number, largest) + 1) if number % size == 0]
