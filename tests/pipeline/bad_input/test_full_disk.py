"""Disks that are full: one clear line, what was finished is kept, and the run goes on."""

from __future__ import annotations

import pytest

from pipeline.corpus.shards import TokenSplit
from pipeline.tracking import prepare
from tests.pipeline.commands import (
    assert_one_line,
    assert_success,
    checkpoints_of,
    contents,
    corpus_of,
    ended,
    started,
)
from tests.pipeline.disks import BLOCK_BYTES

CHECKPOINT_BYTES = 620_000  # of the tiny run, a little more than its two files
FULL = "no space left to write; what was finished is kept: free some space and give the same"


@pytest.mark.parametrize(
    ("blocks", "file"), [(0, r"tokenizer\.json"), (4, r"(train|validation)-00000\.bin")]
)
def test_a_full_disk_while_tokenizing(command, stage, texts, disk, blocks, file):
    results = f"results={disk.folder}"
    assert_success(stage("tokenize", results))
    before = contents(disk.folder / "corpus")
    (texts / "new.txt").write_text("quite another text " * 500)
    disk.fill(blocks * BLOCK_BYTES)
    assert_one_line(ended(command("tokenize", results)), "tokenize", f"{file}: ", FULL)
    assert contents(disk.folder / "corpus") == before
    disk.free()
    assert_success(stage("tokenize", results))
    split = TokenSplit.open(corpus_of(disk.folder), "train")
    assert split.bytes > 0
    assert contents(disk.folder / "corpus") != before


def test_a_full_disk_at_a_checkpoint(command, stage, disk):
    results = f"results={disk.folder}"
    assert_success(stage("tokenize", results))
    disk.fill(int(2.5 * CHECKPOINT_BYTES))
    done = ended(command("train", results))
    assert_one_line(done, "train", r"step-00000012\.partial/state\.safetensors: ", FULL)
    assert checkpoints_of(disk.folder) == ["step-00000004", "step-00000008"]
    disk.free()
    done = stage("train", results)
    assert_success(done)
    assert "resuming after step 8 of 12" in done.stdout
    assert checkpoints_of(disk.folder) == ["step-00000008", "step-00000012"]


def test_a_full_disk_in_the_history(command, stage, disk):
    results = f"results={disk.folder}"
    assert_success(stage("tokenize", results))
    # The slice takes one block; the history is written at the first checkpoint.
    disk.fill(BLOCK_BYTES)
    done = ended(command("train", results))
    assert_one_line(done, "train", r"history\.jsonl: ", FULL)
    disk.free()
    assert_success(stage("train", results))


def test_a_full_disk_while_the_model_is_written(command, stage, disk):
    results, once = f"results={disk.folder}", "train.checkpoint_every=12"
    assert_success(stage("tokenize", results))
    disk.fill(CHECKPOINT_BYTES + 100_000)
    done = ended(command("train", results, once))
    assert_one_line(done, "train", r"model\.safetensors: ", FULL)
    assert checkpoints_of(disk.folder) == ["step-00000012"]
    assert not list(disk.folder.glob("tiny/*model*"))
    disk.free()
    done = stage("train", results, once)
    assert_success(done)
    assert "resuming after step 12 of 12" in done.stdout
    before = contents(disk.folder / "tiny/model")
    assert "model.safetensors" in before
    disk.fill(100_000)
    done = ended(command("train", results, once))
    assert_one_line(done, "train", r"model\.safetensors: ", FULL)
    assert contents(disk.folder / "tiny/model") == before


@pytest.mark.slow
def test_a_full_disk_while_the_database_is_made(command, stage, disk):
    results, tracked = f"results={disk.folder}", "tracking.enabled=true"
    assert_success(stage("tokenize", results))
    disk.fill(300_000)
    done = ended(command("train", results, tracked))
    assert_one_line(
        done, "train", r"mlflow\.db: cannot log to MLflow \(.*full\)", "tracking.enabled"
    )
    assert not (disk.folder / "mlflow.db").exists()
    disk.free()
    assert_success(stage("train", results, tracked))


@pytest.mark.slow
def test_a_full_disk_below_the_database_does_not_stop_a_training(command, stage, results, disk):
    assert_success(stage("tokenize"))
    prepare(disk.folder)
    (results / "mlflow.db").symlink_to(disk.folder / "mlflow.db")
    more = ["tracking.enabled=true", "train.steps=300", "train.log_every=1"]
    running = started(command("train", *more), "train  2 ")
    disk.fill(0)
    _, error = running.communicate(timeout=300)
    assert running.returncode == 0, error
    assert all(line.startswith("MLflow: ") for line in error.splitlines()), error
    assert "full); training goes on" in error
    assert (results / "tiny/model/model.safetensors").exists()
