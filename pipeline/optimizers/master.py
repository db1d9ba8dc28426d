"""An fp32 master weight in two: the bf16 that products take, and the 16 bits beside it."""

from __future__ import annotations

import torch
from torch import Tensor


def split(master: Tensor) -> tuple[Tensor, Tensor]:
    """Divide fp32 numbers into the nearest bf16 and the int16 by which their bits differ.

    Together they hold every bit. A tie rounds away from zero, and magnitudes above 3.39e38 round
    to infinity, as they do in any conversion. Takes 2 bytes an element besides the results.
    """
    halves = master.contiguous().reshape(-1).view(torch.int16).view(-1, 2)
    remainder = halves[:, 0].clone()
    nearest = halves[:, 1] - (remainder >> 15)  # a negative remainder was rounded up: minus -1
    return nearest.view(torch.bfloat16).view(master.shape), remainder.view(master.shape)


def join(nearest: Tensor, remainder: Tensor) -> Tensor:
    """The fp32 numbers that :func:`split` divided."""
    master = torch.empty(nearest.shape, dtype=torch.float32, device=nearest.device)
    halves = master.view(-1).view(torch.int16).view(-1, 2)
    halves[:, 0] = remainder.reshape(-1)
    halves[:, 1] = nearest.contiguous().view(torch.int16).reshape(-1) + (halves[:, 0] >> 15)
    return master
