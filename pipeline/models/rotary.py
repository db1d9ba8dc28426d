"""Rotary positions: pairs of a head's elements turn by an angle that grows with the position.

Su et al. 2021, "RoFormer". Shapes: b sequences, h heads, t tokens, e elements of a head, of which
the first r turn (r is even); the rest pass unchanged.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from pipeline.models.families import RotaryPairs


@lru_cache(maxsize=8)
def rotary_tables(
    tokens: int, dimensions: int, base: float, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Cosine and sine, each (t, r / 2) in fp32: pair i of token t turns by t / base^(2i / r).

    Not buffers of the layers: those would have to be filled again on leaving the meta device.
    """
    # The tables outlive the call: made in inference mode, they could not serve training.
    with torch.inference_mode(False):
        exponents = torch.arange(0, dimensions, 2, dtype=torch.float32, device=device) / dimensions
        positions_t = torch.arange(tokens, dtype=torch.float32, device=device)
        angles = positions_t[:, None] * (1.0 / base**exponents)
        return angles.cos(), angles.sin()


def rotate(x_bhte: Tensor, cosine: Tensor, sine: Tensor, pairs: RotaryPairs) -> Tensor:
    """Turn the first elements of every head, computed in fp32, given in the type of the input."""
    turning, passing = x_bhte.tensor_split([2 * cosine.shape[-1]], dim=-1)
    if pairs is RotaryPairs.neighbours:
        first, second = turning[..., 0::2], turning[..., 1::2]
    else:
        first, second = turning.chunk(2, dim=-1)
    turned = (first * cosine - second * sine, second * cosine + first * sine)
    if pairs is RotaryPairs.neighbours:
        together = torch.stack(turned, dim=-1).flatten(-2)
    else:
        together = torch.cat(turned, dim=-1)
    return torch.cat((together.to(x_bhte.dtype), passing), dim=-1)
