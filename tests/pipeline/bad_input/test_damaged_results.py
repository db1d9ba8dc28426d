"""Files that were damaged, or are of another configuration: named, and made anew."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.pipeline.commands import assert_one_line, assert_success, contents, corpus_of


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-2])


def alter(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def rename_key(path: Path) -> None:
    path.write_text(path.read_text().replace("inputs_sha256", "inputs_sha255"))


@pytest.mark.parametrize(
    ("name", "file", "damage", "pattern"),
    [
        ("train", "train-00000.bin", truncate, r"has \d+ bytes instead of \d+"),
        ("train", "train-00000.bin", alter, "was altered: .*"),
        ("evaluate", "validation-00000.bin", alter, "was altered: .*"),
        ("evaluate", "validation-00000.bin", Path.unlink, "is missing"),
        ("train", "tokenizer.json", alter, "was altered: .*"),
        ("evaluate", "tokenizer.json", alter, "was altered: .*"),
        ("evaluate", "manifest.json", truncate, "cannot be read, truncated or altered .*"),
        ("train", "manifest.json", rename_key, "lacks inputs_sha256"),
    ],
)
def test_a_damaged_corpus_is_named(stage, finished, name, file, damage, pattern):
    before = contents(finished / "tiny")
    corpus = corpus_of(finished)
    damage(corpus / file)
    remedy = f"delete the folder {corpus} and tokenize again"
    assert_one_line(stage(name), name, f"{file}: {pattern}; {remedy}")
    assert contents(finished / "tiny") == before


def test_a_damaged_corpus_that_was_deleted_is_made_anew(stage, finished):
    shutil.rmtree(corpus_of(finished))
    done = stage("train")
    assert_success(done)
    assert "resuming after step 12 of 12" in done.stdout
    assert_success(stage("evaluate"))


@pytest.mark.parametrize(
    ("name", "file", "damage", "pattern"),
    [
        ("evaluate", "metrics.json", truncate, "truncated or altered .*; delete it"),
        ("train", "metrics.json", truncate, "truncated or altered .*; delete it"),
        ("evaluate", "model/tokenizer.json", truncate, "truncated or altered .*; give the command"),
        ("evaluate", "model/model.safetensors", truncate, "cannot be read .*; make it anew"),
        ("evaluate", "model/config.json", Path.unlink, "no such file; give"),
    ],
)
def test_a_damaged_result_is_named_and_made_anew(stage, finished, name, file, damage, pattern):
    model = contents(finished / "tiny/model")
    path = finished / "tiny" / file
    damage(path)
    assert_one_line(stage(name), name, f"{path}: .*{pattern}")
    if "delete it" in pattern:
        path.unlink()
    done = stage("train")
    assert_success(done)
    assert "resuming after step 12 of 12" in done.stdout
    assert_success(stage("evaluate"))
    assert contents(finished / "tiny/model") == model


def test_a_checkpoint_of_another_configuration(stage, finished):
    (ours,) = finished.glob("tiny/checkpoints/*")
    other = ["train.seed=7", "run=other"]
    assert_success(stage("train", *other))
    (theirs,) = finished.glob("other/checkpoints/*")
    shutil.copytree(ours, theirs, dirs_exist_ok=True)
    before = contents(finished)
    done = stage("train", *other)
    assert_one_line(done, "train", "step-00000012: checkpoint of another config.*; move it away")
    assert contents(finished) == before


@pytest.mark.parametrize("name", ["train", "evaluate"])
def test_the_results_of_another_configuration(stage, finished, name):
    before = contents(finished)
    done = stage(name, "train.seed=7")
    assert_one_line(done, name, "tiny.*of another configuration", "run=NAME|train it with")
    assert contents(finished) == before
