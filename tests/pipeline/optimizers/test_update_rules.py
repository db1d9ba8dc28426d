"""The rules against torch's own optimizers, and what they promise by themselves."""

from __future__ import annotations

import math

import pytest
import torch

from pipeline.choices import Optimizer, Precision
from pipeline.optimizers import sum_of_squares

STEPS = 8
SHAPE = (37, 53)


def gradients(shape: tuple[int, ...], steps: int = STEPS) -> list[torch.Tensor]:
    return [torch.randn(shape) * 10.0 ** -(step % 4) for step in range(steps)]


@pytest.mark.parametrize("shape", [SHAPE, (61,)])
@pytest.mark.parametrize("precision", [Precision.fp32, Precision.bf16])
def test_adamw_does_what_torch_does(case, settings, shape, precision):
    """A master stays within 2e-7 of torch's in 8 steps of 1e-3, whole or split."""
    ours = case.drawn(Optimizer.adamw, precision, shape)
    theirs = torch.nn.Parameter(ours.master.clone())
    decay = 0.1 if len(shape) == 2 else 0.0
    reference = torch.optim.AdamW([theirs], lr=1e-3, betas=(0.9, 0.95), weight_decay=decay)
    for step, gradient in enumerate(gradients(shape), start=1):
        theirs.grad = gradient * 0.5
        reference.step()
        ours.update(gradient, settings(step=step, gradient_scale=0.5))
    assert (ours.master - theirs.detach()).abs().max() < 2e-7
    kept = reference.state[theirs]
    for key in ("exp_avg", "exp_avg_sq"):
        torch.testing.assert_close(ours.state[key], kept[key], rtol=2e-6, atol=1e-12)


def test_the_bf16_weight_is_the_master_rounded(case, settings):
    ours = case.drawn(Optimizer.adamw, Precision.bf16, SHAPE)
    for step, gradient in enumerate(gradients(SHAPE), start=1):
        ours.update(gradient, settings(step=step))
    error = (ours.weight.float() - ours.master).abs()
    assert torch.equal(error, (ours.master.bfloat16().float() - ours.master).abs())


@pytest.mark.parametrize("shape", [SHAPE, (61,)])
@pytest.mark.parametrize("learning_rate", [1e-2, 10.0])
def test_adafactor_does_what_torch_does(case, settings, shape, learning_rate):
    """fp32 weights stay within 2e-6 of their magnitude; the rate is 1/sqrt(step) at most."""
    weight = torch.randn(shape) * 0.02
    ours = case(weight.clone(), case.of(Optimizer.adafactor, Precision.fp32, weight).state)
    theirs = torch.nn.Parameter(weight.clone())
    decay = 0.01 if len(shape) == 2 else 0.0
    reference = torch.optim.Adafactor([theirs], lr=learning_rate, weight_decay=decay, d=1.0)
    for step, gradient in enumerate(gradients(shape), start=1):
        theirs.grad = gradient * 0.5
        reference.step()
        options = {"learning_rate": learning_rate, "weight_decay": 0.01, "update_clip": 1.0}
        ours.update(
            gradient,
            settings(optimizer=Optimizer.adafactor, step=step, gradient_scale=0.5, **options),
        )
    scale = theirs.detach().abs().max()
    assert (ours.weight - theirs.detach()).abs().max() < 2e-6 * scale


def test_adafactor_in_bf16_follows_its_fp32_self(case, settings):
    start = (torch.randn(SHAPE) * 0.02).bfloat16()
    state = case.of(Optimizer.adafactor, Precision.fp32, start.float()).state
    whole, half = case(start.float(), state), case(start.clone(), state).copy()
    signal = torch.randn(SHAPE)
    for step in range(1, 51):
        gradient = signal + torch.randn(SHAPE)
        for each in (whole, half):
            options = settings(optimizer=Optimizer.adafactor, step=step, learning_rate=1e-2)
            each.update(gradient, options)
    way = (whole.weight - start).norm()
    assert (whole.weight - half.weight).norm() < 0.05 * way


