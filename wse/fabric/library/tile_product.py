"""What the matrix products share: the product of two tiles, and waiting for a micro-thread."""

from __future__ import annotations

from wse.fabric.code import Code
from wse.fabric.operands import Array, Colour, Integer


def multiply_tiles(
    code: Code, c: Array, a: Array, a_start: Integer, b: Array, b_start: Integer, size: int
) -> None:
    """``c += a b`` for tiles of ``size`` x ``size``, column by column, as one operation.

    Plane k, row j is the AXPY ``c[:, j] += a[:, k] * b[k, j]``.
    """
    code.multiply_add(
        c.at(0, size, row=size),
        c.at(0, size, row=size),
        a.at(a_start, size, plane=size),
        b.at(b_start, row=size, plane=1),
        rows=(size, size),
    )


def join(code: Code, thread: int, array: Array, colour: Colour) -> None:
    """Wait until the operation that receives ``colour`` on a micro-thread is complete.

    An operation waits for its micro-thread to be free; this one moves nothing.
    """
    code.move(array[0:0], colour, thread=thread, loads=0)
