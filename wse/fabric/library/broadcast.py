"""Multicast broadcast: routers copy every wavelet, no PE passes one on.

Cycles for B wavelets to P PEs on a line: ``B + hop (P - 1) + 2 T_R + 1``, T_R being the ramp
("Near-Optimal Wafer-Scale Reduce", 2024, with a hop of 1).
"""

from __future__ import annotations

from wse.fabric.code import Code
from wse.fabric.errors import ProgramError
from wse.fabric.library.experiment import Answer, Experiment, small_integers
from wse.fabric.library.lines import Line
from wse.fabric.operands import Array
from wse.fabric.program import Program
from wse.fabric.tables import EAST, F32, NORTH, RAMP, SOUTH, WEST, Direction, DType

NOWHERE = Direction(0)


class Broadcast:
    """From the PE at position ``root`` of a line to all others, on one colour."""

    def __init__(self, line: Line, root: int = 0) -> None:
        self.root, self.length = root, line.length
        self.colour = line.colour("broadcast")
        for position in range(line.length):
            ahead, behind = position >= root, position <= root
            onward = line.forward if ahead and position < line.length - 1 else NOWHERE
            onward |= line.backward if behind and position > 0 else NOWHERE
            if position == root:
                receive, transmit = RAMP, onward
            else:
                receive, transmit = line.backward if ahead else line.forward, onward | RAMP
            if transmit:
                line.route(self.colour, receive, transmit, [position])

    def role(self, position: int) -> str:
        """Root or leaf."""
        return "root" if position == self.root else "leaf"

    def emit(self, code: Code, role: str, array: Array) -> None:
        """The root sends ``array``; the others receive it."""
        if role == "leaf":
            code.move(array, self.colour)
        elif self.length > 1:
            code.move(self.colour, array)


def broadcast(width: int, height: int, words: int, dtype: DType = F32) -> Experiment:
    """``words`` elements from PE (0, 0) to every PE of the mesh: array ``x``.

    One colour: the first column passes it south and east, every other PE east.
    """
    if width * height < 2:
        raise ProgramError("a broadcast on one PE; it needs others")
    program = Program(width, height)
    colour = program.colour("broadcast")
    east = EAST if width > 1 else NOWHERE
    south = SOUTH if height > 1 else NOWHERE
    program.route(colour, WEST, EAST | RAMP)
    program.route(colour, WEST, RAMP, x=-1)
    program.route(colour, NORTH, east | SOUTH | RAMP, x=0)
    program.route(colour, NORTH, east | RAMP, x=0, y=-1)
    program.route(colour, RAMP, east | south, x=0, y=0)
    values = small_integers((words,), dtype)
    root = program.code("root", x=0, y=0)
    with root.main():
        root.move(colour, root.array("x", words, dtype, values))
    leaf = program.code("leaf", x=slice(1, None))
    program.place(leaf, x=0, y=slice(1, None))
    with leaf.main():
        leaf.move(leaf.array("x", words, dtype), colour)
    return Experiment(program, (Answer("x", values),))
