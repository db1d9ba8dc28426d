"""Matrix times vector: every PE multiplies its tile, then each row of PEs sums its outputs.

PE (x, y) holds tile (y, x) of A, column by column, and part x of the vector; part y of the
product ends in all PEs of row y. A column of the tile is an AXPY, all of them one operation.
The sum is an all-reduce, by chains or by two trees.

``fixed_cycles`` stands for what the published programs do and these do not spell out; their
defaults are fitted to published WSE-3 rows (``python -m wse.validation``).
"""

from __future__ import annotations

from wse.fabric.library.all_reduce import ChainAllReduce, TwoTreeAllReduce
from wse.fabric.library.experiment import Answer, Experiment, small_integers, tiles
from wse.fabric.library.lines import Collective, Line, codes_by_role
from wse.fabric.program import Program
from wse.fabric.tables import F16, DType

CHAIN_FIXED_CYCLES = 1324
TWO_TREE_FIXED_CYCLES = 120


def chain_gemv(
    width: int, height: int, tile: int, dtype: DType = F16, fixed_cycles: int = CHAIN_FIXED_CYCLES
) -> Experiment:
    """``tile`` x ``tile`` elements a PE, summed by chains: array ``y`` of every PE."""
    program = Program(width, height)
    return _gemv(program, ChainAllReduce(Line(program, "x")), tile, dtype, fixed_cycles)


def two_tree_gemv(
    width: int,
    height: int,
    tile: int,
    dtype: DType = F16,
    fixed_cycles: int = TWO_TREE_FIXED_CYCLES,
) -> Experiment:
    """``tile`` x ``tile`` elements a PE, summed by two trees: array ``y`` of every PE."""
    program = Program(width, height)
    return _gemv(program, TwoTreeAllReduce(Line(program, "x")), tile, dtype, fixed_cycles)


def _gemv(
    program: Program, rows: Collective, tile: int, dtype: DType, fixed_cycles: int
) -> Experiment:
    width, height = program.width, program.height
    matrix = small_integers((height * tile, width * tile), dtype)
    vector = small_integers((width, tile), dtype, seed=1)
    for code, role, _ in codes_by_role(program, rows.role):
        a = code.array("a", tile * tile, dtype, tiles(matrix, height, width, order="F"))
        x = code.array("x", tile, dtype, vector)
        y = code.array("y", tile, dtype)
        with code.main():
            code.work(fixed_cycles)
            code.multiply_add(y, y, a.at(0, tile, row=tile), x.at(0, row=1), rows=tile)
            rows.emit(code, role, y)
    product = matrix.astype(float) @ vector.ravel().astype(float)
    return Experiment(program, (Answer("y", product.reshape(height, 1, tile)),))
