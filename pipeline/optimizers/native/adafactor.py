"""The native loops of Adafactor, each over some rows of a matrix."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from pipeline.optimizers.native.bits import Array, narrow, random16, widen
from pipeline.optimizers.native.compiling import compiled, inlined

TILE = 2048
"""Columns whose sums stay in the first-level cache."""

GROUP = 64
"""Rows whose squares are summed in fp32 before an fp64 sum takes over."""


class FactorNumbers(NamedTuple):
    """The numbers of an Adafactor step; ``low`` and ``high`` are the key of the random bits."""

    scale: np.float32
    largest: np.float32
    kept: np.float32
    rate: np.float32
    low: np.uint32
    high: np.uint32


@inlined
def add_squares(weight: Array, gradient: Array, scale: Any, columns: Array) -> Any:
    """Add a row's squared gradients to ``columns``; return the sums of both rows' squares."""
    of_gradient, of_weight = np.float32(0), np.float32(0)
    for j in range(columns.size):
        grad, value = widen(gradient[j]) * scale, widen(weight[j])
        square = grad * grad
        columns[j] += square
        of_gradient += square
        of_weight += value * value
    return of_gradient, of_weight


@compiled
def adafactor_sums(
    weight: Array, gradient: Array, scale: Any, rows: Array, columns: Array
) -> float:
    """Sum the squared gradients of some rows into ``rows`` and ``columns`` (fp64, zero at first).

    Returns the sum of the weights' squares: all of it in one reading.
    """
    total = 0.0
    for left in range(0, columns.size, TILE):
        tile = slice(left, min(left + TILE, columns.size))
        wide = columns[tile]
        sums = np.zeros(wide.size, np.float32)
        for i in range(rows.size):
            of_gradient, of_weight = add_squares(weight[i][tile], gradient[i][tile], scale, sums)
            rows[i] += of_gradient
            total += of_weight
            if i % GROUP == GROUP - 1 or i == rows.size - 1:
                wide += sums
                sums[:] = 0
    return total


@compiled
def adafactor_squares(
    gradient: Array, row_factors: Array, column_factors: Array, numbers: FactorNumbers
) -> float:
    """The sum over some rows of Adafactor's update, squared."""
    total = 0.0
    for i in range(row_factors.size):
        grads, factor = gradient[i], row_factors[i]
        partial = np.float32(0)
        for j in range(column_factors.size):
            update = min(factor * column_factors[j], numbers.largest) * widen(grads[j])
            partial += update * update
        total += float(partial)
    return total * np.float64(numbers.scale) ** 2


@compiled
def adafactor(
    weight: Array,
    gradient: Array,
    row_factors: Array,
    column_factors: Array,
    start: int,
    numbers: FactorNumbers,
) -> None:
    """Update some rows, the first of which begins at the element ``start`` of the tensor."""
    for i in range(row_factors.size):
        weights, grads, factor = weight[i], gradient[i], row_factors[i]
        index = np.uint32(start + i * column_factors.size)
        for j in range(column_factors.size):
            update = min(factor * column_factors[j], numbers.largest) * widen(grads[j])
            value = widen(weights[j]) * numbers.kept - numbers.rate * update
            random = random16(index + j, numbers.low, numbers.high)
            weights[j] = narrow(value, random, weights[j])
