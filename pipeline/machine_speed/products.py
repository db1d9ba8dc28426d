"""Measures matrix products and attention as autograd calls them, over a grid of shapes.

Shapes: n tokens, o outputs, i inputs; b sequences, h heads, t tokens, e elements of a head.
"""

from __future__ import annotations

import time
from itertools import product

import torch

from pipeline.machine_speed.speed import AttentionRate, ProductRate
from pipeline.machine_speed.timing import best_seconds
from pipeline.models.products import (
    causal_attention,
    input_gradient,
    linear,
    weight_gradient,
)

TOKENS = (128, 512, 2048)
SIZES = (256, 1024, 4096, 12288)
"""Square roots of outputs x inputs: 12288 is the 24576 x 6144 of a 20B layer."""
HALF_ASPECTS = (0.5, 1.0, 2.0)
"""Roots of outputs / inputs: a layer's matrices lie between 1 to 4 and 4 to 1."""

ATTENTION_TOKENS = (128, 512, 2048)
ATTENTION_HIDDEN = 1024
HEAD_SIZES = (32, 64, 128)

DTYPES = {"bf16": torch.bfloat16, "fp32": torch.float32}


def measure_products(precision: str, seconds: float, room_bytes: float) -> tuple[ProductRate, ...]:
    """Rates at the points of the grid, cheap ones first, while ``seconds`` last.

    Points whose matrices and products take more than ``room_bytes`` are left out; the first
    point is always measured.
    """
    grid = [
        (tokens, round(size * half), round(size / half))
        for tokens, size, half in product(TOKENS, SIZES, HALF_ASPECTS)
    ]
    rates: list[ProductRate] = []
    started = time.perf_counter()
    for tokens, outputs, inputs in sorted(grid, key=lambda point: point[0] * point[1] * point[2]):
        left = started + seconds - time.perf_counter()
        needed = 2 * DTYPES[precision].itemsize * (outputs * inputs + tokens * (outputs + inputs))
        if rates and (_guessed_seconds(rates[-1], tokens, outputs, inputs) > left):
            break
        if not rates or needed < room_bytes:
            rates.append(_product_rate(DTYPES[precision], tokens, outputs, inputs))
    return tuple(rates)


def _guessed_seconds(like: ProductRate, tokens: int, outputs: int, inputs: int) -> float:
    slowest = min(like.forward, like.input_gradient, like.weight_gradient)
    return 3 * 2.0 * tokens * outputs * inputs / (1e9 * slowest)


def _product_rate(dtype: torch.dtype, tokens: int, outputs: int, inputs: int) -> ProductRate:
    # The values do not matter; random ones would take longer to draw than to multiply.
    x_ni = torch.full((tokens, inputs), 0.01, dtype=dtype)
    weight_oi = torch.full((outputs, inputs), 0.01, dtype=dtype)
    bias_o = torch.full((outputs,), 0.01, dtype=dtype)
    gradient_no = torch.full((tokens, outputs), 0.01, dtype=dtype)
    operations = 2e-9 * tokens * outputs * inputs
    return ProductRate(
        tokens,
        outputs,
        inputs,
        forward=operations / best_seconds(lambda: linear(x_ni, weight_oi, bias_o)),
        input_gradient=operations / best_seconds(lambda: input_gradient(gradient_no, weight_oi)),
        weight_gradient=operations / best_seconds(lambda: weight_gradient(gradient_no, x_ni)),
    )


def measure_attention(precision: str, most_tokens: int) -> tuple[AttentionRate, ...]:
    """Rates of causal attention of one sequence, up to ``most_tokens``, at least the shortest."""
    lengths = [n for n in ATTENTION_TOKENS if n <= max(most_tokens, ATTENTION_TOKENS[0])]
    return tuple(
        _attention_rate(DTYPES[precision], tokens, head_size)
        for tokens, head_size in product(lengths, HEAD_SIZES)
    )


def _attention_rate(dtype: torch.dtype, tokens: int, head_size: int) -> AttentionRate:
    shape = (1, tokens, ATTENTION_HIDDEN // head_size, head_size)
    query, key, value = inputs = [
        torch.randn(shape).to(dtype).transpose(1, 2).requires_grad_() for _ in range(3)
    ]
    gradient = torch.randn(shape).to(dtype).transpose(1, 2)

    def forward() -> torch.Tensor:
        return causal_attention(query, key, value)

    output = forward()

    def backward() -> object:
        return torch.autograd.grad(output, inputs, gradient, retain_graph=True)

    operations = 4e-9 * tokens**2 * ATTENTION_HIDDEN
    return AttentionRate(
        tokens,
        head_size,
        forward=operations / best_seconds(forward),
        # Five products of the backward pass for two of the forward pass.
        backward=2.5 * operations / best_seconds(backward),
    )
