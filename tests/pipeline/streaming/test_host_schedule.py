"""The wafer's schedule, given a machine's rates, says what the simulation of the machine says."""

from __future__ import annotations

import pytest

from pipeline.streaming.host_schedule import scheduled_seconds
from pipeline.streaming.simulation import Moved
from pipeline.streaming.visits import Visit
from tests.pipeline.machine_speed.speeds import disk_of
from tests.pipeline.streaming.test_forecast import foretold


def steps(count: int, seconds: float, read: int, written: int) -> tuple[list[Visit], list[Moved]]:
    return [Visit(f"layer_{n}", seconds) for n in range(count)], [Moved(read, written)] * count


def test_a_step_is_bound_by_the_slower_of_processor_and_disk() -> None:
    visits, moved = steps(10, seconds=3.0, read=100, written=0)
    assert scheduled_seconds(visits, moved, disk_of(100.0, 50.0)) == pytest.approx(30)
    assert scheduled_seconds(visits, moved, disk_of(20.0, 50.0)) == pytest.approx(50)


def test_writing_hides_behind_computing_until_it_takes_longer() -> None:
    visits, moved = steps(10, seconds=3.0, read=0, written=100)
    assert scheduled_seconds(visits, moved, disk_of(100.0, 50.0)) == pytest.approx(30)
    assert scheduled_seconds(visits, moved, disk_of(100.0, 20.0)) == pytest.approx(50)


@pytest.mark.parametrize(
    ("budget", "overrides"),
    [
        (8.0, ("model=gptneox_20b", "train.sequence_length=512")),
        (8.0, ("model=gptj_6b", "train.sequence_length=128")),
        (3.0, ("model=gpt3_xl", "train.sequence_length=256")),
    ],
)
def test_schedule_and_simulation_agree(budget: float, overrides: tuple[str, ...]) -> None:
    found = foretold(budget, *overrides)
    assert found.scheduled_seconds == pytest.approx(found.step_seconds, rel=0.1)
