"""Numbers as bits in the native loops: bf16 (given as uint16), split masters, random rounding.

Numba counts integers in 64 bits unless they are cast, and takes an index to be negative perhaps
unless it counts from 0: hence the casts, and the inner loops over slices.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import types
from numba.extending import overload

from pipeline.optimizers.native.compiling import compiled, inlined
from pipeline.optimizers.rounding import LARGEST, MULTIPLIERS

Array = np.ndarray[Any, Any]


@inlined
def float_of(bits: Any) -> Any:
    """The fp32 number of 32 bits."""
    return np.uint32(bits).view(np.float32)


@inlined
def bits_of(number: Any) -> Any:
    """The 32 bits of an fp32 number."""
    return np.float32(number).view(np.uint32)


def widen(value: Any) -> Any:
    """A bf16 (its bits) or fp32 number as fp32."""


@overload(widen)
def _widen(value: Any) -> Callable[..., Any]:
    def from_bits(value: Any) -> Any:
        return float_of(np.uint32(value) << 16)

    def same(value: Any) -> Any:
        return value

    return from_bits if value == types.uint16 else same


def narrow(value: Any, random: Any, like: Any) -> Any:
    """An fp32 number in the type of ``like``: bits of bf16, rounded stochastically, or fp32."""


@overload(narrow)
def _narrow(value: Any, random: Any, like: Any) -> Callable[..., Any]:
    def rounded(value: Any, random: Any, like: Any) -> Any:
        bits = bits_of(value)
        added = random if np.uint32(bits & 0x7FFF0000) < LARGEST else np.uint32(0)
        return np.uint16(np.uint32(bits + added) >> 16)

    def same(value: Any, random: Any, like: Any) -> Any:
        return value

    return rounded if like == types.uint16 else same


@inlined
def random16(index: Any, low: Any, high: Any) -> Any:
    """16 random bits; see rounding.random_bits."""
    bits = np.uint32(np.uint32(index) ^ low)
    bits = np.uint32(bits ^ (bits >> 16))
    bits = np.uint32(bits * np.uint32(MULTIPLIERS[0]))
    bits = np.uint32(bits ^ (bits >> 15))
    bits = np.uint32(bits ^ high)
    bits = np.uint32(bits * np.uint32(MULTIPLIERS[1]))
    return np.uint32(bits >> 16)


@compiled
def sum_of_squares(gradient: Array) -> float:
    """In fp64: neither overflows nor loses small numbers."""
    total = 0.0
    for i in range(gradient.size):
        value = np.float64(widen(gradient[i]))
        total += value * value
    return total


@inlined
def load_master(weight: Array, remainder: Array | None, i: int) -> Any:
    """The fp32 master of a weight, whole or split (remainder is not None)."""
    if remainder is None:
        return weight[i]
    return float_of((np.uint32(weight[i]) << 16) + remainder[i])


@inlined
def store_master(weight: Array, remainder: Array | None, i: int, master: Any) -> None:
    """Opposite of load_master."""
    if remainder is None:
        weight[i] = master
    else:
        bits = bits_of(master)
        weight[i] = np.uint16(np.uint32(bits + 0x8000) >> 16)
        remainder[i] = np.int16(np.uint16(bits))
