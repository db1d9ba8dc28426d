"""The pipelined chain: every PE adds its own words to those that pass it on the way to the root.

Neighbours in a chain use two colours in turn, because a PE cannot tell what it receives from what
it sends on one colour. Chains whose nodes are apart pass the routers between them.

Cycles of a chain of P neighbours for B wavelets: ``B + (2 T_R + 1 + hop)(P - 1)``, where T_R is
the ramp; with a hop of 1 it is the ``B + (2 T_R + 2)(P - 1)`` of "Near-Optimal Wafer-Scale
Reduce" (2024).
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum

from wse.fabric.code import Code
from wse.fabric.library.lines import Line
from wse.fabric.operands import Array, Colour
from wse.fabric.tables import RAMP


class Place(Enum):
    """Where a PE is in a chain: its root, between, at the far end, or in none (or alone)."""

    ROOT = "root"
    ODD = "odd"
    EVEN = "even"
    ODD_TAIL = "odd tail"
    EVEN_TAIL = "even tail"
    OUTSIDE = "outside"

    def __str__(self) -> str:
        return self.value


class Chain:
    """Chains towards a root; ``nodes`` are positions from the root to the tail.

    With a ``period`` there is such a chain in every ``period`` positions of the line. Node 1
    sends on ``colours[1]``, node 2 on ``colours[0]``, and so on.
    """

    def __init__(
        self, line: Line, nodes: range, colours: Sequence[Colour], period: int | None = None
    ) -> None:
        self.nodes, self.colours, self.length = nodes, colours, line.length
        self.period = line.length if period is None else period
        inward, outward = line.backward, line.forward
        if nodes.step < 0:
            inward, outward = outward, inward
        for number, node in enumerate(nodes[1:], start=1):
            mine, senders = colours[number % 2], range(node, line.length, self.period)
            line.route(mine, RAMP, inward, senders)
            line.route(mine, outward, RAMP, _shifted(senders, -nodes.step))
            for distance in range(1, abs(nodes.step)):
                sign = 1 if nodes.step > 0 else -1
                line.route(mine, outward, inward, _shifted(senders, -sign * distance))

    def place(self, position: int) -> Place:
        """The place of a position of the line; the line's end cuts a chain short."""
        within = position % self.period
        if within not in self.nodes:
            return Place.OUTSIDE
        number = self.nodes.index(within)
        last = number + 1 == len(self.nodes)
        last = last or position + self.nodes.step >= self.length
        if number == 0:
            return Place.OUTSIDE if last else Place.ROOT
        names = (Place.EVEN_TAIL, Place.ODD_TAIL) if last else (Place.EVEN, Place.ODD)
        return names[number % 2]

    def reduce(self, code: Code, place: Place, array: Array) -> None:
        """Add the arrays of the chain into the root's array."""
        if place is Place.ROOT:
            code.add(array, self.colours[1], array)
        elif place in (Place.ODD, Place.EVEN):
            mine = int(place is Place.ODD)
            code.add(self.colours[mine], self.colours[1 - mine], array)
        elif place is not Place.OUTSIDE:
            code.move(self.colours[int(place is Place.ODD_TAIL)], array)


def _shifted(positions: range, by: int) -> range:
    return range(positions.start + by, positions.stop + by, positions.step)
