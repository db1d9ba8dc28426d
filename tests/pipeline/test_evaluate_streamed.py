"""Evaluation part by part: the numbers of the whole model, within the memory that was planned."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from pipeline.choices import Family
from pipeline.errors import ModelError
from pipeline.evaluation import plan
from pipeline.evaluation.arithmetic import multiplied_as, products
from pipeline.evaluation.plan import plan_streamed, resident_bytes
from pipeline.evaluation.streamed import groups, streamed_loss
from pipeline.models.families import TRAITS
from pipeline.models.huggingface import Checkpoint, export_parts, from_directory
from pipeline.models.shape import parameter_count
from pipeline.reporting.reading import EVALUATION
from pipeline.schema import ModelConfig
from pipeline.streaming.layout import parameter_shapes, part_names

CPU = torch.device("cpu")
each_family = pytest.mark.parametrize("family", Family)
each_type = pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])


def small(family: Family) -> ModelConfig:
    return ModelConfig(
        name="small",
        family=family,
        layers=3,
        hidden=32,
        heads=2,
        feed_forward=64,
        vocabulary=97,
        positions=16,
        rotary_dimensions=8 if TRAITS[family].rotary else 0,
    )


@pytest.fixture
def stored(tmp_path: Path) -> Callable[..., Checkpoint]:
    """A model of a family with random weights, in files."""
    torch.set_num_threads(1)

    def make(family: Family, dtype: torch.dtype) -> Checkpoint:
        generator = torch.Generator().manual_seed(3)
        parts = [
            (
                part,
                {
                    name: (0.3 * torch.randn(shape, generator=generator)).to(
                        dtype if len(shape) > 1 else torch.float32
                    )
                    for name, shape in shapes.items()
                },
            )
            for part, shapes in parameter_shapes(small(family)).items()
        ]
        export_parts(parts, small(family), tmp_path / "model", shard_bytes=10_000)
        return Checkpoint(small(family), tmp_path / "model")

    return make


def some_batches() -> list[Tensor]:
    """Three full batches and, as at the end of a split, a single shorter sequence."""
    generator = torch.Generator().manual_seed(4)
    shapes = [(4, 17), (4, 17), (2, 17), (1, 6)]
    return [torch.randint(97, shape, generator=generator) for shape in shapes]


def whole_model_loss(directory: Path, batches: list[Tensor], dtype: torch.dtype) -> float:
    _, decoder = from_directory(directory)
    with torch.no_grad(), products(dtype, CPU):
        losses = [decoder.loss(b[:, :-1], b[:, 1:]).item() * b[:, 1:].numel() for b in batches]
    return sum(losses) / sum(b[:, 1:].numel() for b in batches)


@each_family
@each_type
@pytest.mark.parametrize(("group_tokens", "passes"), [(1, 4), (100, 3), (10**9, 1)])
def test_the_loss_is_that_of_the_whole_model(
    family: Family,
    dtype: torch.dtype,
    group_tokens: int,
    passes: int,
    tmp_path: Path,
    stored: Callable[..., Checkpoint],
) -> None:
    checkpoint = stored(family, dtype)
    seen: Counter[str] = Counter()
    batches = some_batches()
    loss = streamed_loss(
        checkpoint, batches, group_tokens, CPU, lambda part, tokens: seen.update({part: tokens})
    )
    expected = whole_model_loss(tmp_path / "model", batches, multiplied_as(dtype))
    assert loss == pytest.approx(expected, rel=1e-6)
    assert len(list(groups(batches, group_tokens))) == passes
    tokens = sum(b[:, 1:].numel() for b in batches)
    assert seen == dict.fromkeys(part_names(checkpoint.model), tokens)


@pytest.mark.parametrize("stored_as", [torch.float16, torch.float64, torch.float32])
def test_only_bf16_is_multiplied_as_bf16(stored_as: torch.dtype) -> None:
    assert multiplied_as(stored_as) is torch.float32
    assert multiplied_as(torch.bfloat16) is torch.bfloat16


@each_type
def test_each_pass_reads_every_parameter_once(
    dtype: torch.dtype, stored: Callable[..., Checkpoint], monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = stored(Family.gptj, dtype)
    read: Counter[str] = Counter()
    original = Checkpoint.read_parameter

    def counted(self: Checkpoint, name: str) -> Tensor:
        read[name] += 1
        return original(self, name)

    monkeypatch.setattr(Checkpoint, "read_parameter", counted)
    streamed_loss(checkpoint, some_batches(), 100, CPU)
    assert set(read.values()) == {3}
    assert len(read) == sum(len(names) for names in checkpoint.parameters.values())


def test_a_file_that_goes_missing_is_named(
    tmp_path: Path, stored: Callable[..., Checkpoint]
) -> None:
    checkpoint = stored(Family.gptneox, torch.float32)
    shard = sorted((tmp_path / "model").glob("*.safetensors"))[4]
    shard.unlink()
    with pytest.raises(OSError, match=shard.name):
        streamed_loss(checkpoint, some_batches(), 100, CPU)


@settings(deadline=None)
@given(
    shapes=st.lists(st.tuples(st.integers(1, 5), st.integers(2, 9)), max_size=12),
    group_tokens=st.integers(1, 60),
)
def test_groups_keep_order_and_are_as_large_as_fits(
    shapes: list[tuple[int, int]], group_tokens: int
) -> None:
    batches = [torch.zeros(shape, dtype=torch.int64) for shape in shapes]
    found = list(groups(batches, group_tokens))
    assert [id(b) for group in found for b in group] == [id(b) for b in batches]
    sizes = [[b[:, 1:].numel() for b in group] for group in found]
    assert all(sum(group) <= group_tokens or len(group) == 1 for group in sizes)
    for group, following in pairwise(sizes):
        assert sum(group) + following[0] > group_tokens


@each_family
@each_type
def test_the_plan_shares_memory_or_says_how_much_it_takes(
    family: Family, dtype: torch.dtype, stored: Callable[..., Checkpoint]
) -> None:
    checkpoint = stored(family, dtype)
    with pytest.raises(ModelError, match=r"takes .* kB of memory, 1\.00 kB can be counted on"):
        plan_streamed(checkpoint, 1000, 64, CPU, 1000)
    memory_bytes = 4 * resident_bytes(checkpoint.model, dtype, 64)
    roomy = plan_streamed(checkpoint, 1000, 64, CPU, memory_bytes)
    assert roomy.passes == 1
    assert roomy.read_bytes == checkpoint.nbytes
    tight = plan_streamed(checkpoint, 10 * roomy.group_tokens, 64, CPU, memory_bytes)
    assert tight.passes >= 10
    operations = 2 * parameter_count(checkpoint.model) * 1000
    assert roomy.least_seconds == pytest.approx(operations / roomy.flops_per_second)
    assert "1,000 tokens, 1 pass reads" in roomy.describe(1000)
    assert f"{tight.passes} passes read each" in tight.describe(10 * roomy.group_tokens)


def test_a_gpu_with_less_memory_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "available_bytes", lambda: 1000)
    assert plan.free_bytes(CPU) == 800
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (500, 600))
    assert plan.free_bytes(torch.device("cuda")) == 400


@pytest.mark.slow
@each_type
def test_it_stays_within_the_memory_that_was_planned(dtype: torch.dtype, tmp_path: Path) -> None:
    script = Path(__file__).with_name("peak_of_evaluation.py")
    done = subprocess.run(
        [sys.executable, script, tmp_path, str(dtype).removeprefix("torch.")],
        cwd=Path(__file__).parents[2],
        # What is held counts here, not what glibc keeps for later of tensors below 32 MB.
        env={**os.environ, "MALLOC_MMAP_THRESHOLD_": "1000000", "PYTHONPATH": "."},
        capture_output=True,
        text=True,
        check=True,
    )
    peak = json.loads(done.stdout)
    assert peak["added"] < peak["planned"] < 0.6 * peak["whole"]
    assert peak["passes"] == 2


def test_the_report_reads_an_evaluation_without_samples() -> None:
    numbers = {"validation_loss": 2.0, "perplexity": 7.4, "bits_per_byte": 1.0, "seconds": 3.0}
    counts = {"tokens": 10, "bytes": 30}
    rest = {"config_hash": "a", "samples": [], "samples_note": "none written"}
    assert EVALUATION.validate_json(json.dumps(numbers | counts | rest), strict=True).samples == []
