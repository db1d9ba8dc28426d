"""The matrix products of linear layers and attention, whatever the processor multiplies itself.

PyTorch multiplies bf16 matrices many times slower than fp32 ones on a processor without bf16
instructions: 0.3 to 20 GFLOP/s beside 110 to 140, measured on two AVX2 cores. There the products
of bf16 are taken in fp32, a block of the matrix at a time: the product of two bf16 numbers is exact
in fp32, so the result is that of a processor with bf16 instructions but for the order of its sums.

Shapes: n tokens, o outputs, i inputs; b sequences, h heads, t tokens, e elements of a head.
"""

from __future__ import annotations

import threading
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

BLOCK_ELEMENTS = 1 << 22
"""Of a matrix made fp32 at a time, 16 MiB: the fastest of three sizes tried on two AVX2 cores."""


class Linear(nn.Linear):
    """``torch.nn.Linear`` whose products are :func:`linear`'s."""

    def forward(self, x: Tensor) -> Tensor:
        """(..., inputs) -> (..., outputs)."""
        return linear(x, self.weight, self.bias)


def linear(x: Tensor, weight_oi: Tensor, bias_o: Tensor | None) -> Tensor:
    """``x W^T + b`` of x (..., i), in the type that autocast asks for."""
    if not _is_widened(x):
        return F.linear(x, weight_oi, bias_o)
    x, weight_oi = x.to(torch.bfloat16), weight_oi.to(torch.bfloat16)
    return _WidenedLinear.apply(x, weight_oi, bias_o)


def causal_attention(query_bhte: Tensor, key_bhte: Tensor, value_bhte: Tensor) -> Tensor:
    """What every token gathers from itself and those before it, (b, h, t, e)."""
    if not _is_widened(query_bhte):
        return F.scaled_dot_product_attention(query_bhte, key_bhte, value_bhte, is_causal=True)
    with torch.autocast("cpu", enabled=False):
        query, key, value = (
            heads.to(torch.bfloat16).float() for heads in (query_bhte, key_bhte, value_bhte)
        )
        gathered_bhte = F.scaled_dot_product_attention(query, key, value, is_causal=True)
        return gathered_bhte.to(torch.bfloat16)


def input_gradient(gradient_no: Tensor, weight_oi: Tensor) -> Tensor:
    """``g W``, as the backward pass of :func:`linear` takes it."""
    if not _is_widened(gradient_no):
        return gradient_no @ weight_oi
    return _input_gradient(gradient_no, weight_oi)


def weight_gradient(gradient_no: Tensor, x_ni: Tensor) -> Tensor:
    """``g^T x``, as the backward pass of :func:`linear` takes it."""
    if not _is_widened(gradient_no):
        return gradient_no.T @ x_ni
    return _weight_gradient(gradient_no, x_ni)


@cache
def processor_multiplies_bf16() -> bool:
    """Whether oneDNN, which PyTorch multiplies with, has bf16 products for this processor."""
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def _is_widened(x: Tensor) -> bool:
    if x.device.type != "cpu" or processor_multiplies_bf16():
        return False
    autocast = torch.is_autocast_enabled("cpu")
    return (torch.get_autocast_dtype("cpu") if autocast else x.dtype) is torch.bfloat16


class _WidenedLinear(torch.autograd.Function):
    """A linear layer of bf16, multiplied in fp32; a bias of any type is added before rounding."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight_oi: Tensor, bias_o: Tensor | None) -> Tensor:
        """(..., i) -> (..., o), both bf16."""
        ctx.save_for_backward(x, weight_oi)
        ctx.bias_type = None if bias_o is None else bias_o.dtype
        y_no = _forward(x.flatten(0, -2), weight_oi, bias_o)
        return y_no.unflatten(0, x.shape[:-1])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of the input, the matrix and the bias, each in its own type."""
        x, weight_oi = ctx.saved_tensors
        gradient_no, x_ni = gradient.flatten(0, -2), x.flatten(0, -2)
        needs_x, needs_weight, needs_bias = ctx.needs_input_grad
        of_x = of_weight = of_bias = None
        if needs_x:
            of_x = _input_gradient(gradient_no, weight_oi).unflatten(0, x.shape[:-1])
        if needs_weight:
            of_weight = _weight_gradient(gradient_no, x_ni)
        if needs_bias:
            of_bias = gradient_no.sum(0, dtype=torch.float32).to(ctx.bias_type)
        return of_x, of_weight, of_bias


# With the few tokens of a micro-batch as columns the products were faster than with them as rows.


def _forward(x_ni: Tensor, weight_oi: Tensor, bias_o: Tensor | None) -> Tensor:
    outputs, inputs = weight_oi.shape
    x_in = x_ni.float().t()
    y_on = torch.empty(outputs, len(x_ni))
    block, size = _block(outputs, inputs)
    for start in range(0, outputs, size):
        rows = weight_oi[start : start + size]
        wide = block[: rows.numel()].view(rows.shape).copy_(rows)
        torch.mm(wide, x_in, out=y_on[start : start + size])
    if bias_o is not None:
        y_on += bias_o.float()[:, None]
    return y_on.t().to(torch.bfloat16, memory_format=torch.contiguous_format)


def _input_gradient(gradient_no: Tensor, weight_oi: Tensor) -> Tensor:
    outputs, inputs = weight_oi.shape
    gradient_on = gradient_no.float().t()
    x_in = torch.empty(inputs, len(gradient_no))
    block, size = _block(inputs, outputs)
    for start in range(0, inputs, size):
        columns = weight_oi[:, start : start + size]
        wide = block[: columns.numel()].view(columns.shape).copy_(columns)
        torch.mm(wide.t(), gradient_on, out=x_in[start : start + size])
    return x_in.t().to(torch.bfloat16, memory_format=torch.contiguous_format)


def _weight_gradient(gradient_no: Tensor, x_ni: Tensor) -> Tensor:
    outputs, inputs = gradient_no.shape[-1], x_ni.shape[-1]
    gradient_on, x_wide = gradient_no.float().t(), x_ni.float()
    weight_oi = torch.empty(outputs, inputs, dtype=torch.bfloat16)
    block, size = _block(outputs, inputs)
    for start in range(0, outputs, size):
        rows = weight_oi[start : start + size]
        wide = block[: rows.numel()].view(rows.shape)
        rows.copy_(torch.mm(gradient_on[start : start + size], x_wide, out=wide))
    return weight_oi


def _block(lines: int, length: int) -> tuple[Tensor, int]:
    """Memory for a block of lines of a matrix in fp32, and how many lines it holds.

    Every thread has its own, of the largest size yet: taken anew for each product, it would come
    to lie elsewhere each time, and leave a gap as large behind what is kept in between.
    """
    size = min(lines, max(1, BLOCK_ELEMENTS // length))
    block: Tensor | None = getattr(_of_thread, "block", None)
    if block is None or block.numel() < size * length:
        # The old one goes first. An inference tensor could be written to in that mode alone.
        _of_thread.block = block = None
        with torch.inference_mode(False):
            _of_thread.block = block = torch.empty(size * length)
    return block, size


_of_thread = threading.local()
