"""Instructions of the main thread but END and VECTOR."""

from __future__ import annotations

from wse.fabric.engine.columns import Home, Pe
from wse.fabric.engine.compiling import inlined
from wse.fabric.engine.state import Setting, State
from wse.fabric.engine.tasks import set_flag
from wse.fabric.engine.vector import number
from wse.fabric.tables import Arithmetic, Comparison, InstructionColumn, Opcode


@inlined
def _calculate(arithmetic: int, a: int, b: int) -> int:
    if arithmetic == Arithmetic.ADD:
        return a + b
    if arithmetic == Arithmetic.SUBTRACT:
        return a - b
    if arithmetic == Arithmetic.MULTIPLY:
        return a * b
    return a - b * (a // b) if b != 0 else 0


@inlined
def _holds(comparison: int, a: int, b: int) -> bool:
    if comparison == Comparison.LESS:
        return a < b
    if comparison == Comparison.LESS_EQUAL:
        return a <= b
    if comparison == Comparison.EQUAL:
        return a == b
    if comparison == Comparison.NOT_EQUAL:
        return a != b
    if comparison == Comparison.GREATER_EQUAL:
        return a >= b
    return a > b


@inlined
def execute_scalar(f: State, pe: int, row: int) -> int:
    """Execute an instruction that is no END and no VECTOR: the cycles that it takes."""
    columns = f.instructions[row]
    opcode, x = columns[InstructionColumn.OPCODE], columns[InstructionColumn.X]
    a = number(f, pe, columns[InstructionColumn.A_VALUE], columns[InstructionColumn.A_REGISTER])
    b = number(f, pe, columns[InstructionColumn.B_VALUE], columns[InstructionColumn.B_REGISTER])
    f.pes[pe, Pe.ROW] = row + 1
    registers = f.homes[pe, Home.REGISTERS]
    if opcode == Opcode.WORK:
        return max(a, 0)
    if opcode == Opcode.LOOP:
        f.integers[registers + x] += 1
        if f.integers[registers + x] < a:
            f.pes[pe, Pe.ROW] = columns[InstructionColumn.TARGET]
        return f.numbers[Setting.LOOP]
    if opcode == Opcode.BRANCH:
        if not _holds(columns[InstructionColumn.Y], a, b):
            return f.numbers[Setting.NOT_TAKEN]
        f.pes[pe, Pe.ROW] = columns[InstructionColumn.TARGET]
        return f.numbers[Setting.TAKEN]
    if opcode == Opcode.SET:
        f.integers[registers + x] = _calculate(columns[InstructionColumn.Y], a, b)
    elif opcode == Opcode.ACTIVATE:
        set_flag(f, pe, Home.ACTIVATED, x, True)
    else:
        set_flag(f, pe, Home.BLOCKED, x, opcode == Opcode.BLOCK)
    return f.numbers[Setting.SCALAR]
