"""Engine and reference agree on every cycle, cell, count and error of programs drawn at random.

``python -m tests.wse.fabric.agree --programs 5000`` compares more.
"""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.wse.fabric.agree import compare
from wse.fabric import EAST, I32, NORTH, RAMP, SOUTH, WEST, WSE2, Program
from wse.fabric.assemble import assemble
from wse.fabric.errors import CollisionError
from wse.fabric.reference.run import run as run_reference
from wse.fabric.run import run as run_engine


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 10**9))
def test_engine_and_reference_agree(number: int) -> None:
    _, difference = compare(number)
    assert difference is None


@pytest.mark.parametrize("run", [run_engine, run_reference], ids=["engine", "reference"])
def test_of_errors_in_one_cycle_that_of_the_first_colour_is_told(run) -> None:
    program = Program(3, 3)
    first, second = program.colour("first"), program.colour("second")
    sides = {(1, 0): (first, SOUTH), (1, 2): (first, NORTH)}
    sides |= {(0, 1): (second, EAST), (2, 1): (second, WEST)}
    for (x, y), (colour, direction) in sides.items():
        program.route(colour, RAMP, direction, x, y)
        code = program.code(f"{colour.name} {x} {y}", x, y)
        with code.main():
            code.move(colour.stream(I32), 7, length=1)
    program.route(first, NORTH | SOUTH, RAMP, 1, 1)
    program.route(second, WEST | EAST, RAMP, 1, 1)
    middle = program.code("middle", 1, 1)
    for colour in (first, second):
        with middle.data_task(colour, middle.register(f"from {colour.name}")):
            pass
    with pytest.raises(CollisionError, match=r"PE \(1, 1\): two wavelets of colour first arrive"):
        run(assemble(program, WSE2), WSE2, 100)
