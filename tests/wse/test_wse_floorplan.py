"""The floorplan has a place for every feature and token, and says what each PE's SRAM holds."""

from __future__ import annotations

import pytest

from wse.calibration import calibrated_wafer
from wse.floorplan import Floorplan, Rectangle, floorplan
from wse.plan import Request, plan, planned_step
from wse.transformer import Shape, training_graph

SIZES = [(12, 768), (18, 1536), (32, 4096), (44, 6144), (96, 12288)]


def request(layers: int, hidden: int) -> Request:
    shape = Shape("any", "gptneox", layers, hidden, hidden // 64, 4 * hidden, 50432, 2048, 2048)
    return Request(training_graph(shape), calibrated_wafer(), 120)


def made(layers: int, hidden: int) -> Floorplan:
    setup, planned = planned_step(request(layers, hidden))
    assert planned is not None
    return floorplan(setup, planned)


def overlap(one: Rectangle, other: Rectangle) -> bool:
    columns = max(one.column, other.column) < min(
        one.column + one.width, other.column + other.width
    )
    rows = max(one.row, other.row) < min(one.row + one.height, other.row + other.height)
    return columns and rows


def inside(part: Rectangle, whole: Rectangle) -> bool:
    return (
        whole.column <= part.column
        and whole.row <= part.row
        and part.column + part.width <= whole.column + whole.width
        and part.row + part.height <= whole.row + whole.height
    )


@pytest.mark.parametrize(("layers", "hidden"), SIZES)
def test_work_and_padding_tile_what_a_program_gets(layers: int, hidden: int) -> None:
    found = made(layers, hidden)
    parts = [found.layout, *found.padding]
    assert inside(found.usable, found.fabric)
    assert all(inside(part, found.usable) for part in parts)
    assert not any(overlap(a, b) for i, a in enumerate(parts) for b in parts[:i])
    assert sum(part.pes for part in parts) == calibrated_wafer().usable_pes


@pytest.mark.parametrize(("layers", "hidden"), SIZES)
def test_every_slice_has_a_pe_and_no_pe_at_work_is_empty(layers: int, hidden: int) -> None:
    found = made(layers, hidden)
    assert {found.across.what, found.down.what} == {"features", "tokens"}
    for axis, length in ((found.across, found.layout.width), (found.down, found.layout.height)):
        assert axis.busy_pes == length
        assert (axis.busy_pes - 1) * axis.per_pe < axis.things <= axis.busy_pes * axis.per_pe
        assert axis.busy_pes + axis.idle_pes == axis.pes
    features = found.across if found.across.what == "features" else found.down
    assert features.things == hidden


def test_features_that_do_not_divide_leave_almost_half_of_an_axis_idle() -> None:
    found = made(12, 768)
    features = found.across if found.across.what == "features" else found.down
    if features.pes == 750:
        assert (features.per_pe, features.busy_pes, features.idle_pes) == (2, 384, 366)
    else:
        assert (features.per_pe, features.busy_pes, features.idle_pes) == (1, 768, 226)


@pytest.mark.parametrize(("layers", "hidden"), SIZES)
def test_sram_is_that_of_the_plan_and_adds_up(layers: int, hidden: int) -> None:
    found = made(layers, hidden)
    arrangement = plan(request(layers, hidden)).arrangement
    assert arrangement is not None
    assert found.layout.sram_bytes_per_pe == arrangement.sram_bytes_per_pe
    for part in (found.layout, *found.padding):
        assert sum(part.sram_bytes_per_pe.values()) == 48 * 1024
        assert part.bytes_used == 48 * 1024 - part.sram_bytes_per_pe["free"]
        assert part.bytes_used <= found.layout.bytes_used


def test_weights_stream_along_the_tokens() -> None:
    found = made(44, 6144)
    assert found.weights_stream_down == (found.down.what == "tokens")
