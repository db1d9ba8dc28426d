"""Transformers written by hand, as a user would."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

WIDTH, HEADS, TOKENS, VOCABULARY, BLOCKS = 32, 4, 16, 60, 3


class Attention(nn.Module):
    """Attention written out, under whatever ``mask`` it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv = nn.Linear(WIDTH, 3 * WIDTH)
        self.out = nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        query, key, value = (
            part.unflatten(-1, (HEADS, -1)).transpose(1, 2) for part in self.qkv(x).chunk(3, dim=-1)
        )
        scores = query @ key.transpose(-2, -1) / 8**0.5
        if mask is not None:
            scores = scores.masked_fill(mask[: x.shape[1], : x.shape[1]], float("-inf"))
        return self.out((scores.softmax(-1) @ value).transpose(1, 2).flatten(-2))


class Fused(Attention):
    """Attention by the kernel of PyTorch."""

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        heads = (part.unflatten(-1, (HEADS, -1)) for part in self.qkv(x).chunk(3, dim=-1))
        query, key, value = (head.transpose(1, 2) for head in heads)
        gathered = F.scaled_dot_product_attention(query, key, value, is_causal=True)
        return self.out(gathered.transpose(1, 2).flatten(-2))


class Block(nn.Module):
    def __init__(self, attention: nn.Module) -> None:
        super().__init__()
        self.norm_1, self.norm_2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.attention = attention
        self.up, self.down = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        x = x + self.attention(self.norm_1(x), mask)
        return x + self.down(F.gelu(self.up(self.norm_2(x))))


class Model(nn.Module):
    """An embedding with learned positions, blocks, and a head that is tied to the embedding."""

    def __init__(self, attention: type[nn.Module] = Attention, mask: Tensor | None = None) -> None:
        super().__init__()
        self.tokens, self.positions = nn.Embedding(VOCABULARY, WIDTH), nn.Embedding(64, WIDTH)
        self.blocks = nn.ModuleList(Block(attention()) for _ in range(BLOCKS))
        self.norm = nn.LayerNorm(WIDTH)
        self.register_buffer("mask", mask)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.tokens(ids) + self.positions(torch.arange(ids.shape[1], device=ids.device))
        for block in self.blocks:
            x = block(x, self.mask)
        return self.norm(x) @ self.tokens.weight.T


def ids(tokens: int = TOKENS) -> Tensor:
    """One sequence."""
    return torch.zeros(1, tokens, dtype=torch.long)


def next_token_loss(logits: Tensor) -> Tensor:
    """The loss of a language model."""
    targets = torch.zeros(logits.shape[1], dtype=torch.long, device=logits.device)
    return F.cross_entropy(logits[0], targets)


def later_tokens() -> Tensor:
    """A mask that is true where a token is hidden: after the one that looks."""
    return torch.ones(64, 64, dtype=torch.bool).triu(1)
