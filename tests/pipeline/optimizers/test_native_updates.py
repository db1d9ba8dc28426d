"""The native loops: as plain torch has it, for any shape, thread count and place in memory."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import settings as example_settings
from hypothesis import strategies as st

from pipeline.choices import Optimizer, Precision
from pipeline.optimizers import sum_of_squares

REPOSITORY = Path(__file__).parents[3]

RULES = [(optimizer, precision) for optimizer in Optimizer for precision in Precision]
SHAPES = [(1, 1), (1, 700), (700, 1), (3, 256), (129, 2047), (5, 2049), (300, 1001)]


def assert_alike(ours, theirs) -> None:
    """Sums in another order may move a bf16 weight or an 8-bit code to its neighbour, seldom."""
    torch.testing.assert_close(ours.master, theirs.master, rtol=1e-2, atol=2e-5)
    for key, mine in ours.tensors().items():
        other = theirs.tensors()[key]
        if mine.dtype == torch.float32:
            torch.testing.assert_close(mine, other, rtol=1e-5, atol=1e-7)
        elif key != "remainder":
            assert (mine != other).sum() <= 2 + mine.numel() / 1000, key


@pytest.mark.parametrize(("optimizer", "precision"), RULES)
@pytest.mark.parametrize("update_clip", [None, 0.3])
def test_native_and_eager_agree(case, settings, optimizer, precision, update_clip):
    dtype = torch.float32 if precision is Precision.fp32 else torch.bfloat16
    for shape in SHAPES:
        ours = case.drawn(optimizer, precision, shape)
        for step in range(1, 4):
            theirs = ours.copy()
            gradient = (torch.randn(shape) * 0.01).to(dtype)
            options = settings(
                optimizer=optimizer, step=step, update_clip=update_clip, gradient_scale=0.7
            )
            ours.update(gradient, options)
            theirs.update_eagerly(gradient, options)
            assert_alike(ours, theirs)


@example_settings(max_examples=40, deadline=None)
@given(
    st.lists(st.integers(1, 600), min_size=1, max_size=2).map(tuple),
    st.sampled_from(RULES),
    st.sampled_from([None, 0.5]),
    st.integers(0, 2**32),
)
def test_any_shape(case, settings, shape, rule, update_clip, seed):
    torch.manual_seed(seed)
    optimizer, precision = rule
    ours = case.drawn(optimizer, precision, shape)
    theirs = ours.copy()
    gradient = torch.randn(shape)
    options = settings(optimizer=optimizer, update_clip=update_clip)
    ours.update(gradient, options)
    theirs.update_eagerly(gradient, options)
    assert_alike(ours, theirs)


@pytest.mark.parametrize(("optimizer", "precision"), RULES)
def test_the_bits_do_not_depend_on_the_number_of_threads(case, settings, optimizer, precision):
    before = torch.get_num_threads()
    start = case.drawn(optimizer, precision, (1100, 1201))
    gradient = torch.randn(1100, 1201)
    if precision is Precision.bf16:
        gradient = gradient.bfloat16()
    results = []
    try:
        for threads in (1, 2, 5):
            torch.set_num_threads(threads)
            ours = start.copy()
            for step in (1, 2):
                ours.update(gradient, settings(optimizer=optimizer, step=step, update_clip=0.5))
            results.append((ours, sum_of_squares(gradient)))
    finally:
        torch.set_num_threads(before)
    for ours, total in results[1:]:
        assert total == results[0][1]
        for key, tensor in ours.tensors().items():
            assert torch.equal(tensor, results[0][0].tensors()[key]), key


@pytest.mark.parametrize("optimizer", list(Optimizer))
def test_tensors_that_are_views_of_one_buffer_are_updated_in_place(case, settings, optimizer):
    """As a store lends them: side by side, each at a multiple of 4096 bytes."""
    alone = case.drawn(optimizer, Precision.bf16, (65, 130))
    buffer = torch.full((1 << 20,), 0x55, dtype=torch.uint8)
    skipped = -buffer.data_ptr() % 4096
    views, covered = {}, torch.zeros_like(buffer, dtype=torch.bool)
    for key, tensor in alone.tensors().items():
        size = tensor.numel() * tensor.itemsize
        views[key] = buffer[skipped : skipped + size].view(tensor.dtype).view(tensor.shape)
        views[key].copy_(tensor)
        covered[skipped : skipped + size] = True
        skipped += -(-size // 4096) * 4096
    weight = views.pop("weight")
    lent = case(weight, views)
    gradient = torch.randn(65, 130).bfloat16()
    for each in (alone, lent):
        each.update(gradient, settings(optimizer=optimizer, update_clip=0.5))
    for key, tensor in alone.tensors().items():
        assert torch.equal(tensor, lent.tensors()[key]), key
    assert (buffer[~covered] == 0x55).all()


@pytest.mark.parametrize("optimizer", list(Optimizer))
def test_a_gradient_that_lies_transposed(case, settings, optimizer):
    ours = case.drawn(optimizer, Precision.bf16, (40, 70))
    theirs = ours.copy()
    gradient = torch.randn(70, 40).t()
    ours.update(gradient, settings(optimizer=optimizer))
    theirs.update(gradient.contiguous(), settings(optimizer=optimizer))
    assert torch.equal(ours.weight, theirs.weight)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda ours: ours.state.pop("exp_avg"), "exp_avg_sq.*needed"),
        (lambda ours: ours.state.update(exp_avg=torch.zeros(4, 5)), r"exp_avg is .*\(4, 5\)"),
        (lambda ours: ours.state.update(exp_avg=ours.state["exp_avg"].double()), "float64"),
        (lambda ours: setattr(ours, "weight", torch.zeros(6, 4).t()), "not contiguous"),
    ],
)
def test_tensors_that_do_not_fit_are_refused(case, settings, spoil, message):
    ours = case.drawn(Optimizer.adamw, Precision.fp32, (4, 6))
    spoil(ours)
    with pytest.raises(ValueError, match=f"w: .*{message}"):
        ours.update(torch.zeros(4, 6), settings(), name="w")


def test_a_gradient_that_does_not_fit_is_refused(case, settings):
    ours = case.drawn(Optimizer.adamw, Precision.fp32, (4, 6))
    with pytest.raises(ValueError, match=r"gradient is .*\(6, 4\)"):
        ours.update(torch.zeros(6, 4), settings())
    with pytest.raises(ValueError, match="float16"):
        ours.update(torch.zeros(4, 6).half(), settings())


def run(code: str) -> str:
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_numba_is_imported_at_the_first_update_only():
    code = "import sys, pipeline.optimizers; print('numba' in sys.modules)"
    assert run(code) == "False"


def test_without_a_folder_to_keep_compiled_code_in_it_is_compiled_again():
    code = (
        "import numba.core.caching as caching\n"
        "caching.CacheImpl._locator_classes = []\n"
        "import torch\n"
        "from pipeline.optimizers import sum_of_squares\n"
        "print(sum_of_squares(torch.ones(3, 4)))"
    )
    assert run(code) == "12.0"
