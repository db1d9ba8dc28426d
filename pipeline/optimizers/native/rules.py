"""The update rules over whole tensors in the CPU's memory: chunks, their sums, and the numbers.

Chunks depend on a tensor's shape alone and their sums are added in order, so that the results are
the same for any number of threads.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from pipeline.optimizers.layout import BLOCK
from pipeline.optimizers.native import adafactor as factor_loops
from pipeline.optimizers.native import adamw as adamw_loops
from pipeline.optimizers.native.bits import Array
from pipeline.optimizers.native.bits import sum_of_squares as sum_loop
from pipeline.optimizers.native.parallel import in_parallel
from pipeline.optimizers.quantization import cells, tree
from pipeline.optimizers.rounding import random_key
from pipeline.optimizers.settings import SMALLEST_ROOT, TINY, UpdateSettings

CHUNK = 2**18
"""Elements of a chunk: whole blocks, a fraction of a millisecond."""

COLUMN_SUMS = 32
"""Chunks at most of Adafactor's statistics: each has a sum for every column."""

State = dict[str, Tensor]


def sum_of_squares(gradient: Tensor) -> float:
    """The sum of all elements' squares, in fp64."""
    flat = _array(gradient.contiguous()).reshape(-1)
    return _sum_over_chunks(flat.size, lambda part: sum_loop(flat[part]))


def adamw(weight: Tensor, state: State, gradient: Tensor, settings: UpdateSettings) -> None:
    """See :func:`pipeline.optimizers.eager.adamw`."""
    flat = {key: _array(tensor).reshape(-1) for key, tensor in state.items()}
    weights, grads = _array(weight).reshape(-1), _array(gradient).reshape(-1)
    remainder, second = flat.get("remainder"), flat["exp_avg_sq"]
    quantized = "exp_avg_scale" in flat
    values = tree(signed=False).numpy()
    tables = (tree(signed=True).numpy(), values, cells(signed=True), cells(signed=False))

    def squares(part: slice) -> float:
        scales = flat["exp_avg_sq_scale"][_blocks(part)] if quantized else None
        return adamw_loops.adamw_squares(second[part], scales, values, grads[part], numbers)

    def step(part: slice) -> None:
        rest = None if remainder is None else remainder[part]
        if quantized:
            moments = tuple(
                flat[key][_blocks(part) if key.endswith("scale") else part]
                for key in ("exp_avg", "exp_avg_scale", "exp_avg_sq", "exp_avg_sq_scale")
            )
            adamw_loops.adamw8bit(weights[part], rest, moments, grads[part], numbers, tables)
        else:
            first = flat["exp_avg"][part]
            adamw_loops.adamw(weights[part], rest, first, second[part], grads[part], numbers)

    numbers = _adamw_numbers(settings, weight.dim(), 1.0)
    if settings.update_clip is not None:
        divisor = settings.divisor(_sum_over_chunks(weights.size, squares), weights.size)
        numbers = _adamw_numbers(settings, weight.dim(), divisor)
    _over_chunks(weights.size, step)


