"""The update rules in plain torch: readable, for any device, and what the native pass is tested by.

They work through a tensor piece by piece, so that they need little memory beside it.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from pipeline.optimizers.layout import BLOCK
from pipeline.optimizers.master import join, split
from pipeline.optimizers.quantization import dequantize, quantize
from pipeline.optimizers.rounding import random_bits, random_key, round_stochastically
from pipeline.optimizers.settings import SMALLEST_ROOT, TINY, UpdateSettings

PIECE = 2**22
"""Elements worked on at once."""

State = dict[str, Tensor]


def sum_of_squares(tensor: Tensor) -> float:
    """The sum of all elements' squares, in fp64."""
    flat = tensor.reshape(-1)
    return sum(_sum(flat[piece].double().square_()) for piece in _pieces(flat.numel()))


def adamw(weight: Tensor, state: State, gradient: Tensor, settings: UpdateSettings) -> None:
    """AdamW (Loshchilov and Hutter 2019, arXiv:1711.05101), with fp32 or 8-bit moments.

    Clipped updates as in StableAdamW (Wortsman et al. 2023, arXiv:2304.13013, algorithm 2): the
    learning rate, decay included, is divided by the root mean square of gradient / root moment.
    """
    pieces = list(_pieces(weight.numel()))
    flat = gradient.reshape(-1)
    squares = 0.0
    if settings.update_clip is not None:
        for piece in pieces:
            grad = flat[piece].float() * settings.gradient_scale
            moment = _second_moment(state, piece, grad, settings) / settings.bias2
            squares += _sum(grad.square() / moment.clamp_min(settings.epsilon**2))
    divisor = settings.divisor(squares, weight.numel())
    for piece in pieces:
        grad = flat[piece].float() * settings.gradient_scale
        first = _load(state, "exp_avg", piece).lerp(grad, 1 - settings.beta1)
        second = _second_moment(state, piece, grad, settings)
        _store(state, "exp_avg", piece, first)
        _store(state, "exp_avg_sq", piece, second)
        root = (second / settings.bias2).sqrt_().add_(settings.epsilon)
        master = _master(weight, state, piece) * settings.kept(weight.dim(), divisor)
        master -= settings.learning_rate / divisor / settings.bias1 * first / root
        _store_master(weight, state, piece, master)


def adafactor(
    name: str, weight: Tensor, state: State, gradient: Tensor, settings: UpdateSettings
) -> None:
    """Adafactor (Shazeer and Stern 2018, arXiv:1804.04235) without a first moment.

    Details as in ``torch.optim.Adafactor``; statistics and arithmetic are fp32, and bf16 weights
    are rounded stochastically.
    """
    rms = (sum_of_squares(weight) / weight.numel()) ** 0.5
    row, column = _reciprocal_roots(state, gradient, settings)
    keys = random_key(settings.seed, settings.step, name)
    kept = settings.kept(weight.dim())
    if weight.dim() < 2:  # a matrix of one column
        weight, gradient = weight.view(-1, 1), gradient.reshape(-1, 1)
    parts = list(_rows(weight))

    def update(part: slice) -> Tensor:
        factors = (row[part, None] * column).clamp_max_(1 / SMALLEST_ROOT)
        return factors.mul_(gradient[part].float() * settings.gradient_scale)

    squares = 0.0
    if settings.update_clip is not None:
        squares = sum(_sum(update(part).square_()) for part in parts)
    rate = settings.relative_step(rms) / settings.divisor(squares, weight.numel())
    for part in parts:
        new = weight[part].float() * kept - rate * update(part)
        if weight.dtype == torch.bfloat16:
            start = part.start * weight.shape[1]
            new = round_stochastically(new, random_bits(keys, start, new.shape, new.device))
        weight[part] = new


def _reciprocal_roots(
    state: State, gradient: Tensor, settings: UpdateSettings
) -> tuple[Tensor, Tensor]:
    """Bring the second moment up to date; two vectors whose product is its reciprocal root."""
    if gradient.dim() < 2:
        squares = (gradient.float() * settings.gradient_scale).square()
        moment = state["exp_avg_sq"].lerp_(squares, settings.fresh)
        return moment.clamp_min(TINY).rsqrt(), torch.ones(1, device=moment.device)
    _update_means(state, gradient, settings)
    mean = state["row"].mean().clamp_min(SMALLEST_ROOT)
    row = (state["row"] / mean).clamp_min(TINY).rsqrt()
    return row, state["column"].clamp_min(TINY).rsqrt()


def _update_means(state: State, gradient: Tensor, settings: UpdateSettings) -> None:
    """Move the second moment's means over rows and over columns towards this gradient's."""
    rows, columns = gradient.shape
    over_row = torch.zeros_like(state["row"])
    over_column = torch.zeros_like(state["column"], dtype=torch.float64)
    for part in _rows(gradient):
        squares = (gradient[part].float() * settings.gradient_scale).square_()
        over_row[part] = squares.sum(dim=1) / columns
        over_column += squares.sum(dim=0) / rows
    state["row"].lerp_(over_row, settings.fresh)
    state["column"].lerp_(over_column.float(), settings.fresh)


def _pieces(elements: int) -> Iterator[slice]:
    for start in range(0, elements, PIECE):
        yield slice(start, min(start + PIECE, elements))


def _rows(tensor: Tensor) -> Iterator[slice]:
    """Slices of the first dimension that hold about a piece each."""
    rows = max(1, PIECE // max(1, tensor[0].numel()))
    for start in range(0, len(tensor), rows):
        yield slice(start, start + rows)


def _sum(values: Tensor) -> float:
    return float(values.sum(dtype=torch.float64))


def _scales(piece: slice) -> slice:
    """The 8-bit scales of a piece."""
    return slice(piece.start // BLOCK, -(-piece.stop // BLOCK))


def _load(state: State, key: str, piece: slice) -> Tensor:
    moment = state[key].view(-1)[piece]
    if moment.dtype != torch.uint8:
        return moment
    scales = state[f"{key}_scale"][_scales(piece)]
    return dequantize(moment, scales, signed=key == "exp_avg")


def _store(state: State, key: str, piece: slice, moment: Tensor) -> None:
    target = state[key].view(-1)
    if target.dtype == torch.uint8:
        moment, scales = quantize(moment, signed=key == "exp_avg")
        state[f"{key}_scale"][_scales(piece)] = scales
    target[piece] = moment


def _second_moment(state: State, piece: slice, grad: Tensor, settings: UpdateSettings) -> Tensor:
    return _load(state, "exp_avg_sq", piece).lerp(grad.square(), 1 - settings.beta2)


def _master(weight: Tensor, state: State, piece: slice) -> Tensor:
    part = weight.view(-1)[piece]
    return join(part, state["remainder"].view(-1)[piece]) if "remainder" in state else part


def _store_master(weight: Tensor, state: State, piece: slice, master: Tensor) -> None:
    if "remainder" in state:
        master, state["remainder"].view(-1)[piece] = split(master)
    weight.view(-1)[piece] = master
