"""Elements: how they lie in cells and wavelets, and the arithmetic on them.

A float is computed with as an ``np.float32``, an integer as a Python ``int`` that wraps when it is
stored. A cell of memory holds 32 bits: an fp16 lies there as the fp32 of the same value, an int16
as the int32 of the same value. See "Numbers" in ``docs/fabric.md``.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from wse.fabric.tables import DType, Operation

Element = np.float32 | int
HALF_BITS = 16
HALF_MASK = 0xFFFF


def from_cell(cell: int, is_float: bool) -> Element:
    """The element that the 32 bits of a cell stand for."""
    if is_float:
        return np.uint32(cell).view(np.float32)
    return wrapped(cell, 32)


def to_cell(element: Element, dtype: DType) -> int:
    """The 32 bits of a cell that holds ``element`` after it is stored as ``dtype``."""
    if isinstance(element, np.float32):
        return int(stored_float(element, dtype).view(np.uint32))
    return wrapped(element, 8 * dtype.size_bytes) & 0xFFFFFFFF


def to_wire(element: Element, dtype: DType) -> int:
    """The bits of ``element`` in a wavelet: 16 or 32 of them."""
    if not isinstance(element, np.float32):
        return element & (HALF_MASK if dtype.size_bytes == 2 else 0xFFFFFFFF)
    if dtype is DType.F16:
        return int(to_half(element).view(np.uint16))
    return int(element.view(np.uint32))


def from_wire(bits: int, dtype: DType) -> Element:
    """The element of the 16 or 32 ``bits`` in a wavelet."""
    if dtype is DType.F16:
        return np.float32(np.uint16(bits & HALF_MASK).view(np.float16))
    if dtype is DType.F32:
        return np.uint32(bits).view(np.float32)
    return wrapped(bits, 8 * dtype.size_bytes)


def packed(elements: Sequence[int]) -> int:
    """The payload of a wavelet: the bits of one or two elements, the first in the low half."""
    return elements[0] | elements[1] << HALF_BITS if len(elements) == 2 else elements[0]


def unpacked(payload: int, place: int) -> int:
    """The bits of the element at ``place`` (0 or 1) of a payload, and whatever is above them."""
    return payload >> HALF_BITS * place


def stored_float(element: np.float32, dtype: DType) -> np.float32:
    """``element`` as a destination of ``dtype`` keeps it."""
    return np.float32(to_half(element)) if dtype is DType.F16 else element


def to_half(element: np.float32) -> np.float16:
    """Round to fp16, to nearest even; what is too large becomes infinite."""
    with np.errstate(over="ignore", under="ignore"):
        return np.float16(element)


def wrapped(number: int, bits: int) -> int:
    """``number`` as a signed integer of ``bits`` keeps it."""
    half = 1 << bits - 1
    return (number + half) % (1 << bits) - half


def compute(operation: Operation, operands: Sequence[Element]) -> Element:
    """One element of a vector operation."""
    a, b, c = [*operands, 0, 0][:3]
    with np.errstate(all="ignore"):
        match operation:
            case Operation.MOVE:
                return a
            case Operation.ADD:
                return a + b
            case Operation.SUBTRACT:
                return a - b
            case Operation.MULTIPLY:
                return a * b
            case Operation.MULTIPLY_ADD:
                return a + b * c
            case Operation.MAXIMUM:
                return b if b > a else a
            case Operation.MINIMUM:
                return b if b < a else a