def adafactor(
    name: str, weight: Tensor, state: State, gradient: Tensor, settings: UpdateSettings
) -> None:
    """See :func:`pipeline.optimizers.eager.adafactor`; ``weight`` is a matrix."""
    weights, grads = _array(weight), _array(gradient)
    rms = _update_means(weights, grads, state, settings)
    row_factors, column_factors = _reciprocal_roots(state)
    numbers = _factor_numbers(name, settings, 0.0)
    rows, columns = weights.shape
    height = -(-CHUNK // columns)
    squares = np.zeros(-(-rows // height))

    def add(chunk: int) -> None:
        part = slice(chunk * height, (chunk + 1) * height)
        squares[chunk] = factor_loops.adafactor_squares(
            grads[part], row_factors[part], column_factors, numbers
        )

    def step(chunk: int) -> None:
        part = slice(chunk * height, (chunk + 1) * height)
        factor_loops.adafactor(
            weights[part],
            grads[part],
            row_factors[part],
            column_factors,
            part.start * columns,
            numbers,
        )

    if settings.update_clip is not None:
        in_parallel(add, squares.size)
    divisor = settings.divisor(float(squares.sum()), weights.size)
    numbers = _factor_numbers(name, settings, settings.relative_step(rms) / divisor)
    in_parallel(step, squares.size)


def _update_means(weights: Array, grads: Array, state: State, settings: UpdateSettings) -> float:
    """Move the means over rows and columns towards this gradient's; the weights' RMS."""
    rows, columns = weights.shape
    height = max(-(-rows // COLUMN_SUMS), -(-CHUNK // columns))
    chunks = -(-rows // height)
    over_rows, over_columns = np.zeros(rows), np.zeros((chunks, columns))
    squares = np.zeros(chunks)
    scale = np.float32(settings.gradient_scale)

    def add(chunk: int) -> None:
        part = slice(chunk * height, (chunk + 1) * height)
        squares[chunk] = factor_loops.adafactor_sums(
            weights[part], grads[part], scale, over_rows[part], over_columns[chunk]
        )

    in_parallel(add, chunks)
    for key, mean in (("row", over_rows / columns), ("column", over_columns.sum(axis=0) / rows)):
        state[key].lerp_(torch.from_numpy(mean).float(), settings.fresh)
    return float(np.sqrt(squares.sum() / weights.size))


def _reciprocal_roots(state: State) -> tuple[Array, Array]:
    """Two vectors whose product is the second moment's reciprocal root."""
    mean = max(float(state["row"].numpy().mean(dtype=np.float64)), SMALLEST_ROOT)
    row = (state["row"] / mean).clamp_min(TINY).rsqrt()
    return row.numpy(), state["column"].clamp_min(TINY).rsqrt().numpy()


def _factor_numbers(name: str, settings: UpdateSettings, rate: float) -> factor_loops.FactorNumbers:
    key = random_key(settings.seed, settings.step, name)
    return factor_loops.FactorNumbers(
        scale=np.float32(settings.gradient_scale),
        largest=np.float32(1 / SMALLEST_ROOT),
        kept=np.float32(settings.kept(dimensions=2)),
        rate=np.float32(rate * settings.gradient_scale),
        low=np.uint32(key.low),
        high=np.uint32(key.high),
    )


def _adamw_numbers(
    settings: UpdateSettings, dimensions: int, divisor: float
) -> adamw_loops.AdamNumbers:
    return adamw_loops.AdamNumbers(
        scale=np.float32(settings.gradient_scale),
        fresh1=np.float32(1 - settings.beta1),
        fresh2=np.float32(1 - settings.beta2),
        root_bias2=np.float32(settings.bias2**-0.5),
        epsilon=np.float32(settings.epsilon),
        kept=np.float32(settings.kept(dimensions, divisor)),
        rate=np.float32(settings.learning_rate / divisor / settings.bias1),
    )


def _array(tensor: Tensor) -> Array:
    """The tensor's memory: bf16 as uint16."""
    tensor = tensor.detach()
    if tensor.dtype == torch.bfloat16:
        return tensor.view(torch.int16).numpy().view(np.uint16)
    return tensor.numpy()


def _blocks(part: slice) -> slice:
    """The scales of a chunk."""
    return slice(part.start // BLOCK, -(-part.stop // BLOCK))


def _over_chunks(elements: int, work: Callable[[slice], object]) -> None:
    def chunk(number: int) -> None:
        work(slice(number * CHUNK, min((number + 1) * CHUNK, elements)))

    in_parallel(chunk, -(-elements // CHUNK))


def _sum_over_chunks(elements: int, work: Callable[[slice], float]) -> float:
    sums = np.zeros(-(-elements // CHUNK))

    def chunk(part: slice) -> None:
        sums[part.start // CHUNK] = work(part)

    _over_chunks(elements, chunk)
    return float(sums.sum())
