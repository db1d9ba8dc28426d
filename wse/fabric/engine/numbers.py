"""fp16 in a world of fp32: rounding, and the 16 bits on the wire; elements in wavelets."""

from __future__ import annotations

import numpy as np

from wse.fabric.engine.compiling import inlined
from wse.fabric.tables import DType

HALF_LARGEST = np.float32(65520.0)  # from here on, fp16 rounds to infinity
HALF_SMALLEST_NORMAL = np.float32(2.0**-14)
# An fp32 of 0.5 to 1 has steps of 2**-24, which are those of subnormal fp16.
HALF = np.float32(0.5)
EXPONENT_DOWN = np.float32(2.0**-112)
EXPONENT_UP = np.float32(2.0**112)
LOW_WORD = 0xFFFFFFFF


@inlined
def bits_of(value):  # type: ignore[no-untyped-def]
    """The 32 bits of an fp32, as a non-negative int64."""
    return np.int64(np.float32(value).view(np.int32)) & LOW_WORD


@inlined
def float_of(bits):  # type: ignore[no-untyped-def]
    """The fp32 with these 32 bits."""
    return np.uint32(bits).view(np.float32)


@inlined
def round_half(value):  # type: ignore[no-untyped-def]
    """The fp32 of the fp16 nearest to ``value``, ties to even; infinity and NaN stay."""
    size = np.float32(abs(value))
    if size < HALF_SMALLEST_NORMAL:
        rounded = np.float32(np.float32(size + HALF) - HALF)
        return np.float32(np.copysign(rounded, value))
    if size >= HALF_LARGEST:
        return np.float32(np.copysign(np.float32(np.inf), value))
    if size != size:
        return value
    bits = bits_of(value)
    return float_of((bits + 0xFFF + ((bits >> 13) & 1)) & 0xFFFFE000)


@inlined
def half_bits(value):  # type: ignore[no-untyped-def]
    """The 16 bits of an fp32 that is an fp16's value."""
    bits = bits_of(value)
    sign = (bits >> 16) & 0x8000
    size = np.float32(abs(value))
    if size == np.inf:
        return sign | 0x7C00
    if size != size:
        return sign | 0x7E00
    # A smaller exponent makes the bits of an fp16 those of an fp32 13 places higher.
    return sign | (bits_of(size * EXPONENT_DOWN) >> 13)


@inlined
def half_value(bits):  # type: ignore[no-untyped-def]
    """The fp32 of the fp16 with these 16 bits."""
    sign = (bits & 0x8000) << 16
    if bits & 0x7C00 == 0x7C00:
        return float_of(sign | 0x7F800000 | ((bits & 0x3FF) << 13))
    size = np.float32(float_of((bits & 0x7FFF) << 13) * EXPONENT_UP)
    return float_of(sign | bits_of(size))


@inlined
def cell_of(half, dtype):  # type: ignore[no-untyped-def]
    """The memory cell, as an int64 of 32 bits, of one element on the wire."""
    if dtype == DType.F16:
        return bits_of(half_value(half & 0xFFFF))
    if dtype == DType.I16:
        return (((half & 0xFFFF) ^ 0x8000) - 0x8000) & LOW_WORD
    return half & LOW_WORD


@inlined
def wire_of(cell, dtype):  # type: ignore[no-untyped-def]
    """The bits on the wire of one memory cell."""
    if dtype == DType.F16:
        return half_bits(float_of(cell))
    if dtype == DType.I16:
        return np.int64(cell) & 0xFFFF
    return np.int64(cell) & LOW_WORD
