from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.wse.cases import RELEASES, ROUNDING, WSE2, best, setup, shapes
from wse import choice
from wse.choice import best_step, share_of_one_system, ways
from wse.errors import PlanError
from wse.memory import sram_use
from wse.schedule import Timeline
from wse.step import step
from wse.transformer import Shape


@settings(deadline=None, max_examples=100)
@given(
    shapes(),
    st.sampled_from([1, 6, 12, 24]),
    st.sampled_from(RELEASES),
    st.sampled_from([1.0, 0.1, 0.05, 0.02, 0.003]),
)
def test_the_best_step_is_the_best_of_all(
    shape: Shape, batch: int, release: str, io: float
) -> None:
    wafer = replace(WSE2, io_bytes_per_second=io * WSE2.io_bytes_per_second)
    made = setup(shape, wafer, release)
    every = [step(made, way).seconds for way in ways(made, batch)]
    found = best_step(made, batch)
    if found is None:
        assert every == []
    else:
        assert found.seconds <= min(every) + ROUNDING


@pytest.mark.parametrize("io", [0.1, 0.05, 0.02, 0.01])
def test_the_best_step_of_the_ladder_is_the_best_of_all(
    ladder: dict[str, Shape], io: float
) -> None:
    wafer = replace(WSE2, io_bytes_per_second=io * WSE2.io_bytes_per_second)
    for shape in ladder.values():
        made = setup(shape, wafer)
        least = min(step(made, way).seconds for way in ways(made, 24))
        assert best(made, 24).seconds <= least + ROUNDING


def test_of_equals_the_one_of_fewest_bytes_is_taken(
    ladder: dict[str, Shape], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = setup(ladder["gptj_6b"])
    every = {way: step(made, way) for way in ways(made, 24)}
    equal = Timeline(seconds_by_cause={"compute": 1.0})
    monkeypatch.setattr(choice, "least_seconds", lambda made, way: 1.0)
    monkeypatch.setattr(choice, "step", lambda made, way: replace(every[way], timeline=equal))
    moved = [one.bytes.weights_in for one in every.values()]
    assert min(moved) < max(moved)
    assert best(made, 24).bytes.weights_in == min(moved)


@settings(deadline=None, max_examples=40)
@given(shapes(), st.integers(1, 120), st.sampled_from(RELEASES))
def test_every_way_fits_and_runs_the_whole_batch(shape: Shape, batch: int, release: str) -> None:
    made = setup(shape, release=release)
    for way in ways(made, batch):
        assert way.micro_batch * way.accumulation == batch
        used = sram_use(WSE2, made.graph, way.layout, way.policy, way.micro_batch)
        assert used.total <= WSE2.sram_bytes_per_pe


def test_more_policies_are_never_slower(ladder: dict[str, Shape]) -> None:
    for shape in ladder.values():
        # R2.0 chooses from all that R1.8.0 has; the constants are those of one release.
        old = setup(shape, release="R1.8.0")
        new = old.changed(calibration=replace(old.calibration, release="R2.0"))
        slower, quicker = best_step(old, 120), best_step(new, 120)
        assert slower is not None
        assert quicker is not None
        assert quicker.seconds <= slower.seconds + ROUNDING


def test_a_store_that_is_too_small_runs_nothing(ladder: dict[str, Shape]) -> None:
    shape = ladder["gptneox_20b"]
    needed = 16.0 * 20_554_567_680
    enough = replace(WSE2, parameter_store_bytes=needed)
    assert best_step(setup(shape, enough), 1) is not None
    assert best_step(setup(shape, replace(WSE2, parameter_store_bytes=needed - 1)), 1) is None


@pytest.mark.parametrize("systems", range(1, 193))
def test_systems_take_equal_shares(systems: int) -> None:
    assert share_of_one_system(WSE2, 7 * systems, systems) == 7
    if systems > 1:
        with pytest.raises(PlanError, match=r"partition\.global_batch: \d+ .*partition\.systems"):
            share_of_one_system(WSE2, 7 * systems + 1, systems)


@pytest.mark.parametrize(
    ("batch", "systems", "message"),
    [
        (0, 1, "partition.global_batch: 0 is not a positive number"),
        (-8, 1, "partition.global_batch: -8 "),
        (120, 0, "partition.systems: 0 is not between 1 and 192"),
        (120, -2, "partition.systems: -2 "),
        (193 * 2, 193, "partition.systems: 193 .*192"),
        (120, 7, "partition.global_batch: 120 .*7"),
    ],
)
def test_a_wrong_batch_is_refused_by_name(batch: int, systems: int, message: str) -> None:
    with pytest.raises(PlanError, match=message):
        share_of_one_system(WSE2, batch, systems)
