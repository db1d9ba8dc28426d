"""A vector operation as the program wrote it, completed and checked: lengths, types, streams."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from wse.fabric.errors import OperandError
from wse.fabric.operands import (
    Array,
    Colour,
    Destination,
    Integer,
    MemoryVector,
    Register,
    Source,
    Stream,
)
from wse.fabric.tables import F32, DType, OperandColumn, OperandKind, Operation, RateClass

Checked = MemoryVector | Stream | Register | int | float
"""An operand whose type is known."""


@dataclass(frozen=True)
class VectorOperation:
    """A checked operation: ``operands[0]`` is the destination. Tasks are numbers, -1 is none."""

    operation: Operation
    operands: tuple[Checked, ...]
    length: Integer
    thread: int
    loads: int
    activate: int
    unblock: int
    is_float: bool
    rows: int = 1
    planes: int = 1
    mapped: bool = False

    @property
    def streams(self) -> list[Stream]:
        """The operands that are streams, the destination first."""
        return [operand for operand in self.operands if isinstance(operand, Stream)]

    @property
    def control(self) -> bool:
        """Whether it sends control wavelets."""
        return any(stream.control for stream in self.streams)

    @property
    def per_wavelet(self) -> int:
        """Elements a wavelet; 0 without streams."""
        return self.streams[0].per_wavelet or 1 if self.streams else 0

    @property
    def rate_class(self) -> RateClass:
        """The class whose rate it goes at."""
        destination, *sources = self.operands
        moving = any(isinstance(source, MemoryVector | Stream) for source in sources)
        if moving and self._chained(destination) and self.length != 1:
            return RateClass.REDUCTION
        if self.operation == Operation.MOVE:
            return RateClass.MOVE
        if self.operation != Operation.MULTIPLY_ADD:
            return RateClass.ARITHMETIC
        mixed = dtype_of(destination) == F32 and DType.F16 in map(dtype_of, sources[1:])
        return RateClass.MIXED if mixed else RateClass.MULTIPLY_ADD

    @staticmethod
    def _chained(destination: Checked) -> bool:
        if isinstance(destination, MemoryVector):
            return isinstance(destination.stride, int) and destination.stride == 0
        return isinstance(destination, Register)

    @property
    def wide(self) -> bool:
        """Whether a memory or stream operand has elements of 32 bits."""
        moved = [item for item in self.operands if isinstance(item, MemoryVector | Stream)]
        return any(_known(item).size_bytes == 4 for item in moved)


def check_operation(
    operation: Operation,
    destination: Destination,
    sources: Sequence[Source],
    length: Integer | None,
) -> VectorOperation:
    """The operation with the types and lengths that its operands imply, or an OperandError."""
    where = operation.name.lower()
    plain = [_plain(operand) for operand in (destination, *sources)]
    default = next((dtype for dtype in map(dtype_of, plain) if dtype is not None), F32)
    operands = tuple(_typed_stream(operand, default, where) for operand in plain)
    is_float = _is_float(operands, where)
    if len({stream.per_wavelet for stream in operands if isinstance(stream, Stream)}) > 1:
        raise OperandError(f"{where}: its streams have different numbers of elements a wavelet")
    colours = [stream.colour for stream in operands[1:] if isinstance(stream, Stream)]
    if len(set(colours)) < len(colours):
        raise OperandError(f"{where}: colour {colours[0].name} is received twice")
    loads = sum(isinstance(operand, MemoryVector | Stream) for operand in operands)
    number = _length(operands, length, where)
    return VectorOperation(operation, operands, number, -1, loads, -1, -1, is_float)


def _plain(operand: Source) -> Checked:
    if isinstance(operand, Array):
        return operand.whole()
    return operand.stream() if isinstance(operand, Colour) else operand


def dtype_of(operand: Checked) -> DType | None:
    """The type of an operand's elements; none of constants and of streams not yet typed."""
    if isinstance(operand, MemoryVector):
        return operand.array.dtype
    return operand.dtype if isinstance(operand, Stream | Register) else None


def _known(operand: Checked) -> DType:
    dtype = dtype_of(operand)
    assert dtype is not None
    return dtype


def _typed_stream(operand: Checked, default: DType, where: str) -> Checked:
    if not isinstance(operand, Stream):
        return operand
    dtype = operand.dtype if operand.dtype is not None else default
    most = 4 // dtype.size_bytes
    per_wavelet = operand.per_wavelet or most
    if not 1 <= per_wavelet <= most:
        raise OperandError(f"{where}: {per_wavelet} elements of {dtype.name} in a 32-bit wavelet")
    return replace(operand, dtype=dtype, per_wavelet=per_wavelet)


