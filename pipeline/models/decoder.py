"""The decoder: an embedding, layers and a head, each usable by itself.

Weight streaming visits these three parts one after the other, a layer at a time; so each has
its own parameters and takes and gives plain tensors. The one exception is a tied head, which is
handed the embedding's matrix.

Shapes: b sequences, t tokens, d hidden, v vocabulary.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.choices import Activation
from pipeline.errors import ModelError
from pipeline.models.attention import Attention
from pipeline.models.families import TRAITS
from pipeline.models.loss import CHUNK_TOKENS, projected_cross_entropy
from pipeline.models.products import Linear, linear
from pipeline.schema import ModelConfig


class Table(nn.Embedding):
    """Vectors by number; to draw none on the meta device spares loading torch's compiler."""

    def reset_parameters(self) -> None:
        """Draw the vectors, where there is memory for them."""
        if not self.weight.is_meta:
            super().reset_parameters()


class Embedding(nn.Module):
    """A vector for each token, and for each position where a family learns those."""

    def __init__(self, model: ModelConfig) -> None:
        super().__init__()
        learned = TRAITS[model.family].rotary is None
        self.tokens = Table(model.vocabulary, model.hidden)
        self.positions = Table(model.positions, model.hidden) if learned else None

    def forward(self, tokens_bt: Tensor) -> Tensor:
        """tokens_bt -> x_btd, in fp32 whatever the type of the weights."""
        x_btd = self.tokens(tokens_bt).float()
        if self.positions is None:
            return x_btd
        return x_btd + self.positions.weight[: tokens_bt.shape[1]]


class FeedForward(nn.Module):
    """Two matrices with the activation between them; x_btd -> x_btd."""

    def __init__(self, model: ModelConfig) -> None:
        super().__init__()
        self.approximation = "tanh" if model.activation is Activation.gelu_new else "none"
        self.up = Linear(model.hidden, model.feed_forward)
        self.down = Linear(model.feed_forward, model.hidden)

    def forward(self, x_btd: Tensor) -> Tensor:
        """Transform each token by itself."""
        return self.down(F.gelu(self.up(x_btd), approximate=self.approximation))


class Layer(nn.Module):
    """One transformer block, x_btd -> x_btd: the unit that streams."""

    def __init__(self, model: ModelConfig) -> None:
        super().__init__()
        traits = TRAITS[model.family]
        self.parallel = traits.parallel
        self.attention_norm = _layer_norm(model)
        self.attention = Attention(model)
        self.feed_forward_norm = _layer_norm(model) if traits.layer_norms == 2 else None
        self.feed_forward = FeedForward(model)

    def forward(self, x_btd: Tensor) -> Tensor:
        """Add attention and feed-forward to the input, side by side or one after the other."""
        normed_btd = self.attention_norm(x_btd)
        attended_btd = x_btd + self.attention(normed_btd)
        if self.feed_forward_norm is not None:
            normed_btd = self.feed_forward_norm(x_btd if self.parallel else attended_btd)
        return attended_btd + self.feed_forward(normed_btd)


class Head(nn.Module):
    """The last LayerNorm and the projection to logits; tied, it borrows the embedding's matrix."""

    def __init__(self, model: ModelConfig) -> None:
        super().__init__()
        traits = TRAITS[model.family]
        self.norm = _layer_norm(model)
        self.projection = (
            None
            if traits.tied_head
            else Linear(model.hidden, model.vocabulary, bias=traits.head_bias)
        )

    def forward(self, x_btd: Tensor, tied_weight_vd: Tensor | None = None) -> Tensor:
        """x_btd -> logits_btv; a tied head needs ``tied_weight_vd``."""
        return linear(self.norm(x_btd), *self._weight_and_bias(tied_weight_vd))

    def loss(
        self,
        x_btd: Tensor,
        targets_bt: Tensor,
        tied_weight_vd: Tensor | None = None,
        chunk_tokens: int = CHUNK_TOKENS,
    ) -> Tensor:
        """Mean cross-entropy in nats, fp32; only ``chunk_tokens`` x v logits exist at a time."""
        weight_vd, bias_v = self._weight_and_bias(tied_weight_vd)
        return projected_cross_entropy(
            self.norm(x_btd).flatten(0, 1), weight_vd, bias_v, targets_bt.flatten(), chunk_tokens
        )

    def _weight_and_bias(self, tied_weight_vd: Tensor | None) -> tuple[Tensor, Tensor | None]:
        if self.projection is not None:
            return self.projection.weight, self.projection.bias
        if tied_weight_vd is None:
            raise ValueError("a tied head needs the embedding's matrix as tied_weight_vd")
        return tied_weight_vd, None


class Decoder(nn.Module):
    """A decoder language model of any of the families.

    Works under ``torch.autocast``: the residual stream, LayerNorms, softmax and loss stay fp32.
    """

    def __init__(self, model: ModelConfig) -> None:
        super().__init__()
        self.config = model
        self.embedding = Embedding(model)
        self.layers = nn.ModuleList(Layer(model) for _ in range(model.layers))
        self.head = Head(model)

    @property
    def tied_weight_vd(self) -> Tensor | None:
        """The embedding's matrix where the head is tied to it."""
        return self.embedding.tokens.weight if self.head.projection is None else None

    def hidden_states(self, tokens_bt: Tensor) -> Tensor:
        """tokens_bt -> x_btd, what the head reads.

        Raises :class:`ModelError` for sequences longer than the model's positions.
        """
        if tokens_bt.shape[1] > self.config.positions:
            raise ModelError(
                f"{self.config.name}: {tokens_bt.shape[1]} tokens in a sequence; the model has"
                f" {self.config.positions} positions"
            )
        x_btd = self.embedding(tokens_bt)
        for layer in self.layers:
            x_btd = layer(x_btd)
        return x_btd

    def forward(self, tokens_bt: Tensor) -> Tensor:
        """tokens_bt -> logits_btv."""
        return self.head(self.hidden_states(tokens_bt), self.tied_weight_vd)

    def loss(
        self, tokens_bt: Tensor, targets_bt: Tensor, chunk_tokens: int = CHUNK_TOKENS
    ) -> Tensor:
        """Mean cross-entropy of ``targets_bt`` in nats, a scalar in fp32."""
        x_btd = self.hidden_states(tokens_bt)
        return self.head.loss(x_btd, targets_bt, self.tied_weight_vd, chunk_tokens)


def allocate(model: ModelConfig, device: torch.device | str = "cpu") -> Decoder:
    """Make a decoder whose parameters hold no values yet; they are loaded or initialised next."""
    with torch.device("meta"):  # PyTorch's own initial values would cost time and be overwritten
        decoder = Decoder(model)
    return decoder.to_empty(device=device)


def _layer_norm(model: ModelConfig) -> nn.LayerNorm:
    return nn.LayerNorm(model.hidden, eps=model.layer_norm_epsilon)
