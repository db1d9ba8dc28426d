"""Random routes of one colour: a tree from a source over the mesh, with switches and filters.

A flow has one source, so what arrives where, and in which order, does not depend on time: it is
found here by following the wavelets one after the other. So a program can receive exactly what
comes, and most programs end.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import reduce
from operator import or_
from random import Random

from wse.fabric import EAST, F16, F32, I16, I32, NORTH, RAMP, SOUTH, WEST, Direction, DType, Program
from wse.fabric.operands import Colour, Stream
from wse.fabric.program import Filter

SIDES = {NORTH: (0, -1), SOUTH: (0, 1), EAST: (1, 0), WEST: (-1, 0)}
BACK = {NORTH: SOUTH, SOUTH: NORTH, EAST: WEST, WEST: EAST}
Pe = tuple[int, int]


@dataclass
class Node:
    """A router of the tree: the side it receives from, its children by side, and its switch."""

    receive: Direction
    children: dict[Direction, Pe] = field(default_factory=dict)
    delivers: bool = False
    positions: list[tuple[Direction, Direction]] = field(default_factory=list)
    ring: bool = False
    filter: Filter | None = None

    @property
    def transmit(self) -> Direction:
        """All that it may transmit to."""
        return union([*self.children, *([RAMP] if self.delivers else [])])


def union(sides: Iterable[Direction]) -> Direction:
    """The set of ``sides``."""
    return reduce(or_, sides, Direction(0))


@dataclass
class Flow:
    """What one colour carries: ``wavelets`` says of each whether it is control.

    ``passing`` has the numbers of the wavelets that leave each router, by its side or RAMP.
    """

    colour: Colour
    dtype: DType
    per_wavelet: int
    source: Pe
    nodes: dict[Pe, Node]
    wavelets: list[bool]
    second_source: Pe | None = None  # sends on the same colour: wavelets may collide
    stuck: bool = False  # a switch shuts before all wavelets are through
    passing: dict[tuple[Pe, Direction], list[int]] = field(default_factory=dict)

    def reaches(self, pe: Pe) -> bool:
        """Whether wavelets may go to the PE's ramp."""
        return pe in self.nodes and self.nodes[pe].delivers

    def arriving(self, pe: Pe) -> list[bool]:
        """Of each wavelet that goes to the PE's ramp, whether it is control."""
        return [self.wavelets[number] for number in self.passing.get((pe, RAMP), [])]

    @property
    def is_certain(self) -> bool:
        """Whether everything arrives, in one order."""
        return self.second_source is None and not self.stuck

    @property
    def stream(self) -> Stream:
        """The flow as an operand."""
        return self.colour.stream(self.dtype, self.per_wavelet)


def random_flow(random: Random, program: Program, name: str, both: bool) -> Flow:
    """A flow on ``program``, its routes made; ``both``: switches change both of their sets."""
    colour = program.colour(name)
    dtype = random.choice([F16, F32, F32, I16, I32])
    per_wavelet = 1 if dtype.size_bytes == 4 else random.choice([1, 2])
    source = random.randrange(program.width), random.randrange(program.height)
    nodes = _tree(random, program, source)
    for pe, node in nodes.items():
        _add_switch(random, node, sides_inside(program, pe), both)
    second = random.choice(list(nodes)) if random.random() < 0.06 else None
    if second not in (None, source):
        receive, transmit = nodes[second].positions[0]
        nodes[second].positions = [(receive | RAMP, transmit)]
    wavelets = [False] * random.randrange(1, 13)
    for _ in range(random.choice([0, 0, 1, 2])):
        wavelets.insert(random.randrange(len(wavelets) + 1), True)
    for (x, y), node in nodes.items():
        program.switch(colour, node.positions, x, y, ring=node.ring, filter=node.filter)
    flow = Flow(colour, dtype, per_wavelet, source, nodes, wavelets, second)
    _follow(flow, source, list(range(len(wavelets))))
    return flow


def _tree(random: Random, program: Program, source: Pe) -> dict[Pe, Node]:
    nodes = {source: Node(RAMP)}
    for _ in range(random.randrange(1, 2 * program.width * program.height)):
        pe, side = random.choice(list(nodes)), random.choice(list(SIDES))
        step = SIDES[side]
        child = pe[0] + step[0], pe[1] + step[1]
        inside = 0 <= child[0] < program.width and 0 <= child[1] < program.height
        if inside and child not in nodes:
            nodes[pe].children[side] = child
            nodes[child] = Node(BACK[side])
    for node in nodes.values():
        node.delivers = not node.children or random.random() < 0.5
    return nodes


def sides_inside(program: Program, pe: Pe) -> list[Direction]:
    """The sides of a PE that lie within the mesh, and RAMP."""
    x, y = pe
    width, height = program.width, program.height
    open_ = {WEST: x > 0, EAST: x < width - 1, NORTH: y > 0, SOUTH: y < height - 1, RAMP: True}
    return [side for side, is_open in open_.items() if is_open]


def _add_switch(random: Random, node: Node, inside: list[Direction], both: bool) -> None:
    first = node.receive, node.transmit
    node.positions = [first]
    if random.random() < 0.25:
        node.filter = _random_filter(random)
    if random.random() > 0.3:
        return
    node.ring = random.random() < 0.6
    changes_receive = random.random() < 0.15
    for _ in range(random.randrange(1, 4)):
        receive, transmit = first
        if changes_receive or both:
            other = random.choice(inside)
            receive = random.choice([node.receive, node.receive, RAMP, other])
        if not changes_receive or both:
            parts = [side for side in (*node.children, RAMP) if side in node.transmit]
            chosen = random.sample(parts, random.randrange(1, len(parts) + 1))
            transmit = union(chosen)
        node.positions.append((receive, transmit))


def _random_filter(random: Random) -> Filter:
    period = random.randrange(1, 5)
    return Filter(random.randrange(period), period, random.randrange(period))


def _follow(flow: Flow, pe: Pe, numbers: list[int]) -> None:
    """Record what leaves the router of ``pe``, to which ``numbers`` come, and those below it."""
    node, position = flow.nodes[pe], 0
    counter = node.filter.start if node.filter else 0
    passing: dict[Direction, list[int]] = {side: [] for side in (*node.children, RAMP)}
    for number in numbers:
        is_control = flow.wavelets[number]
        receive, transmit = node.positions[position]
        if node.receive not in receive:
            flow.stuck = True
            break
        accepted = is_control or not node.filter or counter <= node.filter.limit
        for side, left in passing.items():
            if side in transmit and (side is not RAMP or accepted):
                left.append(number)
        if is_control:
            last = position + 1 == len(node.positions)
            position = (0 if node.ring else position) if last else position + 1
        elif node.filter:
            counter = (counter + 1) % node.filter.period
    flow.passing |= {(pe, side): left for side, left in passing.items()}
    for side, child in node.children.items():
        _follow(flow, child, passing[side])