def _is_float(operands: Sequence[Checked], where: str) -> bool:
    kinds = {dtype.is_float for dtype in map(dtype_of, operands) if dtype is not None}
    if len(kinds) > 1:
        raise OperandError(f"{where}: floats and integers in one operation")
    is_float = kinds.pop()
    if not is_float and any(isinstance(operand, float) for operand in operands):
        raise OperandError(f"{where}: a constant that is no integer among integers")
    return is_float


def with_rows(
    vector: VectorOperation, rows: int | tuple[int, int], mapped: bool
) -> VectorOperation:
    """The operation repeated ``rows`` times, or (planes, rows); only from memory to memory."""
    planes, count = (1, rows) if isinstance(rows, int) else rows
    where = vector.operation.name.lower()
    if vector.streams:
        raise OperandError(f"{where}: rows are for operations without streams")
    if planes < 1 or count < 1:
        raise OperandError(f"{where}: {planes} planes of {count} rows")
    for operand in vector.operands:
        if isinstance(operand, MemoryVector):
            _check_rows(operand, vector.length, planes, count)
    return replace(vector, rows=count, planes=planes, mapped=mapped)


def _check_rows(operand: MemoryVector, length: Integer, planes: int, rows: int) -> None:
    stride = operand.stride
    if operand.start_register is not None or isinstance(stride, Register):
        return
    if isinstance(length, Register) or length == 0:
        return
    spans = (stride * (length - 1), operand.row * (rows - 1), operand.plane * (planes - 1))
    first = operand.start + sum(min(span, 0) for span in spans)
    last = operand.start + sum(max(span, 0) for span in spans)
    if first < 0 or last >= operand.array.length:
        raise OperandError(
            f"{operand.array.name}: rows from element {first} to {last} of an array of "
            f"{operand.array.length}"
        )


def _length(operands: Sequence[Checked], length: Integer | None, where: str) -> Integer:
    """The one length that the operands and ``length`` name; 1 if none does."""
    named = [item.length for item in operands if isinstance(item, MemoryVector)]
    lengths = {item for item in (*named, length) if item is not None}
    if len(lengths) > 1:
        words = " and ".join(sorted(str(item) for item in lengths))
        raise OperandError(f"{where}: operands of {words} elements")
    number = lengths.pop() if lengths else 1
    if isinstance(number, int) and number < 0:
        raise OperandError(f"{where}: a length of {number}")
    return number


def operand_row(operand: Checked, is_float: bool) -> list[int]:
    """The row of ``operands`` for one operand."""
    row = [0] * len(OperandColumn)
    row[OperandColumn.OFFSET_REGISTER] = row[OperandColumn.STRIDE_REGISTER] = -1
    if isinstance(operand, MemoryVector):
        first = operand.array.first
        row[OperandColumn.KIND], row[OperandColumn.DTYPE] = OperandKind.MEMORY, operand.array.dtype
        row[OperandColumn.OFFSET_VALUE] = first + operand.start
        row[OperandColumn.FIRST], row[OperandColumn.END] = first, first + operand.array.length
        row[OperandColumn.ADDRESS] = operand.array.address
        row[OperandColumn.ELEMENT_BYTES] = operand.array.dtype.size_bytes
        if operand.start_register is not None:
            row[OperandColumn.OFFSET_REGISTER] = operand.start_register.index
        row[OperandColumn.ROW_STRIDE], row[OperandColumn.PLANE_STRIDE] = operand.row, operand.plane
        row[OperandColumn.STRIDE_VALUE], row[OperandColumn.STRIDE_REGISTER] = integer_pair(
            operand.stride
        )
    elif isinstance(operand, Stream):
        row[OperandColumn.KIND], row[OperandColumn.DTYPE] = OperandKind.STREAM, _known(operand)
        row[OperandColumn.X] = operand.colour.index
    elif isinstance(operand, Register):
        row[OperandColumn.KIND], row[OperandColumn.DTYPE] = OperandKind.REGISTER, operand.dtype
        row[OperandColumn.X] = operand.index
    else:
        number = np.float32(operand).view(np.int32) if is_float else np.int32(operand)
        row[OperandColumn.KIND], row[OperandColumn.X] = OperandKind.CONSTANT, int(number)
        row[OperandColumn.DTYPE] = F32 if is_float else DType.I32
    return row


def integer_pair(number: Integer) -> tuple[int, int]:
    """``value`` and ``register`` columns of a number."""
    return (0, number.index) if isinstance(number, Register) else (number, -1)
