"""A 7-point stencil: x and y over the PEs, z in their memory, as in the first solver on a wafer.

A step replaces u by ``CENTRE * u`` plus its six neighbours; outside of the mesh u is zero. Every PE
multicasts its column to its four neighbours at once. Colour ``(x + 2 y) mod 5`` does it: a PE and
its four neighbours then have five different ones (Rocki et al., "Fast Stencil-Code Computation on a
Wafer-Scale Processor", 2020).

Four micro-threads add what the neighbours send, all at once: if one neighbour waited for another,
the multicasts would block each other in a circle as soon as a column is longer than the queues.

Cycles of a step for n elements of fp32: the operations on the own column, ``3 n / rate``; n
wavelets sent and 4 n received, one a cycle; the copy, n / rate of a move; and some 40 of the
instructions.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from wse.fabric.code import Code
from wse.fabric.errors import ProgramError
from wse.fabric.library.experiment import Answer, Experiment, small_integers
from wse.fabric.library.tile_product import join
from wse.fabric.operands import Colour, Register
from wse.fabric.program import Program
from wse.fabric.tables import EAST, F32, NORTH, RAMP, SOUTH, WEST, Direction, DType

CENTRE = -6.0
STEPS = 2
COLOURS = 5
NEIGHBOURS = ((EAST, 1, 0), (WEST, -1, 0), (SOUTH, 0, 1), (NORTH, 0, -1))
"""Direction, dx and dy of the neighbours; the colour of a neighbour is dx + 2 dy on."""
OPPOSITE = {EAST: WEST, WEST: EAST, SOUTH: NORTH, NORTH: SOUTH}


def stencil(
    width: int, height: int, depth: int, dtype: DType = F32, steps: int = STEPS
) -> Experiment:
    """``steps`` steps on ``width`` x ``height`` x ``depth`` points: array ``u`` of every PE."""
    if width * height < 2:
        raise ProgramError("a stencil on one PE; it needs neighbours")
    program = Program(width, height)
    colours = [program.colour(f"class {number}") for number in range(COLOURS)]
    first = small_integers((height, width, depth), dtype)
    for number in range(COLOURS):
        for x, y in _members(program, number):
            _route(program, colours[number], x, y)
        _code(program, number, colours, first, dtype, steps)
    expected = first.astype(float)
    for _ in range(steps):
        expected = _step(expected)
    return Experiment(program, (Answer("u", expected),))


def _members(program: Program, number: int) -> list[tuple[int, int]]:
    """The PEs (x, y) of a class."""
    return [
        (x, y)
        for y in range(program.height)
        for x in range((number - 2 * y) % COLOURS, program.width, COLOURS)
    ]


def _route(program: Program, colour: Colour, x: int, y: int) -> None:
    reached = Direction(0)
    for direction, dx, dy in NEIGHBOURS:
        if 0 <= x + dx < program.width and 0 <= y + dy < program.height:
            reached |= direction
            program.route(colour, OPPOSITE[direction], RAMP, x=x + dx, y=y + dy)
    if reached:
        program.route(colour, RAMP, reached, x=x, y=y)


def _code(
    program: Program,
    number: int,
    colours: list[Colour],
    first: NDArray,
    dtype: DType,
    steps: int,
) -> None:
    members = _members(program, number)
    if not members:
        return
    code = program.code(f"class {number}", *members[0])
    for x, y in members[1:]:
        program.place(code, x, y)
    depth = first.shape[-1]
    u, new = code.array("u", depth, dtype, first), code.array("new", depth, dtype)
    others = [
        (
            colours[(number + dx + 2 * dy) % COLOURS],
            _length(program, code, direction.name or "", dx, dy, depth),
        )
        for direction, dx, dy in NEIGHBOURS
    ]
    mine = colours[number]
    with code.main(), code.loop(steps):
        code.move(mine, u, thread=0)
        code.multiply(new, u, CENTRE)
        if depth > 1:
            code.add(new[1:], new[1:], u[:-1])
            code.add(new[:-1], new[:-1], u[1:])
        for thread, (theirs, length) in enumerate(others, start=1):
            code.add(new.at(0, length), theirs, new.at(0, length), thread=thread)
        code.move(mine, u[0:0], thread=0, loads=0)  # waits until u has been sent
        for thread, (theirs, _) in enumerate(others, start=1):
            join(code, thread, new, theirs)
        code.move(u, new)


def _length(program: Program, code: Code, name: str, dx: int, dy: int, depth: int) -> Register:
    """How much comes from a neighbour: nothing where there is none."""
    inside_x = (program.x + dx >= 0) & (program.x + dx < program.width)
    inside_y = (program.y + dy >= 0) & (program.y + dy < program.height)
    return code.register(f"from {name}", values=np.where(inside_x & inside_y, depth, 0))


def _step(u: NDArray) -> NDArray:
    """One step with numpy."""
    padded = np.pad(u, 1)
    around = [
        np.roll(padded, shift, axis)[1:-1, 1:-1, 1:-1] for axis in range(3) for shift in (-1, 1)
    ]
    return CENTRE * u + sum(around)
