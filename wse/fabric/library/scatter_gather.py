"""Scatter and gather along rows, with switches: a control wavelet hands the turn to the next PE.

- Scatter: PE (0, y) sends the others' parts, nearest first, each with a control wavelet behind.
  A router at its first position gives its PE the part; the control wavelet advances it, and what
  follows goes past. On its way the control wavelet ends at that PE, for the position it passed
  was the ramp's.
- Gather: each router first passes its own PE's part; the control wavelet behind it advances the
  router to pass what comes from the east. So the parts arrive in order, nearest first.

Cycles for P PEs with B wavelets each: about ``(P - 1)(B + 20)``, part by part
through one ramp.
"""

from __future__ import annotations

from wse.fabric.errors import ProgramError
from wse.fabric.library.experiment import Answer, Experiment, small_integers
from wse.fabric.program import Program
from wse.fabric.tables import EAST, F32, RAMP, WEST, DType


def scatter(width: int, height: int, words: int, dtype: DType = F32) -> Experiment:
    """Part p of the array ``parts`` of PE (0, y) becomes the array ``x`` of PE (p, y)."""
    program = _program(width, height)
    colour = program.colour("parts")
    program.route(colour, RAMP, EAST, x=0)
    program.switch(colour, [(WEST, RAMP), (WEST, EAST)], x=slice(1, -1))
    program.route(colour, WEST, RAMP, x=-1)
    parts = small_integers((height, width, words), dtype)
    root, leaf = program.code("root", x=0), program.code("leaf", x=slice(1, None))
    held = root.array("parts", width * words, dtype, parts.reshape(height, 1, -1))
    x = root.array("x", words, dtype)
    with root.main():
        root.move(x, held[:words])
        with root.loop(width - 1) as part:
            start = root.register("start")
            root.set(start, part * words)
            root.move(colour, held.at(start + words, words))
            root.send_control(colour)
    with leaf.main():
        leaf.move(leaf.array("x", words, dtype), colour)
    return Experiment(program, (Answer("x", parts),))


def gather(width: int, height: int, words: int, dtype: DType = F32) -> Experiment:
    """The arrays ``x`` of a row become the array ``parts`` of PE (0, y), in order."""
    program = _program(width, height)
    colour = program.colour("parts")
    program.route(colour, EAST, RAMP, x=0)
    program.switch(colour, [(RAMP, WEST), (EAST, WEST)], x=slice(1, -1))
    program.route(colour, RAMP, WEST, x=-1)
    parts = small_integers((height, width, words), dtype)
    root, leaf = program.code("root", x=0), program.code("leaf", x=slice(1, None))
    held = root.array("parts", width * words, dtype)
    x = root.array("x", words, dtype, parts)
    with root.main():
        root.move(held[:words], x)
        with root.loop(width - 1) as part:
            start = root.register("start")
            root.set(start, part * words)
            root.move(held.at(start + words, words), colour)
    with leaf.main():
        leaf.move(colour, leaf.array("x", words, dtype, parts))
        leaf.send_control(colour)
    return Experiment(program, (Answer("parts", parts.reshape(height, 1, -1), x=0),))


def _program(width: int, height: int) -> Program:
    if width < 2:
        raise ProgramError(f"scatter and gather need rows of 2 PEs, not {width}")
    return Program(width, height)
