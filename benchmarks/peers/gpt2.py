"""A plain GPT-2 in torch, as a user writes it; the peers train it.

The same arithmetic as Onewafer's gpt2 family (Radford et al. 2019): learned positions, LayerNorm
before attention and feed-forward, GELU by tanh, a tied head. Dense causal attention is torch's
fused one; matrix products are bf16 where the parameters are. They go through Onewafer's own
:mod:`pipeline.models.products`: torch's where the processor has bf16 instructions, and elsewhere
in fp32, so that a peer does not lose by torch's bf16 products, which are very slow there.

Shapes: b sequences, t tokens, d hidden, v vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from pipeline.models.products import Linear, causal_attention, linear


@dataclass(frozen=True)
class Shape:
    """Sizes of a GPT-2, in elements; ``feed_forward`` is four times ``hidden``."""

    layers: int
    hidden: int
    heads: int
    vocabulary: int = 50257
    positions: int = 1024


SHAPES = {
    "gpt2_125m": Shape(layers=12, hidden=768, heads=12),
    "gpt3_xl": Shape(layers=24, hidden=2048, heads=16, positions=2048),
}


class Block(nn.Module):
    """Attention, then feed-forward, each added to its input; x_btd -> x_btd."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        d = shape.hidden
        self.heads = shape.heads
        self.attention_norm, self.feed_forward_norm = nn.LayerNorm(d), nn.LayerNorm(d)
        self.qkv, self.output = Linear(d, 3 * d), Linear(d, d)
        self.up, self.down = Linear(d, 4 * d), Linear(4 * d, d)

    def forward(self, x_btd: Tensor) -> Tensor:
        """Transform the residual stream."""
        b, t, d = x_btd.shape
        q, k, v = self.qkv(self.attention_norm(x_btd)).split(d, dim=-1)
        q, k, v = (part.view(b, t, self.heads, -1).transpose(1, 2) for part in (q, k, v))
        attended = causal_attention(q, k, v)
        x_btd = x_btd + self.output(attended.transpose(1, 2).reshape(b, t, d))
        hidden = F.gelu(self.up(self.feed_forward_norm(x_btd)), approximate="tanh")
        return x_btd + self.down(hidden)


class Gpt2(nn.Module):
    """The decoder; ``recompute`` keeps only each block's input for the backward pass."""

    def __init__(self, shape: Shape, recompute: bool = False) -> None:
        super().__init__()
        self.recompute = recompute
        self.tokens = nn.Embedding(shape.vocabulary, shape.hidden)
        self.positions = nn.Embedding(shape.positions, shape.hidden)
        self.blocks = nn.ModuleList(Block(shape) for _ in range(shape.layers))
        self.norm = nn.LayerNorm(shape.hidden)

    def forward(self, tokens_bt: Tensor, targets_bt: Tensor) -> Tensor:
        """Mean cross-entropy of ``targets_bt`` in nats, a scalar."""
        x_btd = self.tokens(tokens_bt) + self.positions.weight[: tokens_bt.shape[1]]
        for block in self.blocks:
            x_btd = (
                checkpoint(block, x_btd, use_reentrant=False) if self.recompute else block(x_btd)
            )
        logits_btv = linear(self.norm(x_btd), self.tokens.weight, None)
        return F.cross_entropy(logits_btv.flatten(0, 1).float(), targets_bt.flatten())


@torch.no_grad()
def initialize_tensor(name: str, parameter: Tensor) -> None:
    """Fill a matrix with deviation 0.02, a LayerNorm with the identity, a bias with zeros."""
    if parameter.ndim > 1:
        parameter.normal_(std=0.02)
    else:
        parameter.fill_(1.0 if name.endswith("norm.weight") else 0.0)
