"""Continues token sequences, one token at a time.

Shapes: b sequences, t tokens, v vocabulary, k likeliest tokens.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pipeline.models.decoder import Decoder


@torch.no_grad()
def generate(
    decoder: Decoder,
    tokens_bt: Tensor,
    count: int,
    temperature: float,
    top_k: int,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Append ``count`` tokens to each sequence of ``tokens_bt``, which holds one token at least.

    A temperature of 0 takes the likeliest token; above, one of the ``top_k`` likeliest is drawn
    with ``generator``. The model sees the last ``positions`` tokens, computed anew for each one.
    """
    for _ in range(count):
        x_btd = decoder.hidden_states(tokens_bt[:, -decoder.config.positions :])
        logits_bv = decoder.head(x_btd[:, -1:], decoder.tied_weight_vd)[:, 0].float()
        next_b1 = _choose(logits_bv, temperature, top_k, generator)
        tokens_bt = torch.cat((tokens_bt, next_b1), dim=1)
    return tokens_bt


def _choose(
    logits_bv: Tensor, temperature: float, top_k: int, generator: torch.Generator | None
) -> Tensor:
    if temperature == 0:
        return logits_bv.argmax(dim=-1, keepdim=True)
    logits_bk, tokens_bk = logits_bv.topk(min(top_k, logits_bv.shape[-1]))
    chances_bk = (logits_bk / temperature).softmax(dim=-1)
    return tokens_bk.gather(1, torch.multinomial(chances_bk, 1, generator=generator))
