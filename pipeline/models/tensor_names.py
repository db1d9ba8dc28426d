"""How each family's tensors are named and laid out in Hugging Face's files.

A table of rules per family; each ties one of our parameters to the tensors that it is stored as.
``{layer}`` in a name stands for the number of the layer.

Shapes: h heads, e elements of a head, d = h e hidden; the rows of our qkv are ordered (3, h, e).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from pipeline.choices import Family
from pipeline.schema import ModelConfig


@dataclass(frozen=True)
class Conversion:
    """Between our parameter and the tensors stored for it; both take the number of heads."""

    load: Callable[[Sequence[Tensor], int], Tensor]
    store: Callable[[Tensor, int], Sequence[Tensor]]


SAME = Conversion(
    load=lambda stored, heads: stored[0],
    store=lambda ours, heads: [ours],
)
# GPT-2 keeps its matrices as (input, output), a linear layer as (output, input).
TRANSPOSED = Conversion(
    load=lambda stored, heads: stored[0].T,
    store=lambda ours, heads: [ours.T],
)
# Query, key and value as three tensors.
SEPARATE = Conversion(
    load=lambda stored, heads: torch.cat(tuple(stored)),
    store=lambda ours, heads: ours.chunk(3),
)
# Rows ordered (h, 3, e): each head's query, key and value lie together.
BY_HEAD = Conversion(
    load=lambda stored, heads: stored[0].unflatten(0, (heads, 3, -1)).transpose(0, 1).flatten(0, 2),
    store=lambda ours, heads: [ours.unflatten(0, (3, heads, -1)).transpose(0, 1).flatten(0, 2)],
)


@dataclass(frozen=True)
class Rule:
    """Our parameter, the tensors that it is stored as, and how."""

    ours: str
    theirs: tuple[str, ...]
    conversion: Conversion = SAME

    def of_layer(self, layer: int) -> Rule:
        """The rule with the layer's number filled in."""
        theirs = tuple(name.format(layer=layer) for name in self.theirs)
        return replace(self, ours=self.ours.format(layer=layer), theirs=theirs)


def _pair(
    ours: str, theirs: str, weight: Conversion = SAME, bias: Conversion = SAME
) -> tuple[Rule, Rule]:
    """The rules of a module with a weight and a bias."""
    return (
        Rule(f"{ours}.weight", (f"{theirs}.weight",), weight),
        Rule(f"{ours}.bias", (f"{theirs}.bias",), bias),
    )


_LAYER = "layers.{layer}"
_GPT2 = "transformer.h.{layer}"
_GPTNEOX = "gpt_neox.layers.{layer}"

RULES: dict[Family, tuple[Rule, ...]] = {
    Family.gpt2: (
        Rule("embedding.tokens.weight", ("transformer.wte.weight",)),
        Rule("embedding.positions.weight", ("transformer.wpe.weight",)),
        *_pair(f"{_LAYER}.attention_norm", f"{_GPT2}.ln_1"),
        *_pair(f"{_LAYER}.attention.qkv", f"{_GPT2}.attn.c_attn", weight=TRANSPOSED),
        *_pair(f"{_LAYER}.attention.output", f"{_GPT2}.attn.c_proj", weight=TRANSPOSED),
        *_pair(f"{_LAYER}.feed_forward_norm", f"{_GPT2}.ln_2"),
        *_pair(f"{_LAYER}.feed_forward.up", f"{_GPT2}.mlp.c_fc", weight=TRANSPOSED),
        *_pair(f"{_LAYER}.feed_forward.down", f"{_GPT2}.mlp.c_proj", weight=TRANSPOSED),
        *_pair("head.norm", "transformer.ln_f"),
    ),
    Family.gptj: (
        Rule("embedding.tokens.weight", ("transformer.wte.weight",)),
        *_pair(f"{_LAYER}.attention_norm", f"{_GPT2}.ln_1"),
        Rule(
            f"{_LAYER}.attention.qkv.weight",
            tuple(f"{_GPT2}.attn.{part}_proj.weight" for part in "qkv"),
            SEPARATE,
        ),
        Rule(f"{_LAYER}.attention.output.weight", (f"{_GPT2}.attn.out_proj.weight",)),
        *_pair(f"{_LAYER}.feed_forward.up", f"{_GPT2}.mlp.fc_in"),
        *_pair(f"{_LAYER}.feed_forward.down", f"{_GPT2}.mlp.fc_out"),
        *_pair("head.norm", "transformer.ln_f"),
        *_pair("head.projection", "lm_head"),
    ),
    Family.gptneox: (
        Rule("embedding.tokens.weight", ("gpt_neox.embed_in.weight",)),
        *_pair(f"{_LAYER}.attention_norm", f"{_GPTNEOX}.input_layernorm"),
        *_pair(
            f"{_LAYER}.attention.qkv",
            f"{_GPTNEOX}.attention.query_key_value",
            weight=BY_HEAD,
            bias=BY_HEAD,
        ),
        *_pair(f"{_LAYER}.attention.output", f"{_GPTNEOX}.attention.dense"),
        *_pair(f"{_LAYER}.feed_forward_norm", f"{_GPTNEOX}.post_attention_layernorm"),
        *_pair(f"{_LAYER}.feed_forward.up", f"{_GPTNEOX}.mlp.dense_h_to_4h"),
        *_pair(f"{_LAYER}.feed_forward.down", f"{_GPTNEOX}.mlp.dense_4h_to_h"),
        *_pair("head.norm", "gpt_neox.final_layer_norm"),
        Rule("head.projection.weight", ("embed_out.weight",)),
    ),
}


def rules(model: ModelConfig) -> Iterator[Rule]:
    """Yield the rule of every parameter of ``model``, in the order of the table."""
    for rule in RULES[model.family]:
        if "{layer}" in rule.ours:
            yield from (rule.of_layer(layer) for layer in range(model.layers))
        else:
            yield rule
