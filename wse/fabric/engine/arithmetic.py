"""The vector unit's arithmetic, in bulk, on cells of memory, registers, constants and scratch."""

from __future__ import annotations

import numpy as np

from wse.fabric.engine.compiling import compiled, inlined
from wse.fabric.engine.numbers import round_half
from wse.fabric.engine.state import WHERE, State
from wse.fabric.tables import DType, OperandColumn, Operation, VectorColumn


@inlined
def _floats(f: State, operation: int, half: bool, count: int) -> None:
    x, n = f.floats, f.numbers
    to, a, b, c = n[WHERE], n[WHERE + 1], n[WHERE + 2], n[WHERE + 3]
    to_step, a_step = n[WHERE + 4], n[WHERE + 5]
    b_step, c_step = n[WHERE + 6], n[WHERE + 7]
    for _ in range(count):
        value = x[a]
        if operation == Operation.MULTIPLY_ADD:
            value = np.float32(value + np.float32(x[b] * x[c]))
        elif operation == Operation.ADD:
            value = np.float32(value + x[b])
        elif operation == Operation.MULTIPLY:
            value = np.float32(value * x[b])
        elif operation == Operation.SUBTRACT:
            value = np.float32(value - x[b])
        elif operation == Operation.MAXIMUM:
            value = x[b] if x[b] > value else value
        elif operation == Operation.MINIMUM:
            value = x[b] if x[b] < value else value
        x[to] = round_half(value) if half else value
        to, a, b, c = to + to_step, a + a_step, b + b_step, c + c_step


@inlined
def _integers(f: State, operation: int, short: bool, count: int) -> None:
    x, n = f.integers, f.numbers
    to, a, b, c = n[WHERE], n[WHERE + 1], n[WHERE + 2], n[WHERE + 3]
    to_step, a_step = n[WHERE + 4], n[WHERE + 5]
    b_step, c_step = n[WHERE + 6], n[WHERE + 7]
    for _ in range(count):
        value, second = np.int64(x[a]), np.int64(x[b])
        if operation == Operation.MULTIPLY_ADD:
            value = value + second * np.int64(x[c])
        elif operation == Operation.ADD:
            value = value + second
        elif operation == Operation.MULTIPLY:
            value = value * second
        elif operation == Operation.SUBTRACT:
            value = value - second
        elif operation == Operation.MAXIMUM:
            value = max(value, second)
        elif operation == Operation.MINIMUM:
            value = min(value, second)
        x[to] = ((value + 0x8000) & 0xFFFF) - 0x8000 if short else value
        to, a, b, c = to + to_step, a + a_step, b + b_step, c + c_step


@inlined
def compute(f: State, vector: int, count: int) -> None:
    """Do ``count`` elements of an operation whose operands are where ``where`` says."""
    operation = f.vectors[vector, VectorColumn.OPERATION]
    dtype = f.operands[vector, 0, OperandColumn.DTYPE]
    if f.vectors[vector, VectorColumn.IS_FLOAT] == 0:
        _integers(f, operation, dtype == DType.I16, count)
    elif dtype == DType.F16:
        _floats(f, operation, True, count)
    else:
        _floats(f, operation, False, count)


@compiled
def compute_rows(f: State, vector: int, count: int) -> None:
    """The same for every row of every plane."""
    for plane in range(f.vectors[vector, VectorColumn.PLANES]):
        for row in range(f.vectors[vector, VectorColumn.ROWS]):
            _shift(f, vector, row, plane, 1)
            compute(f, vector, count)
            _shift(f, vector, row, plane, -1)


@inlined
def _shift(f: State, vector: int, row: int, plane: int, sign: int) -> None:
    for number in range(4):
        by_row = row * f.operands[vector, number, OperandColumn.ROW_STRIDE]
        by_plane = plane * f.operands[vector, number, OperandColumn.PLANE_STRIDE]
        f.numbers[WHERE + number] += sign * (by_row + by_plane)
