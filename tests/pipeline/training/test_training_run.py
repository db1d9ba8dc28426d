"""Training as a user sees it: it learns, resumes bit for bit, and stops with a clear word."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from pipeline.corpus.shards import content_sha256, read_manifest
from pipeline.errors import (
    BudgetError,
    CheckpointError,
    ConfigError,
    CorpusError,
    ModelError,
    TokenizerError,
    TrainingError,
)
from pipeline.evaluate import run as evaluate
from pipeline.optimizers.update import update
from pipeline.streaming import learning
from pipeline.tokenize import run as tokenize
from pipeline.train import prepare
from pipeline.train import run as train
from pipeline.training import checkpoint
from pipeline.training.execution import Resident

REPOSITORY = Path(__file__).parents[3]


def weights(job) -> dict[str, torch.Tensor]:
    return load_file(job.run_directory / "model" / "model.safetensors")


def assert_same_bits(ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]) -> None:
    assert ours.keys() == theirs.keys()
    for name, tensor in ours.items():
        assert torch.equal(tensor, theirs[name]), name


def checkpoints_of(job) -> Path:
    manifest = read_manifest(job.corpus_directory(job.config.corpus))
    return job.checkpoint_directory(content_sha256(manifest))


def read_newest(job) -> tuple[checkpoint.Progress, dict[str, torch.Tensor]]:
    newest = checkpoint.steps(checkpoints_of(job))[-1]
    run_hash = json.loads((newest / "checkpoint.json").read_text())["run_hash"]
    return checkpoint.read(newest, run_hash)


class Killed(Exception):
    """Stands for kill -9: no handler of the code under test may see it."""


@pytest.fixture
def kill_after(monkeypatch):
    """Let a training die in the middle of the step after ``steps`` steps of this process."""

    def arm(steps: int) -> None:
        step, done = Resident.step, 0

        def dying(self, *arguments):
            nonlocal done
            if done == steps:
                raise Killed
            done += 1
            return step(self, *arguments)

        monkeypatch.setattr(Resident, "step", dying)

    yield arm
    monkeypatch.undo()


def test_training_learns_and_says_what_it_reached(job):
    training = job("train", "train.steps=30", "train.learning_rate=0.01")
    train(training)
    metrics = json.loads((training.run_directory / "metrics.json").read_text())
    assert metrics["measured"] is True
    assert metrics["execution"] == "resident"
    assert metrics["steps"] == 30
    assert metrics["tokens"] == 30 * 8 * 32
    assert metrics["loss_last"] < metrics["loss_first"] - 0.5
    assert metrics["config_hash"] == training.hash
    assert metrics["peak_rss_bytes"] < metrics["memory_budget_bytes"]
    history = (training.run_directory / "history.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in history if '"loss"' in line] == list(range(1, 31))


@pytest.mark.parametrize("family", ["nano_100k", "nano_gptj", "nano_gptneox"])
def test_a_run_killed_at_any_step_ends_with_the_same_weights(job, kill_after, monkeypatch, family):
    shape = [f"model={family}", "model.vocabulary=512", "train.steps=8", "train.checkpoint_every=3"]
    whole = job("train", *shape, "run=whole")
    train(whole)
    for steps in range(8):
        broken = job("train", *shape, f"run=broken{steps}")
        kill_after(steps)
        with pytest.raises(Killed):
            train(broken)
        monkeypatch.undo()
        train(broken)
        assert_same_bits(weights(whole), weights(broken))
        losses = [
            [json.loads(line).get("loss") for line in (run.run_directory / "history.jsonl").open()]
            for run in (whole, broken)
        ]
        assert losses[0] == losses[1]


def test_bf16_resumes_bit_for_bit_too(job, kill_after, monkeypatch):
    whole = job("train", "train.precision=bf16", "run=whole")
    train(whole)
    broken = job("train", "train.precision=bf16", "run=broken")
    kill_after(7)
    with pytest.raises(Killed):
        train(broken)
    monkeypatch.undo()
    train(broken)
    assert_same_bits(weights(whole), weights(broken))


def test_a_finished_run_started_again_trains_nothing_and_keeps_its_result(job, kill_after):
    training = job("train")
    train(training)
    before = weights(training)
    kill_after(0)
    train(training)
    assert_same_bits(before, weights(training))


def test_accumulation_equals_one_large_batch(job):
    small = job("train", "train.micro_batch=2", "run=small")
    large = job("train", "train.micro_batch=8", "run=large")
    train(small)
    train(large)
    records = [
        [json.loads(line) for line in (run.run_directory / "history.jsonl").open()]
        for run in (small, large)
    ]
    for ours, theirs in zip(*records, strict=True):
        for key in {"loss", "gradient_norm", "validation_loss"} & ours.keys():
            assert ours[key] == pytest.approx(theirs[key], rel=1e-3)


def test_clipping_bounds_the_gradient(job, monkeypatch):
    free = job("train", "train.gradient_clip=null", "train.steps=1", "run=free")
    train(free)
    record = json.loads((free.run_directory / "history.jsonl").read_text().splitlines()[0])
    assert record["gradient_norm"] > 0.1
    clipped = job("train", f"train.gradient_clip={record['gradient_norm'] / 10}", "run=clipped")
    scales = []

    def noting(name, weight, state, gradient, settings):
        scales.append(settings.gradient_scale)
        update(name, weight, state, gradient, settings)

    monkeypatch.setattr(learning, "update", noting)
    with prepare(clipped, torch.device("cpu")) as prepared:
        loop = prepared.loop
        result = loop.execution.step(1, loop.batches.step(1), 1e-3, lambda: False)
    assert result.gradient_norm == pytest.approx(record["gradient_norm"], rel=1e-4)
    assert scales
    assert all(scale == pytest.approx(0.1, rel=1e-3) for scale in scales)


def test_a_loss_that_is_not_finite_stops_and_keeps_the_last_checkpoint(job, monkeypatch):
    training = job("train")
    step = Resident.step
    steps = iter(range(1, 100))

    def poisoned(self, number, *arguments):
        if next(steps) == 6:
            self._parameters.fetch("head", "weights")["head.norm.weight"][:] = float("nan")
        return step(self, number, *arguments)

    monkeypatch.setattr(Resident, "step", poisoned)
    with pytest.raises(
        TrainingError, match=r"step 6 of 12: loss nan.*step-00000004.*learning_rate"
    ):
        train(training)
    monkeypatch.undo()
    _, state = read_newest(training)
    assert all(torch.isfinite(tensor).all() for tensor in state.values())
    assert not (training.run_directory / "model").exists()


def test_a_damaged_checkpoint_is_named_and_the_one_before_is_used(job, capsys):
    whole = job("train", "run=whole")
    train(whole)
    damaged = job("train", "run=damaged")
    shutil.copytree(checkpoints_of(whole), checkpoints_of(damaged))
    newest = checkpoint.steps(checkpoints_of(damaged))[-1] / "state.safetensors"
    content = bytearray(newest.read_bytes())
    content[len(content) // 2] ^= 1
    newest.write_bytes(content)
    train(damaged)
    out = capsys.readouterr().out
    assert "step-00000012/state.safetensors: damaged" in out
    assert "resuming after step 8 of 12" in out
    assert_same_bits(weights(whole), weights(damaged))


def test_a_checkpoint_of_another_config_is_refused(job):
    one = job("train", "run=one")
    train(one)
    (one.run_directory / "metrics.json").unlink()
    other = job("train", "run=one", "train.learning_rate=0.5")
    shutil.copytree(checkpoints_of(one), checkpoints_of(other))
    with pytest.raises(CheckpointError, match="checkpoint of another configuration"):
        train(other)


def test_the_same_configuration_on_other_text_starts_anew(job, books, tmp_path, capsys):
    shutil.copytree(books, tmp_path / "books")
    mine = f"data.paths=[{tmp_path / 'books'}]"
    first = job("train", mine)
    train(first)
    (tmp_path / "books" / "new.txt").write_text("quite another text " * 300)
    tokenize(job("tokenize", mine))
    train(job("train", mine))
    assert "resuming" not in capsys.readouterr().out
    assert len(list((first.run_directory / "checkpoints").iterdir())) == 2


def test_evaluation_refuses_a_model_of_another_config(job):
    train(job("train"))
    with pytest.raises(ModelError, match="a model of another configuration"):
        evaluate(job("evaluate", "train.learning_rate=0.5"))


def test_a_tokenizer_too_large_for_the_model_is_refused(job):
    with pytest.raises(TokenizerError, match=r"model.vocabulary: 100 is smaller"):
        train(job("train", "model.vocabulary=100"))


def test_a_corpus_shorter_than_a_sequence_is_refused(job, tmp_path):
    folder = tmp_path / "short"
    folder.mkdir()
    for number in range(20):
        (folder / f"{number}.txt").write_text(f"{number} words")
    longer = ["train.sequence_length=400", f"data.paths=[{folder}]", "run=short"]
    with pytest.raises(CorpusError, match=r"a sequence takes 401 tokens, and a split"):
        train(job("train", *longer))


def test_a_model_too_large_for_the_memory_is_refused_before_it_starts(job):
    with pytest.raises(BudgetError, match=r"gptneox_20b"):
        train(
            job(
                "train",
                "model=gptneox_20b",
                "model.layers=44",
                "model.hidden=6144",
                "model.heads=64",
                "model.feed_forward=24576",
                "train.execution=resident",
            )
        )


@pytest.mark.parametrize(
    ("number", "word"), [(signal.SIGINT, "SIGINT"), (signal.SIGTERM, "SIGTERM")]
)
def test_ctrl_c_and_sigterm_save_and_say_so(job, overrides, number, word):
    job("tokenize")
    long = ["train.steps=100000", "train.checkpoint_every=100000", "train.log_every=1"]
    command = [sys.executable, "-m", "pipeline.train", *overrides, *long]
    process = subprocess.Popen(
        command, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("train  3 "):
            process.send_signal(number)
            break
    _, error = process.communicate(timeout=60)
    assert process.returncode == 128 + number, error
    assert f"onewafer train: stopped by {word} and saved at step" in error
    assert "give the same command again" in error
    assert "Traceback" not in error
    training = job("train", *long)
    kept = checkpoint.steps(checkpoints_of(training))
    assert len(kept) == 1
    assert read_newest(training)[0].step >= 3


def test_tokenless_training_by_hand_makes_the_tokens_itself(overrides, tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "pipeline.train", *overrides, "train.steps=2"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "results/tiny/model/config.json").exists()


def test_fine_tuning_starts_from_a_hugging_face_directory(job, overrides):
    first = job("train")
    train(first)
    overrides[:] = [override for override in overrides if not override.startswith("model")]
    model = ["model=hf", f"model.path={first.run_directory / 'model'}"]
    barely = ["train.steps=1", "train.learning_rate=1e-9", "train.minimum_learning_rate=0"]
    tuned = job("train", *model, *barely, "run=tuned")
    train(tuned)
    for name, tensor in weights(first).items():
        torch.testing.assert_close(tensor, weights(tuned)[name], rtol=0, atol=1e-6)


def test_a_run_by_hand_does_not_overwrite_a_finished_one(job):
    train(job("train"))
    with pytest.raises(ConfigError, match=r"tiny holds a finished run of another config.*run=NAME"):
        job("train", "train.learning_rate=0.5")
    train(job("train"))
