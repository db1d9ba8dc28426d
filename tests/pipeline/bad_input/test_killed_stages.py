"""Processes that are killed: what was finished is kept, and the run goes on."""

from __future__ import annotations

import time

import pytest
import torch
from safetensors.torch import load_file

from pipeline.corpus.shards import TokenSplit
from tests.pipeline.commands import (
    assert_success,
    checkpoints_of,
    contents,
    corpus_of,
    kill,
    started,
)


def test_a_tokenization_that_is_killed(command, stage, texts, results):
    assert_success(stage("tokenize"))
    before = contents(results)
    for number in range(20):
        (texts / f"large{number}.txt").write_text(f"{number} some more words " * 20_000)
    process = started(command("tokenize"), "training a tokenizer")
    corpus = corpus_of(results)
    while not list(corpus.glob(".partial/*.bin")):
        assert process.poll() is None
        time.sleep(0.001)
    kill(process)
    assert before.items() <= contents(results).items()
    assert_success(stage("tokenize"))
    assert TokenSplit.open(corpus, "train").bytes > 4_000_000
    assert not list(corpus.glob(".partial"))


@pytest.mark.slow
def test_a_training_that_is_killed_twice(command, stage, results):
    assert_success(stage("tokenize"))
    more = ["train.steps=100", "train.checkpoint_every=25", "train.log_every=1"]
    kill(started(command("train", *more), "train  60 "))
    assert checkpoints_of(results) == ["step-00000025", "step-00000050"]
    # Killed again before the next checkpoint: the record of the steps before stays whole.
    kill(started(command("train", *more), "train  52 "))
    done = stage("train", *more)
    assert_success(done)
    assert "resuming after step 50 of 100" in done.stdout
    whole = stage("train", *more, "run=whole")
    assert_success(whole)
    ours, theirs = (
        load_file(results / run / "model/model.safetensors") for run in ("tiny", "whole")
    )
    assert all(torch.equal(ours[key], tensor) for key, tensor in theirs.items())
    lines = (results / "tiny/history.jsonl").read_text().splitlines()
    assert sum('"loss"' in line for line in lines) == 100
