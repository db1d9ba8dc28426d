"""Every program of the library computes what numpy computes, on both machines, in both floats."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wse.fabric import F16, F32, MACHINES, WSE2, WSE3, DType
from wse.fabric.errors import CapacityError, ProgramError
from wse.fabric.library.experiment import Answer, Experiment, WrongResultError, tiles
from wse.fabric.library.registry import PROGRAMS, TILE
from wse.fabric.run import run

SQUARE = {"mesh_gemm", "pipelined_summa", "collectives_summa"}
SHAPES = [(4, 4), (7, 5), (2, 3), (9, 2)]


def cases() -> list[tuple[str, int, int]]:
    return [
        (name, width, width if name in SQUARE else height)
        for name in PROGRAMS
        for width, height in SHAPES
    ]


@pytest.mark.parametrize(("name", "width", "height"), cases())
def test_result_is_numpys(name: str, width: int, height: int) -> None:
    for machine in (WSE2, WSE3):
        for dtype in (F16, F32):
            experiment = PROGRAMS[name].make(width, height, dtype=dtype, size=5)
            experiment.check(run(experiment.program, machine))


SHORT = [(1, 4), (4, 1), (1, 1), (2, 2)]
NEEDS_TWO_COLUMNS = {"relay", "scatter", "gather"} | SQUARE
NEEDS_TWO_ROWS = {"streaming_layer", "streaming_backward"}


@pytest.mark.parametrize(("width", "height"), SHORT)
@pytest.mark.parametrize("name", PROGRAMS)
def test_lines_of_one_pe_work_or_are_refused_in_a_sentence(
    name: str, width: int, height: int
) -> None:
    refused = (
        (name in NEEDS_TWO_COLUMNS | NEEDS_TWO_ROWS and width == 1)
        or (name in NEEDS_TWO_ROWS and height == 1)
        or (name in SQUARE and width != height)
        or (name in {"broadcast", "stencil"} and width * height == 1)
    )
    if refused:
        with pytest.raises(ProgramError, match="need") as caught:
            PROGRAMS[name].make(width, height, size=4)
        assert "\n" not in str(caught.value)
    else:
        experiment = PROGRAMS[name].make(width, height, size=4)
        experiment.check(run(experiment.program, WSE3))


@pytest.mark.parametrize("name", PROGRAMS)
def test_what_overflows_the_sram_is_refused(name: str) -> None:
    entry = PROGRAMS[name]
    fits_the_check_only = 160 if entry.size_means == TILE else 45_000
    with pytest.raises(CapacityError, match="44976"):
        run(entry.make(2, 2, size=fits_the_check_only, dtype=F32).program, WSE3)
    for size in (0, 1_000_000):
        with pytest.raises(CapacityError, match=f"^{size} {entry.size_means}"):
            entry.make(2, 2, size=size)


def test_a_wrong_number_is_found_and_named() -> None:
    experiment = PROGRAMS["broadcast"].make(3, 2, size=4)
    result = run(experiment.program, WSE3)
    values = np.zeros((2, 3, 4))
    values[...] = result.array("x")
    values[1, 2, 3] += 1
    with pytest.raises(WrongResultError, match=r"element 3 .* row 1 and column 2 .* 1 of 24"):
        Experiment(experiment.program, (Answer("x", values),)).check(result)


def test_tiles_fill_the_mesh_exactly() -> None:
    matrix = np.arange(24).reshape(4, 6)
    assert tiles(matrix, 2, 3)[1, 2].tolist() == [16, 17, 22, 23]
    assert tiles(matrix, 2, 3, order="F")[1, 2].tolist() == [16, 22, 17, 23]
    with pytest.raises(ProgramError, match=r"4 x 6 .* 3 x 3"):
        tiles(matrix, 3, 3)


def test_every_machine_runs_the_weight_streaming_layer() -> None:
    for machine in MACHINES.values():
        for name in ("streaming_layer", "streaming_backward"):
            experiment = PROGRAMS[name].make(3, 3, size=8)
            experiment.check(run(experiment.program, machine))


@settings(max_examples=25, deadline=None)
@given(
    name=st.sampled_from(sorted(set(PROGRAMS) - SQUARE - NEEDS_TWO_ROWS)),
    width=st.integers(2, 12),
    height=st.integers(1, 4),
    size=st.integers(1, 20),
    dtype=st.sampled_from([F16, F32]),
)
def test_any_shape_gives_numpys_result(
    name: str, width: int, height: int, size: int, dtype: DType
) -> None:
    experiment = PROGRAMS[name].make(width, height, dtype=dtype, size=size)
    experiment.check(run(experiment.program, WSE3))
