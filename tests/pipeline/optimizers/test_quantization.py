"""8-bit blocks: the tree of values, the nearest code, and the table that finds it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pipeline.optimizers.layout import BLOCK
from pipeline.optimizers.quantization import boundaries, cells, dequantize, quantize, tree


def test_the_tree_is_that_of_the_paper():
    signed, unsigned = tree(signed=True), tree(signed=False)
    for values in (signed, unsigned):
        assert len(set(values.tolist())) == 256
        assert torch.equal(values, values.sort().values)
        assert values.max() == 1
        assert 0 in values
    assert torch.allclose(signed[:127], -signed[128:255].flip(0))
    assert unsigned[:4].tolist() == pytest.approx([0, 3.25e-7, 7.75e-7, 2.125e-6])
    assert signed[126:130].tolist() == pytest.approx([-5.5e-7, 0, 5.5e-7, 3.25e-6])


@pytest.mark.parametrize("signed", [True, False])
def test_every_value_of_the_tree_keeps_its_code(signed):
    values = tree(signed) * 3
    codes, scales = quantize(values, signed)
    expected = torch.arange(256)
    if not signed:
        expected[0] = 1
    assert torch.equal(codes.int(), expected.int())
    assert scales.tolist() == [3.0]


@given(st.lists(st.floats(-1e3, 1e3, width=32), min_size=1, max_size=3 * BLOCK))
def test_signed_codes_are_the_nearest(values):
    tensor = torch.tensor(values)
    codes, scales = quantize(tensor, signed=True)
    assert len(scales) == -(-len(values) // BLOCK)
    for start in range(0, len(values), BLOCK):
        part = tensor[start : start + BLOCK].double()
        scale = scales[start // BLOCK].double()
        error = (
            dequantize(codes, scales, signed=True)[start : start + BLOCK].double() - part
        ).abs()
        best = (tree(True).double() * scale - part[:, None]).abs().amin(dim=1)
        assert (error <= best + 1e-6 * scale + 1e-37).all()


def test_a_second_moment_is_never_rounded_to_zero_unless_all_of_its_block_is():
    values = torch.zeros(2 * BLOCK)
    values[0], values[1] = 1.0, 1e-12
    codes, scales = quantize(values, signed=False)
    restored = dequantize(codes, scales, signed=False)
    assert (restored[:BLOCK] > 0).all()
    assert (restored[BLOCK:] == 0).all()


def test_a_zero_state_stands_for_zeros():
    codes, scales = torch.zeros(BLOCK, dtype=torch.uint8), torch.zeros(1)
    for signed in (True, False):
        assert (dequantize(codes, scales, signed) == 0).all()


def test_a_block_that_is_not_finite_says_so():
    values = torch.ones(2 * BLOCK)
    values[3] = float("nan")
    restored = dequantize(*quantize(values, signed=True), signed=True)
    assert restored[:BLOCK].isnan().all()
    assert torch.equal(restored[BLOCK:], values[BLOCK:])


@pytest.mark.parametrize("signed", [True, False])
def test_the_table_finds_the_code_of_the_floats_around_every_boundary(signed):
    """The table is read here as the native loop reads it."""
    edges = boundaries(signed).numpy()
    near = np.concatenate([edges, np.nextafter(edges, 2), np.nextafter(edges, -2)])
    numbers = np.concatenate([near, tree(signed).numpy(), np.linspace(-1, 1, 10_001)])
    numbers = numbers[numbers >= (-1 if signed else 1e-30)].astype(np.float32)
    bits = numbers.view(np.uint32)
    table = cells(signed)
    size = len(table) // 2
    first = 127 * 128 + 1 - size
    spots = np.clip((bits >> 16) & 0x7FFF, first, 127 * 128).astype(np.int64) - first
    negative = (bits >> 31).astype(np.int64)
    entries = table[spots + size * negative]
    beyond = ((bits & 0xFFFF) > (entries & 0xFFFF)).astype(np.int64)
    codes = (entries >> 16) + beyond * (1 - 2 * negative)
    assert np.array_equal(codes, np.searchsorted(edges, numbers))
