"""C = A B as MeshGEMM does it: Cannon's algorithm on interleaved rings (WaferLLM, 2025).

Tiles of A move along the rows' rings, tiles of B along the columns'. At step s the PE at (i, j)
of the rings holds tile (i, i + j + s) of A and (i + j + s, j) of B; while it multiplies them, four
micro-threads send both on and receive the next ones. Tiles lie column by column, the first
placement is that of step 0, and the n x n AXPYs of a tile are one operation.

Cycles of a step with tiles of n x n: n^2 times the larger of the least row and n / rate; a cycle
for each of the 2 n^2 words (two elements) sent and received; and ``fixed_cycles``, whose default
is fitted to published WSE-3 rows (``python -m wse.validation``).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from wse.fabric.code import Code
from wse.fabric.errors import ProgramError
from wse.fabric.library.experiment import Answer, Experiment, small_integers, tiles
from wse.fabric.library.lines import Line, codes_by_role
from wse.fabric.library.ring import Ring
from wse.fabric.library.tile_product import join, multiply_tiles
from wse.fabric.operands import Array, Colour, Expression, Register
from wse.fabric.program import Program
from wse.fabric.tables import F16, Arithmetic, DType

FIXED_CYCLES = 227
"""Of a step."""


def mesh_gemm(
    width: int, height: int, tile: int, dtype: DType = F16, fixed_cycles: int = FIXED_CYCLES
) -> Experiment:
    """Square matrices of ``tile`` x ``tile`` elements a PE, on a square mesh: array ``c``."""
    if width != height:
        raise ProgramError(f"MeshGEMM on {width} x {height} PEs; it needs a square")
    program = Program(width, height)
    rows, columns = Ring(Line(program, "x"), "a"), Ring(Line(program, "y"), "b")
    a_tiles, b_tiles, c_tiles = _tiles_of_step_0(width, tile, dtype, rows.indices)
    for code, role_x, role_y in codes_by_role(program, rows.role, columns.role):
        a = code.array("a", 2 * tile**2, dtype, a_tiles)
        b = code.array("b", 2 * tile**2, dtype, b_tiles)
        c = code.array("c", tile**2, dtype)
        a_colours, b_colours = rows.colours(role_x), columns.colours(role_y)
        with code.main(), code.loop(width) as step:
            now, then = _halves(code, step, tile**2)
            join(code, 1, a, a_colours[1])
            join(code, 3, b, b_colours[1])
            with code.when(step < width - 1):
                _shift(code, a, now, then, a_colours, 0)
                _shift(code, b, now, then, b_colours, 2)
            multiply_tiles(code, c, a, now, b, now, tile)
            code.work(fixed_cycles)
    return Experiment(program, (Answer("c", c_tiles),))


def _tiles_of_step_0(
    size: int, tile: int, dtype: DType, ring: list[int]
) -> tuple[NDArray, NDArray, NDArray]:
    """The first tiles of A and B, with an empty half behind, and the tiles of C: [y, x, elements].

    ``ring[x]`` is where on its ring position x is.
    """
    a_matrix = small_integers((size * tile, size * tile), dtype)
    b_matrix = small_integers((size * tile, size * tile), dtype, seed=1)
    c_matrix = a_matrix.astype(float) @ b_matrix.astype(float)
    i, j = np.meshgrid(ring, ring, indexing="ij")
    k = (i + j) % size
    a, b, c = (tiles(matrix, size, size, "F") for matrix in (a_matrix, b_matrix, c_matrix))
    empty = np.zeros_like(a)
    return np.concatenate([a[i, k], empty], -1), np.concatenate([b[k, j], empty], -1), c[i, j]


def _halves(code: Code, step: Register, size: int) -> tuple[Register, Register]:
    """Where the tiles of this step begin, and those of the next."""
    now, then = code.register("now"), code.register("then")
    code.set(now, step % 2)
    code.set(now, now * size)
    code.set(then, Expression(Arithmetic.SUBTRACT, size, now))
    return now, then


def _shift(
    code: Code,
    tile: Array,
    now: Register,
    then: Register,
    colours: tuple[Colour, Colour],
    thread: int,
) -> None:
    """Send the tile of this step and receive the next, on two micro-threads."""
    size = tile.length // 2
    code.move(colours[0], tile.at(now, size), thread=thread)
    code.move(tile.at(then, size), colours[1], thread=thread + 1)