def test_adamw8bit_follows_adamw(case, settings):
    """The state is an eighth as large as a signal, and the way differs by a tenth of its length."""
    shape = (64, 96)
    whole = case.drawn(Optimizer.adamw, Precision.bf16, shape)
    small = case(whole.weight.clone(), case.drawn(Optimizer.adamw8bit, Precision.bf16, shape).state)
    small.state["remainder"].copy_(whole.state["remainder"])
    start = whole.master
    signal = torch.randn(shape)
    for step in range(1, 31):
        gradient = signal + torch.randn(shape)
        whole.update(gradient, settings(step=step))
        small.update(gradient, settings(optimizer=Optimizer.adamw8bit, step=step))
    way = (whole.master - start).norm()
    assert (small.master - whole.master).norm() < 0.1 * way


@pytest.mark.parametrize("optimizer", [Optimizer.adamw, Optimizer.adamw8bit])
def test_clipping_adamws_divides_the_step_by_what_is_too_much(case, settings, optimizer):
    """At step 1 gradient / root moment is 1 everywhere: a limit of 1/4 divides by 4."""
    weight = torch.randn(SHAPE) * 0.02
    free, clipped = (case.of(optimizer, Precision.fp32, weight.clone()) for _ in range(2))
    gradient = torch.randn(SHAPE)
    free.update(gradient, settings(optimizer=optimizer, learning_rate=1e-3))
    clipped.update(gradient, settings(optimizer=optimizer, learning_rate=4e-3, update_clip=0.25))
    torch.testing.assert_close(free.weight, clipped.weight, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("optimizer", list(Optimizer))
def test_a_limit_that_is_not_reached_changes_nothing(case, settings, optimizer):
    free = case.drawn(optimizer, Precision.bf16, SHAPE)
    limited = free.copy()
    gradient = torch.randn(SHAPE)
    free.update(gradient, settings(optimizer=optimizer))
    limited.update(gradient, settings(optimizer=optimizer, update_clip=1e6))
    assert torch.equal(free.weight, limited.weight)


@pytest.mark.parametrize("optimizer", list(Optimizer))
@pytest.mark.parametrize("precision", list(Precision))
@pytest.mark.parametrize("shape", [SHAPE, (61,)])
def test_nothing_comes_of_a_zero_gradient(case, settings, optimizer, precision, shape):
    ours = case.drawn(optimizer, precision, shape)
    before = ours.master
    for step in range(1, 4):
        ours.update(torch.zeros(shape), settings(optimizer=optimizer, step=step, update_clip=1.0))
    decayed = before * (1 - 1e-4) ** 3 if len(shape) == 2 else before
    tolerance = 0.02 if ours.weight.dtype == torch.bfloat16 else 1e-6
    torch.testing.assert_close(ours.master, decayed, rtol=tolerance, atol=1e-9)
    assert all(each.float().isfinite().all() for each in ours.state.values())


@pytest.mark.parametrize("optimizer", list(Optimizer))
@pytest.mark.parametrize("size", [1e-18, 1e-9, 1e9, 1e18])
def test_gradients_of_any_size_give_finite_weights(case, settings, optimizer, size):
    ours = case.drawn(optimizer, Precision.bf16, SHAPE)
    for step in range(1, 4):
        gradient = (torch.randn(SHAPE) * size).bfloat16()
        ours.update(gradient, settings(optimizer=optimizer, step=step, update_clip=1.0))
        assert ours.weight.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", [(1,), (7,), (3, 1000), (700, 999)])
def test_the_sum_of_squares_is_that_of_fp64(dtype, shape):
    values = (torch.randn(shape) * 1e25).to(dtype)
    assert math.isclose(sum_of_squares(values), values.double().square().sum(), rel_tol=1e-12)
    assert sum_of_squares(values.t() if values.dim() == 2 else values[::2]) > 0


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_the_sum_of_squares_says_what_is_not_finite(bad):
    values = torch.randn(700, 999)
    values[-1, 5] = bad
    for dtype in (torch.float32, torch.bfloat16):
        total = sum_of_squares(values.to(dtype))
        assert math.isnan(total) if math.isnan(bad) else total == math.inf
