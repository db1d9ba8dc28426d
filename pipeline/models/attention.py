"""Causal self-attention of one layer.

Shapes: b sequences, t tokens, d hidden, h heads, e = d / h elements of a head.
"""

from __future__ import annotations

from torch import Tensor, nn

from pipeline.models.families import TRAITS
from pipeline.models.products import Linear, causal_attention
from pipeline.models.rotary import rotary_tables, rotate
from pipeline.schema import ModelConfig


class Attention(nn.Module):
    """Every token gathers from itself and those before it; x_btd -> x_btd.

    Query, key and value are one matrix, in this order along its rows, each by head.
    """

    def __init__(self, model: ModelConfig) -> None:
        super().__init__()
        traits = TRAITS[model.family]
        self.heads = model.heads
        self.pairs = traits.rotary
        self.rotary_dimensions = model.rotary_dimensions
        self.rotary_base = model.rotary_base
        self.qkv = Linear(model.hidden, 3 * model.hidden, bias=traits.attention_bias)
        self.output = Linear(model.hidden, model.hidden, bias=traits.attention_bias)

    def forward(self, x_btd: Tensor) -> Tensor:
        """Attend; softmax is computed in fp32 whatever the type of the products."""
        qkv = self.qkv(x_btd).unflatten(-1, (3, self.heads, -1))
        query_bhte, key_bhte, value_bhte = qkv.permute(2, 0, 3, 1, 4)
        if self.pairs is not None:
            tables = rotary_tables(
                x_btd.shape[1], self.rotary_dimensions, self.rotary_base, x_btd.device
            )
            query_bhte = rotate(query_bhte, *tables, self.pairs)
            key_bhte = rotate(key_bhte, *tables, self.pairs)
        gathered_bhte = causal_attention(query_bhte, key_bhte, value_bhte)
        return self.output(gathered_bhte.transpose(1, 2).flatten(-2))
