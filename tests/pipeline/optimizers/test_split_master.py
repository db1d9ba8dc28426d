"""An fp32 master in two halves loses nothing, and the upper half is the nearest bf16."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from pipeline.optimizers import join, split

SPECIAL = [
    0x00000000,  # zero
    0x80000000,  # minus zero
    0x00000001,  # the smallest denormal
    0x807FFFFF,  # the largest negative denormal
    0x3F808000,  # a tie
    0x3F818000,  # a tie after an odd number
    0x7F7F7FFF,  # the largest number that a finite bf16 is nearest to
    0x7F7FFFFF,  # the largest number
    0x7F800000,  # infinity
    0xFF800000,
    0x7FC00000,  # NaN
]


def floats(bits: list[int]) -> torch.Tensor:
    signed = [each - (1 << 32) if each >> 31 else each for each in bits]
    return torch.tensor(signed, dtype=torch.int32).view(torch.float32)


@given(st.lists(st.integers(0, 2**32 - 1) | st.sampled_from(SPECIAL), min_size=1))
def test_every_bit_of_any_master_comes_back(bits):
    master = floats(bits)
    nearest, remainder = split(master)
    assert (nearest.dtype, remainder.dtype) == (torch.bfloat16, torch.int16)
    assert torch.equal(join(nearest, remainder).view(torch.int32), master.view(torch.int32))


@given(st.lists(st.integers(0, 2**32 - 1) | st.sampled_from(SPECIAL), min_size=1))
def test_the_upper_half_is_a_nearest_bf16(bits):
    master = floats(bits)
    master = master[master.abs() <= floats([0x7F7F7FFF])]
    nearest, _ = split(master)
    ours = (nearest.double() - master.double()).abs()
    assert torch.equal(ours, (master.bfloat16().double() - master.double()).abs())
    assert torch.equal(nearest.signbit(), master.signbit())


def test_what_is_not_finite_shows_in_the_upper_half():
    nearest, _ = split(torch.tensor([float("inf"), -float("inf"), float("nan")]))
    assert nearest[0] == float("inf")
    assert nearest[1] == -float("inf")
    assert nearest[2].isnan()


def test_halves_keep_the_shape_of_a_matrix_that_lies_transposed():
    master = torch.randn(5, 7).t()
    nearest, remainder = split(master)
    assert nearest.shape == remainder.shape == (7, 5)
    assert torch.equal(join(nearest, remainder), master)
