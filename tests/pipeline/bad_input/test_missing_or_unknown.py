"""Text, keys, choices and files that are not there: one clear line, and nothing lost."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.pipeline.commands import assert_one_line, assert_success, contents


def empty(folder: Path) -> None:
    for path in folder.iterdir():
        path.write_text("")


def remove_files(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()


def write_latin_1(folder: Path) -> None:
    (folder / "old.txt").write_bytes("déjà vu".encode("latin-1"))


@pytest.mark.parametrize(
    ("damage", "patterns"),
    [
        (shutil.rmtree, [r"data\.paths: no file matches .*texts; give files"]),
        (remove_files, [r"data\.paths: directory .*texts holds no file; give files"]),
        (empty, ["data: there is no text to train a tokenizer on; add text"]),
        (write_latin_1, [r"old\.txt: byte 1 \(0xe9\) is not UTF-8; convert the file"]),
    ],
)
def test_text_that_is_missing_empty_or_not_text(stage, texts, results, damage, patterns):
    assert_success(stage("tokenize"))
    before = contents(results)
    damage(texts)
    assert_one_line(stage("tokenize"), "tokenize", *patterns)
    assert contents(results) == before


@pytest.mark.parametrize(
    ("name", "more", "patterns"),
    [
        ("tokenize", ["tokenizer=file", "tokenizer.path=gone"], [r"tokenizer\.path: gone", "give"]),
        ("evaluate", [], [r"tiny/metrics\.json: no such file", "train it with python -m"]),
        ("train", ["train.lerning_rate=1"], [r"train\.lerning_rate: no such key; did you mean"]),
        ("evaluate", ["model=nano_2m"], ["model/nano_2m: no such choice; model is one of"]),
        ("train", ["train.steps=many"], [r"train\.steps=many: value 'many'.* Integer"]),
    ],
)
def test_what_is_missing_or_unknown_is_named(stage, name, more, patterns):
    assert_one_line(stage(name, *more), name, *patterns)


def test_a_frozen_slice_that_is_missing(stage, overrides):
    overrides.clear()
    done = stage("train", "--frozen", "gone/train.yaml")
    assert_one_line(done, "train", r"gone/train\.yaml: no such file; snakemake writes it")


def test_a_model_directory_that_is_missing(stage, overrides):
    overrides[:] = [override for override in overrides if not override.startswith("model")]
    done = stage("train", "model=hf", "model.path=gone")
    assert_one_line(done, "train", r"gone/config\.json: no such file; give a local model directory")


def test_a_corpus_shorter_than_one_sequence(stage, finished):
    before = contents(finished)
    short = ["data.max_bytes=5000", "data.validation_fraction=0.5", "train.sequence_length=500"]
    done = stage("train", *short, "run=other")
    assert_one_line(done, "train", r"train\.sequence_length: a sequence takes 501 tokens", "add")
    assert before.items() <= contents(finished).items()


def test_a_tokenizer_with_more_tokens_than_the_model(stage, finished):
    before = contents(finished)
    done = stage("train", "model.vocabulary=300", "run=other")
    assert_one_line(done, "train", r"model\.vocabulary: 300 is smaller than .* choose a model")
    assert contents(finished) == before
