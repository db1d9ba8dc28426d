"""Cross-entropy of a projection, in chunks of tokens.

The logits of a step are its largest tensor by far: 2048 tokens of a vocabulary of 50,257 take
412 MB in fp32, and their softmax and gradient as much again. So no more than a chunk's exist at
a time: each chunk's gradient is taken at once, and kept instead of its logits.

Shapes: n tokens of all sequences, d hidden, v vocabulary.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from pipeline.models.products import linear

CHUNK_TOKENS = 1024


def projected_cross_entropy(
    x_nd: Tensor, weight_vd: Tensor, bias_v: Tensor | None, targets_n: Tensor, chunk_tokens: int
) -> Tensor:
    """Mean over tokens of the cross-entropy of ``x W^T + b``, in nats; a scalar in fp32."""
    if torch.is_grad_enabled():
        return _ProjectedCrossEntropy.apply(x_nd, weight_vd, bias_v, targets_n, chunk_tokens)
    chunks = zip(x_nd.split(chunk_tokens), targets_n.split(chunk_tokens), strict=True)
    losses = [_summed(x_cd, weight_vd, bias_v, targets_c) for x_cd, targets_c in chunks]
    return torch.stack(losses).sum() / len(targets_n)


def _summed(x_cd: Tensor, weight_vd: Tensor, bias_v: Tensor | None, targets_c: Tensor) -> Tensor:
    logits_cv = linear(x_cd, weight_vd, bias_v).float()
    return F.cross_entropy(logits_cv, targets_c, reduction="sum")


class _ProjectedCrossEntropy(torch.autograd.Function):
    """The forward pass takes each chunk's gradient; the backward pass scales their sum."""

    @staticmethod
    def forward(
        ctx: Any,
        x_nd: Tensor,
        weight_vd: Tensor,
        bias_v: Tensor | None,
        targets_n: Tensor,
        chunk_tokens: int,
    ) -> Tensor:
        """Compute the loss and, chunk by chunk, its gradients."""
        total = torch.zeros((), device=x_nd.device)
        x_gradient = torch.empty_like(x_nd)
        weight_vd = weight_vd.detach().requires_grad_()
        bias_v = None if bias_v is None else bias_v.detach().requires_grad_()
        shared = [weight_vd] if bias_v is None else [weight_vd, bias_v]
        sums: list[Tensor] = []
        for start in range(0, len(targets_n), chunk_tokens):
            chunk = slice(start, start + chunk_tokens)
            x_cd = x_nd[chunk].detach().requires_grad_()
            with torch.enable_grad():
                loss = _summed(x_cd, weight_vd, bias_v, targets_n[chunk]) / len(targets_n)
            x_gradient[chunk], *gradients = torch.autograd.grad(loss, [x_cd, *shared])
            sums = _accumulated(sums, gradients, last=start + chunk_tokens >= len(targets_n))
            total += loss.detach()
        ctx.save_for_backward(x_gradient, *sums)
        ctx.types = [parameter.dtype for parameter in shared]
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """Scale the gradients by the loss's own."""
        scaled = ctx.saved_tensors
        # The gradient of a large matrix is not copied for nothing.
        if gradient.is_meta or gradient.item() != 1.0:
            scaled = tuple(gradient * saved for saved in ctx.saved_tensors)
        x, *shared = scaled
        weight, *bias = (g.to(dtype) for g, dtype in zip(shared, ctx.types, strict=True))
        return x, weight, bias[0] if bias else None, None, None


def _accumulated(sums: list[Tensor], gradients: list[Tensor], last: bool) -> list[Tensor]:
    """Add a chunk's gradients to those before, in fp32; a single chunk's stay as they are."""
    if not sums:
        return gradients if last else [gradient.float() for gradient in gradients]
    for summed, gradient in zip(sums, gradients, strict=True):
        summed.add_(gradient)
    return sums
