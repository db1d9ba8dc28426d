"""What the fabric refuses, before a run and during it, and in which words."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from wse.errors import OnewaferError
from wse.fabric import EAST, F16, F32, I32, NORTH, RAMP, SOUTH, WEST, WSE2, WSE3, Filter, Program
from wse.fabric.assemble import assemble
from wse.fabric.errors import (
    CapacityError,
    CollisionError,
    CycleLimitError,
    DeadlockError,
    MachineError,
    MemoryRangeError,
    OperandError,
    ProgramError,
    RouteError,
)
from wse.fabric.operands import Colour
from wse.fabric.run import run


def small() -> tuple[Program, Colour]:
    program = Program(3, 2)
    return program, program.colour("red")


@pytest.mark.parametrize(
    ("route", "words"),
    [
        (
            {"receive": RAMP, "transmit": EAST, "x": 2, "y": 1},
            r"red at PE \(2, 1\) transmits to EAST, off",
        ),
        (
            {"receive": NORTH, "transmit": RAMP, "x": 1, "y": 0},
            r"red at PE \(1, 0\) receives from NORTH, o",
        ),
        (
            {"receive": RAMP, "transmit": WEST, "x": 1, "y": 0},
            r"\(1, 0\) transmits to WEST, where the neig",
        ),
        (
            {"receive": EAST, "transmit": RAMP, "x": 1, "y": 1},
            r"the ramp of PE \(1, 1\), whose code does n",
        ),
    ],
)
def test_a_route_that_leads_nowhere(route: dict, words: str) -> None:
    program, red = small()
    program.code("idle")
    program.route(red, **route)
    with pytest.raises(RouteError, match=words):
        assemble(program, WSE3)


def test_wse2_changes_one_side_of_a_switch_and_wse3_both() -> None:
    program, red = small()
    program.route(red, RAMP, SOUTH, y=0, x=slice(0, 2))
    program.route(red, RAMP, EAST, y=1, x=0)
    code = program.code("code", x=1, y=1)
    with code.main():
        code.move(code.array("x", 1), red)
    program.switch(red, [(NORTH, RAMP), (WEST, EAST)], x=1, y=1)
    program.switch(red, [(NORTH, RAMP)], x=0, y=1)
    program.route(red, RAMP | NORTH, EAST, y=1, x=0)
    program.route(red, WEST, NORTH, x=2, y=1)
    program.route(red, SOUTH, WEST, x=2, y=0)
    program.route(red, RAMP | EAST, SOUTH, x=1, y=0)
    assemble(program, WSE3)
    with pytest.raises(RouteError, match=r"position 1 changes both .* wse2 can change only one"):
        assemble(program, WSE2)


def test_more_than_the_machine_has() -> None:
    many = Program(1, 1)
    for number in range(25):
        many.colour(f"c{number}")
    with pytest.raises(CapacityError, match="25 colours; wse3 has 24"):
        assemble(many, WSE3)

    big = Program(1, 1)
    big.code("big").array("x", 22_489, F16)
    with pytest.raises(
        CapacityError, match=r"PE \(0, 0\), code big: 44978 bytes .* wse2 has 44976"
    ):
        assemble(big, WSE2)

    queues = Program(1, 1)
    code = queues.code("code")
    x = code.array("x", 1)
    with code.main():
        for number in range(9):
            code.move(x, queues.colour(f"c{number}"))
    with pytest.raises(CapacityError, match="code code: 9 input queues; a PE has 8"):
        assemble(queues, WSE3)

    threads, red = small()
    code = threads.code("code")
    with code.main():
        code.move(red, code.array("x", 1), thread=8)
    with pytest.raises(CapacityError, match="micro-thread 8; wse3 has 0 to 7"):
        assemble(threads, WSE3)

    switches, red = small()
    switches.switch(red, [(RAMP, EAST)] * 5, x=0, y=0)
    with pytest.raises(CapacityError, match="a switch of 5 positions; wse3 has 4"):
        assemble(switches, WSE3)


Write = Callable[[Program], object]


def operation(write: Callable[..., object]) -> Write:
    def attempt(program: Program) -> None:
        code = program.code("code")
        x, y = code.array("x", 4, F32), code.array("n", 4, I32)
        with code.main():
            write(code, x, y, program.colour("red"))

    return attempt


@pytest.mark.parametrize(
    ("write", "words"),
    [
        (operation(lambda c, x, n, red: c.move(x[:3], x)), "move: operands of 3 and 4 elements"),
        (operation(lambda c, x, n, red: c.add(x, x, n)), "add: floats and integers"),
        (operation(lambda c, x, n, red: c.add(n, n, 0.5)), "constant that is no integer"),
        (operation(lambda c, x, n, red: c.move(x[4], 0.0)), r"x\[4\]: the array has 4 elements"),
        (operation(lambda c, x, n, red: c.move(x.at(2, 3), 0.0)), "x: elements 2 to 4 of an array"),
        (operation(lambda c, x, n, red: c.move(x, 0.0, thread=1)), "no operand is a stream"),
        (operation(lambda c, x, n, red: c.add(x, red, red)), "colour red is received twice"),
        (
            operation(lambda c, x, n, red: c.move(red.stream(F32, per_wavelet=2), x)),
            "2 elements of F32 in a 32-bit wavelet",
        ),
        (
            operation(lambda c, x, n, red: c.move(x.at(0, 2, row=3), 0.0, rows=2)),
            "x: rows from element 0 to 4 of an array of 4",
        ),
    ],
)
def test_operands_that_do_not_fit(write: Write, words: str) -> None:
    with pytest.raises(OperandError, match=words):
        write(Program(1, 1))


@pytest.mark.parametrize(
    ("write", "words"),
    [
        (lambda p: Program(0, 3), "a mesh of 0 x 3 PEs"),
        (lambda p: p.code("a", x=3), "x = 3 is outside of the mesh, 0 to 2"),
        (lambda p: [p.code("a"), p.code("b", x=1)], "code b: PEs of its region run a already"),
        (lambda p: p.code("a").array("x", 3, values=[1, 2]), r"shape \(2,\), not \(2, 3, 3\)"),
        (lambda p: p.code("a").array("x", 3, "f8"), "'f8' is no type of elements; there are F16"),
        (lambda p: Filter(limit=1, period=4, start=4), "start must lie in 0 to period - 1"),
    ],
)
def test_programs_that_cannot_be(write: Write, words: str) -> None:
    with pytest.raises(OnewaferError, match=words):
        write(Program(3, 2))


def test_a_machine_that_cannot_be() -> None:
    with pytest.raises(MachineError, match=r"machine\.hop_cycles: 0 is too small"):
        replace(WSE3, hop_cycles=0)
    with pytest.raises(
        MachineError, match=r"machine\.ramp_cycles: 1 is less than hop_cycles - 1, 4"
    ):
        replace(WSE3, hop_cycles=5, ramp_cycles=1)


def test_two_directions_of_one_colour_in_one_cycle() -> None:
    program = Program(3, 1)
    red = program.colour("red")
    program.route(red, RAMP, EAST, x=0)
    program.route(red, RAMP, WEST, x=2)
    program.route(red, EAST | WEST, RAMP, x=1)
    edge, middle = program.code("edge", x=slice(0, 3, 2)), program.code("middle", x=1)
    with edge.main():
        edge.move(red, edge.array("x", 1))
    with middle.main():
        middle.move(middle.array("x", 2), red)
    words = r"PE \(1, 0\): two wavelets of colour red arrive in one cycle, sent in cycle 12"
    with pytest.raises(CollisionError, match=words):
        run(program, WSE3)


def test_a_deadlock_says_who_waits_for_what_since_when() -> None:
    program = Program(2, 1)
    red = program.colour("red")
    program.route(red, RAMP, EAST, x=0)
    program.route(red, WEST, RAMP, x=1)
    sender, receiver = program.code("sender", x=0), program.code("receiver", x=1)
    with sender.main():
        sender.move(red, sender.array("x", 100))
    with receiver.main():
        receiver.move(receiver.array("x", 10), red)
        receiver.move(receiver.array("y", 200), red)
    with pytest.raises(DeadlockError) as deadlock:
        run(program, WSE3)
    message = str(deadlock.value)
    assert message.startswith("nothing moves after cycle ")
    assert "PE (1, 0) waits in 'main: move y <- red' after 90 of 200 elements" in message
    assert "\n" not in message


def test_a_deadlock_of_many_is_cut_short_and_names_wavelets() -> None:
    program = Program(2, 40)
    red = program.colour("red")
    program.route(red, RAMP, EAST, x=0)
    program.route(red, WEST, RAMP, x=1)
    sender, receiver = program.code("sender", x=0), program.code("receiver", x=1)
    with sender.main():
        sender.move(red, sender.array("x", 3))
    later = receiver.task("later")
    with later:
        receiver.move(receiver.array("x", 3), red)
    with pytest.raises(DeadlockError) as deadlock:
        run(program, WSE3)
    message = str(deadlock.value)
    assert "the input queue of PE (1, 0) holds 3 wavelets of colour red" in message
    assert message.endswith("and more")
    assert len(message) < 1000


def test_a_vector_that_leaves_its_array_during_the_run() -> None:
    program = Program(2, 1)
    code = program.code("code")
    x, at = code.array("x", 8), code.register("at", values=[[0, 5]])
    with code.main():
        code.move(x.at(at, 4), 1.0)
    words = r"PE \(1, 0\): 'main: move x\[at\+0\] <- 1.0' reaches outside its array in cycle 5"
    with pytest.raises(MemoryRangeError, match=words):
        run(program, WSE3)


def test_a_run_without_end() -> None:
    program = Program(1, 1)
    code = program.code("code")
    again = code.task("again", start=True)
    with again:
        code.activate(again)
    with pytest.raises(CycleLimitError, match="not over at its limit of 5000 cycles"):
        run(program, WSE3, max_cycles=5000)


def test_a_task_has_one_body_and_every_task_one() -> None:
    program = Program(1, 1)
    code = program.code("code")
    code.task("empty")
    with pytest.raises(ProgramError, match="code code: task empty has no body"):
        assemble(program, WSE3)
    with pytest.raises(ProgramError, match="set count stands outside of any task"):
        code.set(code.register("count"), 1)
