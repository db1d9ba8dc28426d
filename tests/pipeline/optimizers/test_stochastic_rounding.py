"""Rounding to bf16 by hashed bits: unbiased, reproducible, and never beyond what is finite."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from numba import njit

from pipeline.choices import Optimizer, Precision
from pipeline.optimizers.native import bits
from pipeline.optimizers.rounding import random_bits, random_key, round_stochastically

CPU = torch.device("cpu")
ALL = torch.Size([2**16])


def rounded(values: torch.Tensor, seed: int = 0, step: int = 1, name: str = "a") -> torch.Tensor:
    random = random_bits(random_key(seed, step, name), 0, values.shape, values.device)
    return round_stochastically(values, random)


def test_the_mean_over_many_keys_is_the_number_itself():
    low, high = 1.0, 1.0078125  # neighbours in bf16
    for share in (0.01, 0.25, 0.5, 0.9):
        value = torch.full((64,), low + share * (high - low))
        ups = torch.stack([rounded(value, step=step) == high for step in range(1, 401)]).float()
        deviation = (share * (1 - share)) ** 0.5
        assert abs(ups.mean() - share) < 4.5 * deviation / (64 * 400) ** 0.5
        each = (ups.mean(dim=0) - share).abs().max()  # of each element, over the steps
        assert each < 4.5 * deviation / 400**0.5


def test_the_bits_of_a_tensor_are_even_and_neighbours_do_not_agree():
    bits = random_bits(random_key(1, 2, "weight"), 0, ALL, CPU).double()
    assert bits.min() >= 0
    assert bits.max() < 65536
    assert abs(bits.mean() / 65535 - 0.5) < 4.5 / 12**0.5 / 256
    for distance in (1, 2, 256, 6144):
        pairs = torch.stack([bits[:-distance], bits[distance:]])
        assert abs(torch.corrcoef(pairs)[0, 1]) < 4.5 / 250
    counts = torch.bincount((bits / 256).long(), minlength=256).double()
    assert abs(((counts - 256) ** 2 / 256).sum() - 255) < 4.5 * (2 * 255) ** 0.5


def test_the_bits_of_two_keys_do_not_agree():
    first = random_bits(random_key(0, 1, "a"), 0, ALL, CPU)
    for other in (random_key(1, 1, "a"), random_key(0, 2, "a"), random_key(0, 1, "b")):
        second = random_bits(other, 0, ALL, CPU)
        assert (first == second).float().mean() < 0.001
        pairs = torch.stack([first, second]).double()
        assert abs(torch.corrcoef(pairs)[0, 1]) < 4.5 / 256
    assert torch.equal(first, random_bits(random_key(0, 1, "a"), 0, ALL, CPU))


def test_a_part_of_a_tensor_has_the_bits_that_it_has_within_the_whole():
    key = random_key(0, 1, "a")
    for start in (100, 2**31 - 5, 2**32 - 7):
        whole = random_bits(key, start - 100, torch.Size([120]), CPU)
        assert torch.equal(whole[100:], random_bits(key, start, torch.Size([20]), CPU))


@given(st.floats(width=32), st.integers(1, 1000))
def test_a_number_becomes_a_neighbour_in_bf16_and_nothing_finite_infinite(value, step):
    master = torch.tensor([value])
    result = rounded(master, step=step)
    if master.isnan():
        assert result.isnan()
    elif master.isinf():
        assert result.float() == master
    else:
        assert result.isfinite()
        below = (master.view(torch.int32) & -65536).view(torch.float32)
        above = (below.view(torch.int32) + 65536).view(torch.float32)
        assert result.float() in (below, above)


def test_the_largest_numbers_do_not_become_infinite_nor_nan_a_number():
    bits = [0x7F7F0001, 0x7F7FFFFF, 0x7F800000, 0x7FC00000, 0x7FFFFFFF]
    values = torch.tensor(bits, dtype=torch.int32).view(torch.float32)
    for signed in (values, -values):
        for step in range(1, 50):
            result = rounded(signed, step=step)
            assert result[:2].isfinite().all()
            assert result[2].isinf()
            assert result[3:].isnan().all()


def test_the_native_bits_and_rounding_are_the_same():
    @njit
    def natively(values, result, start, low, high):
        for i in range(values.size):
            random = bits.random16(np.uint32(start + i), low, high)
            result[i] = bits.narrow(values[i], random, result[i])

    patterns = torch.randint(-(2**31), 2**31, (20_000,)).int()
    values = torch.cat([patterns.view(torch.float32), torch.randn(20_000)])
    key, start = random_key(1, 2, "weight"), 2**32 - 30_000
    result = np.zeros(values.numel(), np.uint16)
    natively(values.numpy(), result, start, np.uint32(key.low), np.uint32(key.high))
    random = random_bits(key, start, values.shape, CPU)
    expected = round_stochastically(values, random).view(torch.int16).numpy().view(np.uint16)
    assert np.array_equal(result, expected)


def test_what_bf16_can_say_is_kept():
    values = torch.randn(1000).bfloat16().float()
    for step in range(1, 20):
        assert torch.equal(rounded(values, step=step).float(), values)


def test_an_update_depends_on_seed_step_and_name_and_on_nothing_else(case, settings):
    start = case.drawn(Optimizer.adafactor, Precision.bf16, (40, 50))
    gradient = torch.randn(40, 50)

    def updated(name: str = "weight", **fields: int) -> torch.Tensor:
        fresh = start.copy()
        fresh.update(gradient, settings(optimizer=Optimizer.adafactor, **fields), name)
        return fresh.weight

    assert torch.equal(updated(), updated())
    assert not torch.equal(updated(), updated(name="other"))
    assert not torch.equal(updated(), updated(seed=6))


def test_updates_too_small_for_bf16_add_up(case, settings):
    """A step of a fiftieth of the distance between bf16 neighbours, a hundred times."""
    weight = torch.ones(64, 64)
    ours = case.of(Optimizer.adafactor, Precision.bf16, weight)
    gradient = torch.ones(64, 64)
    for step in range(1, 101):
        ours.update(
            gradient,
            settings(
                optimizer=Optimizer.adafactor, step=step, learning_rate=8e-5, weight_decay=0.0
            ),
        )
    moved = (weight - ours.weight.float()).mean()
    assert abs(moved - 100 * 8e-5) < 2e-4
