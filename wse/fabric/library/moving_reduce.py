"""A reduction along a line whose root moves: partial sums run to it from both ends.

Neighbours use two colours in turn in each direction. Every position has its own colours to send
on, so it can pass sums on for one root and be the next root itself.
"""

from __future__ import annotations

from wse.fabric.code import Code
from wse.fabric.errors import ProgramError
from wse.fabric.library.lines import Line
from wse.fabric.operands import Colour, Destination, Integer, Register, Source
from wse.fabric.tables import RAMP

THREAD = 1


class MovingReduce:
    """Sums along a line towards a root that moves, from both sides; four colours."""

    def __init__(self, line: Line) -> None:
        if line.length < 2:
            raise ProgramError(f"partial sums along {line.axis} need 2 PEs, not {line.length}")
        self.last = line.length - 1
        self.ahead = line.colour("ahead even"), line.colour("ahead odd")
        self.back = line.colour("back even"), line.colour("back odd")
        for position in range(line.length):
            mine, theirs = position % 2, 1 - position % 2
            if position < self.last:
                line.route(self.ahead[mine], RAMP, line.forward, [position])
                line.route(self.back[theirs], line.forward, RAMP, [position])
            if position > 0:
                line.route(self.back[mine], RAMP, line.backward, [position])
                line.route(self.ahead[theirs], line.backward, RAMP, [position])

    def role(self, position: int) -> tuple[str, int]:
        """First, last or between, and the parity of a position."""
        return {0: "first", self.last: "last"}.get(position, "between"), position % 2

    def pass_on(
        self, code: Code, role: tuple[str, int], root: Integer, position: Register, own: Source
    ) -> None:
        """Send ``own``, plus what comes from outside, towards ``root``; nothing at the root."""
        end, mine = role
        if end != "last":
            with code.when(position < root):
                _relay(code, self.ahead, mine, own, starts=end == "first")
        if end != "first":
            with code.when(position > root):
                _relay(code, self.back, mine, own, starts=end == "last")

    def collect(self, code: Code, role: tuple[str, int], own: Source, total: Destination) -> None:
        """At the root: ``own`` and what comes from both sides, in ``total``."""
        end, mine = role
        if end != "first":
            code.add(total, self.ahead[1 - mine], own)
        if end != "last":
            code.add(total, self.back[1 - mine], own if end == "first" else total)


def _relay(
    code: Code, colours: tuple[Colour, Colour], mine: int, own: Source, starts: bool
) -> None:
    if starts:
        code.move(colours[mine], own, thread=THREAD)
    else:
        code.add(colours[mine], colours[1 - mine], own, thread=THREAD)
