"""The native loops of AdamW, with fp32 or 8-bit moments, each over a chunk of a flat tensor.

Loops over blocks hold loops over few arrays: LLVM does these in vectors, the more the simpler.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from pipeline.optimizers.layout import BLOCK
from pipeline.optimizers.native.bits import (
    Array,
    float_of,
    load_master,
    store_master,
    widen,
)
from pipeline.optimizers.native.compiling import compiled, inlined
from pipeline.optimizers.quantization import CELLS, FIRST_CELL, LAST_CELL, ZERO_BELOW


class AdamNumbers(NamedTuple):
    """The numbers of an AdamW step, all of them np.float32 (numba compiles for their types)."""

    scale: np.float32
    fresh1: np.float32
    fresh2: np.float32
    root_bias2: np.float32
    epsilon: np.float32
    kept: np.float32
    rate: np.float32


@inlined
def next_master(master: Any, first: Any, second: Any, numbers: AdamNumbers) -> Any:
    """AdamW's step from the new moments."""
    root = np.sqrt(second) * numbers.root_bias2 + numbers.epsilon
    return master * numbers.kept - numbers.rate * first / root


@compiled
def adamw(
    weight: Array,
    remainder: Array | None,
    exp_avg: Array,
    exp_avg_sq: Array,
    gradient: Array,
    numbers: AdamNumbers,
) -> None:
    """Update a chunk whose moments are fp32."""
    for i in range(weight.size):
        grad = widen(gradient[i]) * numbers.scale
        first = exp_avg[i] + (grad - exp_avg[i]) * numbers.fresh1
        second = exp_avg_sq[i] + (grad * grad - exp_avg_sq[i]) * numbers.fresh2
        exp_avg[i], exp_avg_sq[i] = first, second
        master = load_master(weight, remainder, i)
        store_master(weight, remainder, i, next_master(master, first, second, numbers))


@inlined
def look_up(table: Array, codes: Array, found: Array) -> None:
    """A loop by itself: nothing else in it can be done in vectors."""
    for i in range(codes.size):
        found[i] = table[codes[i]]


@inlined
def quantize(values: Array, codes: Array, cells: Array, spots: Array, entries: Array) -> Any:
    """Write the codes of a block; returns its scale. ``cells``: see quantization.cells.

    ``spots`` (uint16) and ``entries`` (uint32) are room to work in.
    """
    bits = values.view(np.uint32)
    largest = np.uint32(0)
    for i in range(bits.size):  # magnitudes rise with their bits, and NaN is above all
        largest = max(largest, np.uint32(bits[i] & 0x7FFFFFFF))
    scale = float_of(largest)
    if scale < ZERO_BELOW:
        scale = np.float32(0)
    inverse = np.float32(0) if scale == 0 else np.float32(1) / scale
    for i in range(bits.size):
        values[i] *= inverse
        upper: Any = np.int32((bits[i] >> 16) & 0x7FFF)
        cell = min(max(upper, FIRST_CELL), LAST_CELL) - FIRST_CELL
        spots[i] = np.uint16(cell + np.int32(bits[i] >> 31) * CELLS)
    look_up(cells, spots, entries)
    for i in range(bits.size):
        beyond = np.int32((bits[i] & 0xFFFF) > (entries[i] & 0xFFFF))
        upward = np.int32(1) - np.int32(np.uint32(bits[i] >> 31) << 1)
        codes[i] = np.uint8(np.int32(entries[i] >> 16) + beyond * upward)
    return scale


@compiled
def adamw8bit(
    weight: Array,
    remainder: Array | None,
    moments: tuple[Array, Array, Array, Array],
    gradient: Array,
    numbers: AdamNumbers,
    tables: tuple[Array, Array, Array, Array],
) -> None:
    """Update a chunk of whole blocks, whose moments are codes, scales, codes and scales.

    ``tables``: signed and unsigned values of the codes, signed and unsigned cells.
    """
    codes1, scales1, codes2, scales2 = moments
    values1, values2, cells1, cells2 = tables
    whole1, whole2 = np.empty(BLOCK, np.float32), np.empty(BLOCK, np.float32)
    spots, entries = np.empty(BLOCK, np.uint16), np.empty(BLOCK, np.uint32)
    for block in range(scales1.size):
        part = slice(block * BLOCK, min((block + 1) * BLOCK, weight.size))
        scale1, scale2 = scales1[block], scales2[block]
        grads, old1, old2 = gradient[part], codes1[part], codes2[part]
        first, second = whole1[: grads.size], whole2[: grads.size]
        look_up(values1, old1, first)
        look_up(values2, old2, second)
        for i in range(grads.size):
            grad = widen(grads[i]) * numbers.scale
            before1, before2 = first[i] * scale1, second[i] * scale2
            first[i] = before1 + (grad - before1) * numbers.fresh1
            second[i] = before2 + (grad * grad - before2) * numbers.fresh2
        masters, rest = weight[part], None if remainder is None else remainder[part]
        for i in range(grads.size):
            master = load_master(masters, rest, i)
            store_master(masters, rest, i, next_master(master, first[i], second[i], numbers))
        scales1[block] = quantize(first, old1, cells1, spots, entries)
        scales2[block] = quantize(second, old2, cells2, spots, entries)


@compiled
def adamw_squares(
    exp_avg_sq: Array, scales: Array | None, values: Array, gradient: Array, numbers: AdamNumbers
) -> float:
    """The sum over a chunk of gradient ** 2 / the new second moment: AdamW's update, squared."""
    second = np.empty(BLOCK, np.float32)
    smallest = numbers.epsilon * numbers.epsilon
    unbias = numbers.root_bias2 * numbers.root_bias2
    total = 0.0
    for start in range(0, gradient.size, BLOCK):
        part = slice(start, min(start + BLOCK, gradient.size))
        grads = gradient[part]
        if scales is None:
            second[: grads.size] = exp_avg_sq[part]
        else:
            look_up(values, exp_avg_sq[part], second[: grads.size])
            second *= scales[start // BLOCK]
        partial = np.float32(0)
        for i in range(grads.size):
            grad = widen(grads[i]) * numbers.scale
            square = grad * grad
            moment = second[i] + (square - second[i]) * numbers.fresh2
            partial += square / max(moment * unbias, smallest)
        total += float(partial)
    return total
