"""Lanes change nothing but the time that a simulation takes.

Colours go long random ways over small meshes; some share links, some fork, some are blocked.
"""

from __future__ import annotations

from random import Random
from typing import Any
from unittest.mock import patch

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.wse.fabric.agree import LONG, by_engine, by_reference
from tests.wse.fabric.programs import random_machine
from wse.fabric import (
    EAST,
    I32,
    NORTH,
    RAMP,
    SOUTH,
    WEST,
    WSE2,
    WSE3,
    Direction,
    Machine,
    Program,
)
from wse.fabric.assemble import assemble
from wse.fabric.assembled import Assembled
from wse.fabric.code import Code
from wse.fabric.engine import lane_tables
from wse.fabric.engine.build import build
from wse.fabric.engine.columns import Lane
from wse.fabric.errors import FabricError
from wse.fabric.run import run

Pe = tuple[int, int]
SIDES = {NORTH: (0, -1), SOUTH: (0, 1), EAST: (1, 0), WEST: (-1, 0)}
BACK = {NORTH: SOUTH, SOUTH: NORTH, EAST: WEST, WEST: EAST}


def random_way(random: Random, program: Program) -> tuple[list[Pe], list[Direction]]:
    """PEs from a random one on, none twice, and the sides that lead from each to the next."""
    way = [(random.randrange(program.width), random.randrange(program.height))]
    sides: list[Direction] = []
    while True:
        steps = {side: (way[-1][0] + dx, way[-1][1] + dy) for side, (dx, dy) in SIDES.items()}
        steps = {
            side: (x, y)
            for side, (x, y) in steps.items()
            if 0 <= x < program.width and 0 <= y < program.height and (x, y) not in way
        }
        if not steps:
            return way, sides
        straight = bool(sides) and sides[-1] in steps and random.random() < 0.6
        sides.append(sides[-1] if straight else random.choice(list(steps)))
        way.append(steps[sides[-1]])


def random_ways(random: Random, machine: Machine) -> Assembled:
    """One to three colours, each from the begin of its way to the end, some forked on the way."""
    program = Program(random.randrange(2, 12), random.randrange(1, 5))
    codes: dict[Pe, Code] = {}
    for name in ("first", "second", "third")[: random.randrange(1, 4)]:
        colour = program.colour(name)
        way, sides = random_way(random, program)
        takers = {pe for pe in way[1:-1] if random.random() < 0.05} | {way[-1]}
        program.route(colour, RAMP, sides[0], *way[0])
        for place, before in enumerate(sides, start=1):
            onward = sides[place] if place < len(sides) else Direction(0)
            transmit = onward | RAMP if way[place] in takers else onward
            program.route(colour, BACK[before], transmit, *way[place])
        length = random.randrange(1, 60)
        for pe in (way[0], *takers):
            if pe not in codes:
                codes[pe] = program.code(f"code {pe}", *pe)
            code = codes[pe]
            array = code.array(name, length, I32, np.arange(length) if pe == way[0] else 0)
            with code.task(f"task {name}", start=True):
                code.work(random.choice([0, 0, 30, 150]))
                if pe == way[0]:
                    code.move(colour.stream(I32), array)
                    code.send_control(colour)
                    code.move(colour.stream(I32), array)
                else:
                    left = random.choice([0, 0, 0, 1, 20])
                    code.move(array[0], colour.stream(I32), length=max(2 * length - left, 0))
    return assemble(program, machine)


def without_lanes(program: Assembled, machine: Machine, limit: int) -> dict[str, Any]:
    """What a run router by router leaves, or its error, with everything it says of a deadlock."""
    with patch.object(lane_tables, "SHORTEST", lane_tables.LONGEST + 1):
        return everything(program, machine, limit)


def everything(program: Assembled, machine: Machine, limit: int) -> dict[str, Any]:
    """All that a run leaves, or its error in all its words."""
    try:
        result = run(program, machine, limit)
    except FabricError as error:
        return {"error": str(error)}
    names = ("cycles", "memory", "link_wavelets", "busy_cycles", "first_delivery", "last_delivery")
    return {name: getattr(result, name) for name in names}


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**9), st.integers(1, 6))
def test_lanes_change_nothing(number: int, longest: int) -> None:
    random = Random(number)
    machine = random_machine(random)
    program = random_ways(random, machine)
    limit = random.choice([100, LONG, LONG, LONG])
    with patch.multiple(lane_tables, SHORTEST=1, LONGEST=longest):
        found, all_found = by_engine(program, machine, limit), everything(program, machine, limit)
    np.testing.assert_equal(found, by_reference(program, machine, limit))
    np.testing.assert_equal(all_found, without_lanes(program, machine, limit))


def line(length: int, received: int, colours: int = 1) -> Program:
    """Streams of 400 words, one after the other, from the begin of a line of PEs to its end."""
    program = Program(length, 1)
    first, last = program.code("first", x=0), program.code("last", x=length - 1)
    kept = last.array("kept", 1)
    streams = [program.colour(f"colour{number}") for number in range(colours)]
    for colour in streams:
        program.route(colour, RAMP, EAST, x=0)
        program.route(colour, WEST, EAST, x=slice(1, -1))
        program.route(colour, WEST, RAMP, x=length - 1)
    with first.main():
        for colour in streams:
            first.move(colour, 1.0, length=400)
    with last.main():
        for colour in streams:
            last.move(kept[0], colour, length=received)
    return program


def test_a_long_line_is_several_lanes() -> None:
    program = assemble(line(150, 400), WSE2)
    assert list(build(program, WSE2, LONG, 0).lanes[:, Lane.STAGES]) == [62, 62, 24]
    result = run(program, WSE2)
    assert (result.link_wavelets[0, :-1, 2] == 400).all()
    np.testing.assert_equal(everything(program, WSE2, LONG), without_lanes(program, WSE2, LONG))


def test_a_lane_that_is_stuck_says_since_when() -> None:
    program = assemble(line(12, 3), WSE3)
    said = everything(program, WSE3, LONG)["error"]
    assert "router of PE (5, 0) holds 4 wavelets of colour colour0, the last from cycle" in said
    assert said == without_lanes(program, WSE3, LONG)["error"]


def test_a_link_that_two_colours_share_is_in_no_lane() -> None:
    assert len(build(assemble(line(20, 400), WSE2), WSE2, LONG, 0).lanes) == 1
    assert len(build(assemble(line(20, 400, colours=2), WSE2), WSE2, LONG, 0).lanes) == 0
