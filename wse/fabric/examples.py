"""Three small programs: one wavelet, a broadcast, a chain reduce."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from wse.fabric.program import Program
from wse.fabric.tables import EAST, F32, RAMP, WEST, DType


def one_wavelet(value: float = 1.0) -> Program:
    """PE (0, 0) sends one number to PE (1, 0)."""
    program = Program(width=2, height=1)
    data = program.colour("data")
    program.route(data, RAMP, EAST, x=0)
    program.route(data, WEST, RAMP, x=1)
    sender = program.code("sender", x=0)
    x = sender.array("x", 1, values=value)
    with sender.main():
        sender.move(data, x)
    receiver = program.code("receiver", x=1)
    y = receiver.array("x", 1)
    with receiver.main():
        receiver.move(y, data)
    return program


def broadcast(width: int, values: ArrayLike, dtype: DType = F32) -> Program:
    """PE (0, 0) sends ``values`` to all of its row; each keeps a copy in its array ``x``."""
    program, words = Program(width, height=1), np.size(values)
    data = program.colour("data")
    program.route(data, WEST, EAST | RAMP)
    program.route(data, RAMP, EAST, x=0)
    program.route(data, WEST, RAMP, x=-1)
    root, leaf = program.code("root", x=0), program.code("leaf", x=slice(1, None))
    with root.main():
        root.move(data, root.array("x", words, dtype, values))
    with leaf.main():
        leaf.move(leaf.array("x", words, dtype), data)
    return program


def chain_reduce(values: ArrayLike, dtype: DType = F32) -> Program:
    """The sum of ``values[pe]`` over a row of PEs, in the array ``x`` of PE (0, 0).

    ``values`` is (width, words), width at least 2. Each PE adds its own words to those that
    come from the east and sends the sums on to the west, wavelet by wavelet. Neighbours use two
    colours in turn, because a PE cannot tell what it receives from what it sends on one colour.
    """
    values = np.asarray(values)
    width, words = values.shape
    program = Program(width, height=1)
    colours = program.colour("from even"), program.colour("from odd")
    for parity in (0, 1):
        mine, theirs = colours[parity], colours[1 - parity]
        program.route(mine, RAMP, WEST, x=slice(2 - parity, None, 2))
        program.route(theirs, EAST, RAMP, x=slice(parity, width - 1, 2))
        middle = program.code(f"middle {parity}", x=slice(2 - parity, width - 1, 2))
        with middle.main():
            middle.add(mine, theirs, middle.array("x", words, dtype, values))
    tail = program.code("tail", x=-1)
    with tail.main():
        tail.move(colours[(width - 1) % 2], tail.array("x", words, dtype, values))
    head = program.code("head", x=0)
    x = head.array("x", words, dtype, values)
    with head.main():
        head.add(x, colours[1], x)
    return program
