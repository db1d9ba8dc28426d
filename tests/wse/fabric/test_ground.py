"""The constants are those of the stored runs, and the formulas give the runs' cycles."""

from __future__ import annotations

from dataclasses import asdict

import pytest

from wse.fabric.ground import GRID, Point, addition_cycles, constants, digest, simulate
from wse.fabric.machine import WSE2, WSE3
from wse.streaming_constants import committed, stored

STORED = {
    Point(*(one[field] for field in ("program", "width", "height", "size", "features"))): one
    for one in stored()["runs"]
}
SMALL_PART = (
    Point("streaming_layer", 24, 3, 16, 4),
    Point("streaming_layer", 24, 3, 128, 1),
    Point("streaming_layer", 24, 3, 128, 2),
    Point("streaming_backward", 24, 3, 16, 4),
    Point("streaming_backward", 24, 3, 128, 1),
    Point("pipelined_summa", 8, 8, 6),
    Point("pipelined_summa", 8, 8, 12),
    Point("chain_reduce", 128, 1, 64),
    Point("broadcast", 16, 16, 64),
)


@pytest.mark.parametrize("point", SMALL_PART, ids=str)
def test_programs_take_the_cycles_that_are_stored(point: Point) -> None:
    assert simulate(point) == STORED[point]["cycles"]


@pytest.mark.parametrize("point", GRID, ids=str)
def test_closed_forms_are_within_a_tenth_of_the_simulated_cycles(point: Point) -> None:
    assert point.closed_form(WSE2, committed()) == pytest.approx(STORED[point]["cycles"], rel=0.1)


def test_the_committed_constants_are_those_of_the_stored_runs() -> None:
    cycles = {point: one["cycles"] for point, one in STORED.items()}
    assert set(cycles) == set(GRID)
    assert constants(cycles) == committed()
    assert stored()["machine"] == asdict(WSE2)


def test_the_digest_names_programs_and_not_the_sizes_of_their_inputs_alone() -> None:
    small = SMALL_PART[0]
    assert digest([small]) == digest([small])
    assert digest([small]) != digest([SMALL_PART[3]])
    assert len(stored()["programs"]) == len(digest([small]))


def test_an_addition_takes_the_machine_s_rate() -> None:
    assert addition_cycles(WSE2) == pytest.approx(1000 / WSE2.arithmetic.width16_milli)
    assert addition_cycles(WSE3) == pytest.approx(1000 / WSE3.arithmetic.width16_milli, rel=0.01)


def test_a_layer_on_wse3_takes_its_own_machine_s_cycles() -> None:
    # Twice the hop and ramps, links that rest: what the columns cost changes, the form does not.
    point = Point("streaming_layer", 24, 3, 128, 4)
    slower = simulate(point, WSE3) / simulate(point, WSE2)
    rate = WSE2.mixed.width32_milli / WSE3.mixed.width32_milli
    assert 1 < slower < rate
