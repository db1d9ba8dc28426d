"""Operations from memory to memory: how long they take, and the banks that their sources lie in."""

from __future__ import annotations

from wse.fabric.engine.arithmetic import compute, compute_rows
from wse.fabric.engine.columns import Home, Pe
from wse.fabric.engine.compiling import compiled, inlined, wide
from wse.fabric.engine.state import WHERE, Setting, State
from wse.fabric.tables import OperandColumn, OperandKind, VectorColumn


@inlined
def _address(f: State, pe: int, vector: int, operand: int) -> int:
    """The byte at which a memory vector begins; -1 of a single element, or no memory."""
    columns = f.operands[vector, operand]
    if columns[OperandColumn.KIND] != OperandKind.MEMORY or f.numbers[WHERE + 4 + operand] == 0:
        return -1
    element = f.numbers[WHERE + operand] - f.homes[pe, Home.MEMORY] - columns[OperandColumn.FIRST]
    return columns[OperandColumn.ADDRESS] + element * columns[OperandColumn.ELEMENT_BYTES]


@compiled
def _conflict(f: State, pe: int, vector: int) -> bool:
    """Whether two sources begin in one bank of the SRAM, at different addresses."""
    banks = f.vectors[vector, VectorColumn.BANKS]
    size = f.vectors[vector, VectorColumn.BANK_BYTES]
    for one in range(1, 4):
        for other in range(one + 1, 4):
            a, b = _address(f, pe, vector, one), _address(f, pe, vector, other)
            if min(a, b) >= 0 and a != b and (a // size - b // size) % banks == 0:
                return True
    return False


@inlined
def _memory_cycles(f: State, pe: int, vector: int, count: int) -> int:
    """Cycles of the vector unit that an operation from memory needs."""
    rate = f.vectors[vector, VectorColumn.RATE_MILLI]
    rows = wide(f.vectors[vector, VectorColumn.ROWS]) * f.vectors[vector, VectorColumn.PLANES]
    least = rows * f.vectors[vector, VectorColumn.ROW_CYCLES]
    beside = rows * f.vectors[vector, VectorColumn.MAP_CYCLES]
    computing = (1000 * rows * count + rate - 1) // rate
    longer = wide(f.vectors[vector, VectorColumn.CONFLICT_MILLI])
    if longer != 1000 and _conflict(f, pe, vector):
        computing = (computing * longer + 999) // 1000
    return max(least, computing) + beside


@inlined
def issue_memory(f: State, pe: int, vector: int, count: int, begin: int) -> None:
    """An operation from memory: its values now, its time on the vector unit from ``begin``."""
    if f.vectors[vector, VectorColumn.ROWS] * f.vectors[vector, VectorColumn.PLANES] > 1:
        compute_rows(f, vector, count)
    else:
        compute(f, vector, count)
    cycles, finish = _memory_cycles(f, pe, vector, count), f.numbers[Setting.FINISH]
    f.pes[pe, Pe.MEMORY_BEGIN], f.pes[pe, Pe.MEMORY_END] = begin, begin + cycles
    f.pes[pe, Pe.DUE] = begin + cycles + finish
    f.pes[pe, Pe.BUSY] += cycles
