"""A store-and-forward relay: each PE of a row takes the whole message, then a task sends it on.

Cycles of N hops for B wavelets, measured in the vendor's simulator (FABRICA):
``1.001 N B + 16.1 N + 16.5``. ``fixed_cycles`` stand for its timer, which takes 17 cycles of a
message of 36, less the start of the first task.
"""

from __future__ import annotations

from wse.fabric.errors import ProgramError
from wse.fabric.library.experiment import Answer, Experiment, small_integers
from wse.fabric.program import Program
from wse.fabric.tables import EAST, F32, RAMP, WEST, DType

FIXED_CYCLES = 12


def relay(
    width: int, height: int, words: int, dtype: DType = F32, fixed_cycles: int = FIXED_CYCLES
) -> Experiment:
    """``words`` elements from PE (0, y) over ``width - 1`` hops: array ``x`` of every PE."""
    if width < 2:
        raise ProgramError(f"a relay needs rows of 2 PEs, not {width}")
    program = Program(width, height)
    colours = program.colour("from even"), program.colour("from odd")
    values = small_integers((height, 1, words), dtype)
    for position in range(width - 1):
        program.route(colours[position % 2], RAMP, EAST, x=position)
        program.route(colours[position % 2], WEST, RAMP, x=position + 1)
    source = program.code("source", x=0)
    with source.main():
        source.work(fixed_cycles)
        source.move(colours[0], source.array("x", words, dtype, values))
    for parity in (1, 0):
        code = program.code(f"relay {parity}", x=slice(2 - parity, width - 1, 2))
        x, forward = code.array("x", words, dtype), code.task("forward")
        with code.main():
            code.move(x, colours[1 - parity], thread=0, activate=forward)
        with forward:
            code.move(colours[parity], x)
    last = program.code("last", x=-1)
    x, done = last.array("x", words, dtype), last.task("done")
    with last.main():
        last.move(x, colours[width % 2], thread=0, activate=done)
    with done:
        pass
    return Experiment(program, (Answer("x", values),))
