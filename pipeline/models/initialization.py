"""Initial weights, each tensor's drawn by itself.

The scheme is GPT-2's (Radford et al. 2019): normal with ``initializer_range``, the two matrices
of a layer that add to the residual stream scaled by 1 / sqrt(2 layers), LayerNorms the identity,
biases zero. A tensor's values depend on the seed and its name alone, so a part of a decoder can
be initialised without the rest, in any order.
"""

from __future__ import annotations

import hashlib
import math

import torch
from torch import Tensor, nn

from pipeline.models.decoder import Decoder
from pipeline.schema import ModelConfig

RESIDUAL_PROJECTIONS = ("attention.output.weight", "feed_forward.down.weight")


def initialize(decoder: Decoder, seed: int) -> None:
    """Give every parameter its initial value, in place."""
    initialize_part(decoder, "", decoder.config, seed)


def initialize_part(part: nn.Module, prefix: str, model: ModelConfig, seed: int) -> None:
    """Initialise one part, such as ``decoder.layers[3]`` with the prefix ``layers.3.``."""
    for name, parameter in part.named_parameters(prefix=prefix.removesuffix(".")):
        initialize_tensor(parameter, name, model, seed)


@torch.no_grad()
def initialize_tensor(tensor: Tensor, name: str, model: ModelConfig, seed: int) -> None:
    """Fill one parameter by its full name; the values do not depend on its device or type."""
    if tensor.ndim == 1:  # of a LayerNorm, or a bias
        tensor.fill_(1.0 if name.endswith(".weight") else 0.0)
        return
    deviation = model.initializer_range
    if name.endswith(RESIDUAL_PROJECTIONS):
        deviation /= math.sqrt(2 * model.layers)
    values = torch.empty(tensor.shape, dtype=torch.float32, device="cpu")
    tensor.copy_(values.normal_(std=deviation, generator=_generator(seed, name)))


def _generator(seed: int, name: str) -> torch.Generator:
    digest = hashlib.sha256(f"{seed} {name}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "little"))
