"""Rounding fp32 to bf16 stochastically, by random bits that need no generator."""

from __future__ import annotations

import hashlib
from typing import NamedTuple

import torch
from torch import Tensor

MULTIPLIERS = (0x7FEB352D, 0x846CA68B)
"""Of the integer hash "lowbias32" by C. Wellons, which :func:`random_bits` adds a key to."""

LARGEST = 0x7F7F0000
"""Magnitude bits of the largest bf16: from there on nothing is rounded up, to infinity or beyond
NaN."""


class RandomKey(NamedTuple):
    """Two 32-bit numbers that name a stream of random bits."""

    low: int
    high: int


def random_key(seed: int, step: int, name: str) -> RandomKey:
    """The stream of a tensor's update at a step of a run."""
    digest = hashlib.blake2b(f"{seed}/{step}/{name}".encode(), digest_size=8).digest()
    return RandomKey(int.from_bytes(digest[:4], "little"), int.from_bytes(digest[4:], "little"))


def random_bits(key: RandomKey, start: int, shape: torch.Size, device: torch.device) -> Tensor:
    """16 random bits for each element, as int32 in 0..65535.

    A hash of the key and the element's index (modulo 2**32), which counts from ``start``: nothing
    is drawn in order, so any part of a tensor can be rounded alone, and on any device alike.
    """
    indices = torch.arange(start, start + shape.numel(), device=device)
    bits = indices.to(torch.int32).view(shape)  # keeps the low 32 bits
    bits ^= _signed(key.low)
    bits ^= (bits >> 16) & 0xFFFF
    bits *= _signed(MULTIPLIERS[0])
    bits ^= (bits >> 15) & 0x1FFFF
    bits ^= _signed(key.high)
    bits *= _signed(MULTIPLIERS[1])
    return (bits >> 16) & 0xFFFF


def round_stochastically(values: Tensor, random: Tensor) -> Tensor:
    """Round fp32 to bf16, up or down with the probability that keeps the mean.

    ``random``: :func:`random_bits` for each element. bf16 numbers stay what they are, and nothing
    finite becomes infinite.
    """
    bits = values.contiguous().view(torch.int32)
    random = random * ((bits & 0x7FFF0000) < LARGEST)
    return ((bits + random) >> 16).to(torch.int16).view(torch.bfloat16)


def _signed(bits: int) -> int:
    """The int32 of the same 32 bits."""
    return bits - (1 << 32) if bits >> 31 else bits
