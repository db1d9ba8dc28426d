"""Streaming and resident training are one algorithm: every number they give is the same."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest
import torch
from _pytest.mark import ParameterSet
from safetensors.torch import load_file

from pipeline.corpus.shards import TokenSplit
from pipeline.models.decoder import Decoder, allocate
from pipeline.models.initialization import initialize
from pipeline.schema import ModelConfig, TrainConfig
from pipeline.streaming.plan import minimum_streaming_bytes
from pipeline.training.batches import Batches
from pipeline.training.schedule import learning_rate
from tests.pipeline.streaming.runs import (
    FAMILIES,
    LARGEST_BYTES,
    OPTIMIZERS,
    assert_same_end,
    finite,
    give_speed,
    history,
    metrics,
    small,
)

STREAMING, RESIDENT = "train.execution=streaming", "train.execution=resident"


def assert_trained(folder: Path, execution: str, clip: float) -> None:
    """The run was done as it was asked to, learned something, and its gradients were clipped."""
    assert metrics(folder)["execution"] == execution
    records = history(folder)
    assert finite(records)
    losses = [record["loss"] for record in records if "loss" in record]
    assert len(losses) == len(set(losses)) == metrics(folder)["steps"]
    assert len([record for record in records if "validation_loss" in record]) == 2
    assert max(record.get("gradient_norm", 0) for record in records) > clip


def combinations() -> Iterator[ParameterSet]:
    """All of them, every second one long: the others have each three choices with each fourth."""
    choices = [FAMILIES, OPTIMIZERS, ("fp32", "bf16"), ("norm", "update"), (2, 4)]
    for numbered in product(*map(enumerate, choices)):
        numbers, values = zip(*numbered, strict=True)
        yield pytest.param(*values, marks=[pytest.mark.long] if sum(numbers) % 2 else [])


@pytest.mark.parametrize(
    ("family", "optimizer", "precision", "clip_by", "micro_batch"), list(combinations())
)
def test_streaming_equals_resident(trained, family, optimizer, precision, clip_by, micro_batch):
    run = small(
        family,
        optimizer,
        f"train.precision={precision}",
        f"train.clip_by={clip_by}",
        f"train.micro_batch={micro_batch}",
    )
    resident = trained(*run, RESIDENT, "run=resident")
    streaming = trained(*run, STREAMING, "run=streaming")
    assert_trained(resident, "resident", clip=0.5)
    assert_trained(streaming, "streaming", clip=0.5)
    assert_same_end(resident, streaming)


@pytest.mark.parametrize("family", FAMILIES)
def test_streaming_equals_resident_where_nothing_is_clipped(trained, family):
    run = small(family, "adamw", "train.gradient_clip=null")
    resident = trained(*run, RESIDENT, "run=resident")
    streaming = trained(*run, STREAMING, "run=streaming")
    assert_same_end(resident, streaming)


def test_streaming_equals_resident_on_two_threads(trained, tmp_path):
    give_speed(tmp_path / "results", threads=2)
    torch.set_num_threads(2)
    run = small("gptneox", "adafactor", "train.precision=bf16", "model.hidden=64")
    resident = trained(*run, RESIDENT, "run=resident")
    streaming = trained(*run, STREAMING, "run=streaming")
    assert_same_end(resident, streaming)


def test_streaming_equals_resident_from_the_weights_of_a_directory(trained, overrides):
    first = trained(*small("gptj", "adamw"), RESIDENT, "run=first")
    overrides[:] = [item for item in overrides if not item.startswith("model")]
    tuning = [item for item in small("gptj", "adafactor") if not item.startswith("model")]
    given = ["model=hf", f"model.path={first / 'model'}"]
    resident = trained(*tuning, *given, RESIDENT, "run=resident")
    streaming = trained(*tuning, *given, STREAMING, "run=streaming")
    assert_same_end(resident, streaming)
    assert history(streaming)[0]["loss"] < history(first)[0]["loss"]


@pytest.mark.parametrize("clip_by", ["norm", "update"])
@pytest.mark.parametrize("micro_batch", [2, 4])
@pytest.mark.parametrize(
    ("family", "optimizer", "precision"),
    [("gpt2", "adamw", "fp32"), ("gptj", "adafactor", "bf16"), ("gptneox", "adamw8bit", "bf16")],
)
def test_the_memory_changes_nothing(
    trained, job, family, optimizer, precision, micro_batch, clip_by
):
    run = small(
        family,
        optimizer,
        f"train.precision={precision}",
        f"train.micro_batch={micro_batch}",
        f"train.clip_by={clip_by}",
        "train.sequence_length=64",
        "model.layers=5",
    )
    config = job("train", *run).config
    least = minimum_streaming_bytes(config.model, config.train)
    tight_memory = f"device.memory={math.ceil(least / 1024)}KiB"
    large_memory = f"device.memory={LARGEST_BYTES // 2**30}GiB"
    tight = trained(*run, STREAMING, tight_memory, "run=tight")
    large = trained(*run, STREAMING, large_memory, "run=large")
    resident = trained(*run, RESIDENT, "run=resident")
    tight_plan, large_plan = metrics(tight)["plan"], metrics(large)["plan"]
    assert tight_plan["spilled_layers"] > 0
    assert tight_plan["kept_layers"] == 0
    assert large_plan["spilled_layers"] == 0
    assert large_plan["kept_layers"] > 0
    assert metrics(tight)["bytes_read"] > metrics(large)["bytes_read"]
    assert_same_end(tight, resident)
    assert_same_end(large, resident)


# An oracle that shares no code with either: autograd over the whole decoder, torch's own AdamW


def decoder_and_optimizer(
    model: ModelConfig, train: TrainConfig
) -> tuple[Decoder, torch.optim.Optimizer]:
    decoder = allocate(model)
    initialize(decoder, train.seed)
    matrices = [p for p in decoder.parameters() if p.dim() >= 2]
    vectors = [p for p in decoder.parameters() if p.dim() < 2]
    groups = [
        {"params": matrices, "weight_decay": train.weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    betas = (train.beta1, train.beta2)
    return decoder, torch.optim.AdamW(groups, lr=1.0, betas=betas, eps=train.epsilon)


def reference(model: ModelConfig, train: TrainConfig, split: TokenSplit) -> list[dict[str, float]]:
    """Loss and gradient norm of each step by plain PyTorch, the batch as a whole."""
    decoder, optimizer = decoder_and_optimizer(model, train)
    batches = Batches(split, train.sequence_length, train.global_batch, train.seed)
    records = []
    for step in range(1, train.steps + 1):
        tokens = batches.step(step)
        logits = decoder(tokens[:, :-1])
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        limit = train.gradient_clip or float("inf")
        norm = torch.nn.utils.clip_grad_norm_(decoder.parameters(), limit)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, train)
        optimizer.step()
        records.append({"loss": loss.item(), "gradient_norm": norm.item()})
    return records


@pytest.mark.parametrize("micro_batch", [2, 4])
@pytest.mark.parametrize("clip", [0.5, None])
@pytest.mark.parametrize("family", FAMILIES)
def test_training_equals_plain_pytorch(trained, job, family, clip, micro_batch):
    run = small(
        family,
        "adamw",
        "train.precision=fp32",
        f"train.gradient_clip={'null' if clip is None else clip}",
        f"train.micro_batch={micro_batch}",
        "train.steps=10",
    )
    training = job("train", *run)
    split = TokenSplit.open(training.corpus_directory(training.config.corpus), "train")
    expected = reference(training.config.model, training.config.train, split)
    folder = trained(*run, STREAMING, "run=streaming")
    steps = [record for record in history(folder) if "loss" in record]
    assert len(steps) == 10
    for ours, theirs in zip(steps, expected, strict=True):
        assert ours["loss"] == pytest.approx(theirs["loss"], rel=1e-5)
        assert ours["gradient_norm"] == pytest.approx(theirs["gradient_norm"], rel=1e-4)


def test_the_exported_weights_are_those_of_plain_pytorch(trained, job):
    run = small("gpt2", "adamw", "train.precision=fp32", "train.steps=1", "train.warmup_steps=0")
    training = job("train", *run)
    model, train = training.config.model, replace(training.config.train, gradient_clip=None)
    split = TokenSplit.open(training.corpus_directory(training.config.corpus), "train")
    decoder, optimizer = decoder_and_optimizer(model, train)
    tokens = Batches(split, train.sequence_length, train.global_batch, train.seed).step(1)
    decoder.loss(tokens[:, :-1], tokens[:, 1:]).backward()
    for group in optimizer.param_groups:
        group["lr"] = learning_rate(1, train)
    optimizer.step()
    folder = trained(*run, "train.gradient_clip=null", STREAMING, "run=streaming")
    stored = load_file(folder / "model" / "model.safetensors")
    theirs = decoder.embedding.tokens.weight.detach()
    ours = stored["transformer.wte.weight"].float()
    assert (ours - theirs).abs().max() < 1e-4 * train.learning_rate + 1e-7


def test_the_comparison_tells_two_runs_apart(trained):
    one, other = (
        trained(*small("gpt2", "adamw"), STREAMING, f"train.seed={seed}", f"run=seed{seed}")
        for seed in (0, 1)
    )
    with pytest.raises(AssertionError):
        assert_same_end(one, other)
