"""Products of bf16 taken in fp32 are those of a processor that multiplies bf16 itself."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from pipeline.models import products

SIZES = st.integers(1, 40)
ROUNDING = 2**-8
"""Relative, of a number rounded to bf16."""


@pytest.fixture
def widened(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a processor without bf16 instructions, with several blocks in a small matrix."""
    monkeypatch.setattr(products, "processor_multiplies_bf16", lambda: False)
    monkeypatch.setattr(products, "BLOCK_ELEMENTS", 100)


def gradients_of(layer: products.Linear, x: torch.Tensor) -> list[torch.Tensor]:
    """Output, and gradients of the input, the matrix and the bias if there is one."""
    leaves = [x, *layer.parameters()]
    with torch.autocast("cpu", torch.bfloat16):
        y = layer(x)
    ramp = torch.linspace(-1, 1, y.numel(), dtype=y.dtype).view(y.shape)
    return [y, *torch.autograd.grad(y, leaves, ramp)]


def exact(layer: products.Linear, x: torch.Tensor) -> list[torch.Tensor]:
    """The same in fp64, from the values that bf16 keeps of the input and the matrix."""
    wide = [x.bfloat16().double(), *(p.bfloat16().double() for p in layer.parameters())]
    wide = [tensor.detach().requires_grad_() for tensor in wide]
    y = F.linear(*wide)
    ramp = torch.linspace(-1, 1, y.numel(), dtype=torch.bfloat16).double().view(y.shape)
    return [y, *torch.autograd.grad(y, wide, ramp)]


@pytest.mark.usefixtures("widened")
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("matrix_type", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize("shape", [(1,), (7,), (2, 5)])
def test_a_widened_layer_is_exact_but_for_its_rounding(shape, matrix_type, bias):
    torch.manual_seed(0)
    layer = products.Linear(33, 70, bias=bias)
    layer.weight.data = layer.weight.data.to(matrix_type)
    x = torch.randn(*shape, 33, requires_grad=True)
    found, expected = gradients_of(layer, x), exact(layer, x)
    assert found[0].dtype is torch.bfloat16
    assert [gradient.dtype for gradient in found[1:]] == [
        leaf.dtype for leaf in (x, *layer.parameters())
    ]
    for got, wanted in zip(found, expected, strict=True):
        assert got.is_contiguous()
        error = (got.double() - wanted).abs().max() / wanted.abs().max()
        assert error <= ROUNDING


@given(tokens=SIZES, outputs=SIZES, inputs=SIZES)
def test_whole_numbers_come_out_exact_whatever_the_shapes(tokens, outputs, inputs):
    # Small whole numbers and their sums are exact in fp32; up to 256 they are in bf16 as well.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(products, "processor_multiplies_bf16", lambda: False)
        patch.setattr(products, "BLOCK_ELEMENTS", 64)
        weight_oi = (torch.arange(outputs * inputs).view(outputs, inputs) % 3).bfloat16()
        x_ni = (torch.arange(tokens * inputs).view(tokens, inputs) % 3).bfloat16()
        g_no = (torch.arange(tokens * outputs).view(tokens, outputs) % 3).bfloat16()
        assert torch.equal(
            products.linear(x_ni, weight_oi, None).long(), x_ni.long() @ weight_oi.long().T
        )
        assert torch.equal(
            products.input_gradient(g_no, weight_oi).long(), g_no.long() @ weight_oi.long()
        )
        assert torch.equal(products.weight_gradient(g_no, x_ni).long(), g_no.long().T @ x_ni.long())


@pytest.mark.usefixtures("widened")
def test_a_matrix_that_learns_nothing_gets_no_gradient():
    layer = products.Linear(8, 8)
    layer.weight.requires_grad_(False)
    with torch.autocast("cpu", torch.bfloat16):
        layer(torch.randn(3, 8)).sum().backward()
    assert layer.weight.grad is None
    assert layer.bias.grad is not None


@pytest.mark.usefixtures("widened")
def test_attention_is_that_of_fp32_rounded():
    torch.manual_seed(0)
    heads = [torch.randn(1, 2, 9, 8).bfloat16() for _ in range(3)]
    found = products.causal_attention(*heads)
    wanted = F.scaled_dot_product_attention(*(head.double() for head in heads), is_causal=True)
    assert found.dtype is torch.bfloat16
    assert (found.double() - wanted).abs().max() <= ROUNDING * wanted.abs().max()


@pytest.mark.usefixtures("widened")
def test_fp32_is_multiplied_as_ever():
    layer, x = products.Linear(5, 6), torch.randn(4, 5)
    assert torch.equal(layer(x), F.linear(x, layer.weight, layer.bias))
