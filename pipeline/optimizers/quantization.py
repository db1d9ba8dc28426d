"""Optimizer state in 8 bits: a scale for each block of 256, and the dynamic tree of 256 values.

After Dettmers et al. 2021, "8-bit Optimizers via Block-wise Quantization" (arXiv:2110.02861).
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from pipeline.optimizers.layout import BLOCK

ZERO_BELOW = 1e-37
"""A block whose largest magnitude is below is all zeros: its reciprocal might overflow."""

FIRST_CELL, LAST_CELL = (127 - 23) << 7, 127 << 7
"""The upper 16 bits of the floats 2**-23, below every boundary, and 1."""

CELLS = LAST_CELL - FIRST_CELL + 1
"""Cells of :func:`cells` of either sign."""


@lru_cache
def tree(signed: bool) -> Tensor:
    """The 256 fp32 values of the codes, rising: seven decades, each of twice as many even steps.

    Signed (for a first moment) from -0.99 to 1, else (for a second moment) from 0 to 1.
    """
    values = [0.0, 1.0]
    for decade in range(7):
        edges = torch.linspace(0.1, 1, 2 ** (decade + (not signed)) + 1, dtype=torch.float64)
        means = (edges[:-1] + edges[1:]) / 2 * 10.0 ** (decade - 6)
        values += means.tolist() + (-means).tolist() * signed
    return torch.tensor(sorted(values), dtype=torch.float32)


@lru_cache
def boundaries(signed: bool) -> Tensor:
    """The 255 fp32 numbers between the codes: a code is how many of them a number exceeds.

    They lie midway, save that an unsigned number is never rounded to zero: beside a second moment
    of zero a first moment may stay, and the step would be divided by epsilon alone.
    """
    values = tree(signed).double()
    middles = ((values[:-1] + values[1:]) / 2).float()
    if not signed:
        middles[0] = -1.0
    return middles


def quantize(values: Tensor, signed: bool) -> tuple[Tensor, Tensor]:
    """The uint8 codes and the fp32 scales, one for each block, of a flat fp32 tensor."""
    padding = -values.numel() % BLOCK
    blocks = torch.nn.functional.pad(values, (0, padding)).view(-1, BLOCK)
    scales = blocks.abs().amax(dim=1)
    scales = torch.where(scales < ZERO_BELOW, 0.0, scales)
    inverse = torch.where(scales == 0, 0.0, 1 / scales)
    codes = torch.bucketize(blocks * inverse[:, None], boundaries(signed).to(values.device))
    return codes.to(torch.uint8).view(-1)[: values.numel()], scales


def dequantize(codes: Tensor, scales: Tensor, signed: bool) -> Tensor:
    """The flat fp32 tensor that codes and scales stand for."""
    values = tree(signed).to(codes.device)[codes.int()]
    return values * scales.repeat_interleave(BLOCK)[: codes.numel()]


@lru_cache
def cells(signed: bool) -> np.ndarray:
    """A table that finds the code of a float in one look: uint32, positive then negative cells.

    A cell holds the floats of the same upper 16 bits; these are so near that at most one boundary
    lies among them. Its entry is the first one's code << 16 | the lower 16 bits of the last float
    before the boundary; those beyond have the next code up (down, if negative).
    """
    heads: np.ndarray = np.arange(FIRST_CELL, LAST_CELL + 1, dtype=np.uint32)
    heads = np.concatenate([heads, heads | 0x8000]) << 16
    first = _codes(heads, signed)
    low: np.ndarray = np.zeros_like(heads)
    high: np.ndarray = np.full_like(heads, 0xFFFF)
    while (low < high).any():
        middle = (low + high + 1) // 2
        same = _codes(heads | middle, signed) == first
        low, high = np.where(same, middle, low), np.where(same, high, middle - 1)
    return (first << 16) | low


def _codes(bits: np.ndarray, signed: bool) -> np.ndarray:
    return np.searchsorted(boundaries(signed).numpy(), bits.view(np.float32)).astype(np.uint32)
