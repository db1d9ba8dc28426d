"""C = A B by SUMMA: in step s, column s broadcasts its tiles of A along the rows, and row s its
tiles of B along the columns; every PE adds the product of the two that it hears.

- :func:`pipelined_summa`: four colours, two buffers: the next tiles come in while the PE
  multiplies, and the n x n AXPYs of a tile are one operation.
- :func:`collectives_summa`: the broadcasts of a step, then its product, one after the other, the
  AXPYs one by one, as in the vendor's example on its collectives' library; fp32.

``fixed_cycles``, of a step, stand for what the published programs do and these do not spell out;
their defaults are fitted to published WSE-3 rows (``python -m wse.validation``).
"""

from __future__ import annotations

from collections.abc import Callable

from wse.fabric.code import Code
from wse.fabric.errors import ProgramError
from wse.fabric.library.experiment import Answer, Experiment, small_integers, tiles
from wse.fabric.library.lines import Line, codes_by_role
from wse.fabric.library.moving_broadcast import Incoming, MovingBroadcast
from wse.fabric.library.tile_product import multiply_tiles
from wse.fabric.operands import Array
from wse.fabric.program import Program
from wse.fabric.tables import F16, F32, DType

PIPELINED_FIXED_CYCLES = 279
COLLECTIVES_FIXED_CYCLES = 639


def pipelined_summa(
    width: int,
    height: int,
    tile: int,
    dtype: DType = F16,
    fixed_cycles: int = PIPELINED_FIXED_CYCLES,
) -> Experiment:
    """Square matrices of ``tile`` x ``tile`` elements a PE, on a square mesh: array ``c``."""

    def body(code: Code, a: Incoming, b: Incoming, c: Array) -> None:
        with code.loop(width + 1) as step:
            a.wait()
            b.wait()
            with code.when(step < width):
                a.order(step)
                b.order(step)
            with code.when(step > 0):
                multiply_tiles(code, c, a.blocks, a.start, b.blocks, b.start, tile)
                code.work(fixed_cycles)

    return _summa(width, height, tile, dtype, 2, body)


def collectives_summa(
    width: int,
    height: int,
    tile: int,
    dtype: DType = F32,
    fixed_cycles: int = COLLECTIVES_FIXED_CYCLES,
) -> Experiment:
    """Square matrices of ``tile`` x ``tile`` elements a PE, on a square mesh: array ``c``."""

    def body(code: Code, a: Incoming, b: Incoming, c: Array) -> None:
        with code.loop(width) as step:
            a.order(step)
            b.order(step)
            a.wait()
            b.wait()
            _multiply_one_by_one(code, c, a, b, tile)
            code.work(fixed_cycles)

    return _summa(width, height, tile, dtype, 1, body)


def _multiply_one_by_one(code: Code, c: Array, a: Incoming, b: Incoming, size: int) -> None:
    """``c += a b``, column by column: a loop over k, the AXPYs of a k written out."""
    with code.loop(size):
        for column in range(size):
            target = c[column * size : (column + 1) * size]
            factor = b.blocks.at(b.start + column * size)
            code.multiply_add(target, target, a.blocks.at(a.start, size), factor)
        code.set(a.start, a.start + size)
        code.set(b.start, b.start + 1)


def _summa(
    width: int,
    height: int,
    tile: int,
    dtype: DType,
    buffers: int,
    body: Callable[[Code, Incoming, Incoming, Array], None],
) -> Experiment:
    if width != height:
        raise ProgramError(f"SUMMA on {width} x {height} PEs; it needs a square")
    program = Program(width, height)
    words = -(-(tile**2) // (4 // dtype.size_bytes))
    rows = MovingBroadcast(Line(program, "x"), "a", words)
    columns = MovingBroadcast(Line(program, "y"), "b", words)
    a_matrix = small_integers((height * tile, width * tile), dtype)
    b_matrix = small_integers((height * tile, width * tile), dtype, seed=1)
    a_tiles, b_tiles = (tiles(matrix, height, width, "F") for matrix in (a_matrix, b_matrix))
    for code, role_x, role_y in codes_by_role(program, rows.role, columns.role):
        a = Incoming.of(code, rows, role_x, a_tiles, dtype, buffers, thread=0)
        b = Incoming.of(code, columns, role_y, b_tiles, dtype, buffers, thread=3)
        c = code.array("c", tile**2, dtype)
        with code.main():
            body(code, a, b, c)
    product = tiles(a_matrix.astype(float) @ b_matrix.astype(float), height, width, "F")
    return Experiment(program, (Answer("c", product),))
