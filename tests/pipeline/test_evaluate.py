"""Evaluation: every token of the validation split counts once, and samples follow the prompts."""

from __future__ import annotations

import json
import math

import pytest
import torch

from pipeline import evaluate as stage
from pipeline.corpus.shards import TokenSplit
from pipeline.errors import ModelError
from pipeline.evaluate import bits_per_byte, validation_loss, whole_split
from pipeline.evaluate import run as evaluate
from pipeline.evaluation.plan import resident_bytes
from pipeline.models import huggingface
from pipeline.models.shape import read_shape
from pipeline.train import run as train


def evaluated(job):
    """What an evaluation writes."""
    evaluate(job)
    return json.loads((job.run_directory / "evaluation.json").read_text())


@pytest.fixture
def trained(job):
    train(job("train"))
    return job("evaluate")


def test_every_token_but_the_first_is_predicted_once(trained):
    corpus = trained.corpus_directory(trained.config.corpus)
    split = TokenSplit.open(corpus, "validation")
    for length, batch in ((32, 3), (7, 5), (split.tokens - 1, 1), (split.tokens * 2, 4)):
        if length < split.tokens:
            rows = list(whole_split(split, length, batch))
            targets = torch.cat([row[:, 1:].flatten() for row in rows])
            assert torch.equal(targets, torch.from_numpy(split.read(1, split.tokens - 1)))


def test_the_loss_is_the_mean_over_the_whole_split(trained):
    corpus = trained.corpus_directory(trained.config.corpus)
    split = TokenSplit.open(corpus, "validation")
    _, decoder = huggingface.from_directory(trained.run_directory / "model")
    ours = validation_loss(decoder, split, 32, 5, torch.device("cpu"))
    total = 0.0
    for start in range(0, split.tokens - 1, 32):
        tokens = torch.from_numpy(split.read(start, min(33, split.tokens - start)))[None]
        logits = decoder(tokens[:, :-1])[0]
        total += torch.nn.functional.cross_entropy(logits, tokens[0, 1:], reduction="sum").item()
    assert ours == pytest.approx(total / (split.tokens - 1), rel=1e-5)


def test_the_file_holds_what_was_measured(trained):
    evaluate(trained)
    evaluation = json.loads((trained.run_directory / "evaluation.json").read_text())
    split = TokenSplit.open(trained.corpus_directory(trained.config.corpus), "validation")
    assert evaluation["measured"] is True
    assert evaluation["config_hash"] == trained.config.train_hash
    assert evaluation["tokens"] == split.tokens
    assert evaluation["bytes"] == split.bytes
    assert evaluation["perplexity"] == pytest.approx(math.exp(evaluation["validation_loss"]))
    bits = evaluation["validation_loss"] * (split.tokens - 1) / math.log(2)
    assert evaluation["bits_per_byte"] == pytest.approx(bits / split.bytes)
    assert [s["prompt"] for s in evaluation["samples"]] == trained.config.evaluate.prompts


def test_a_uniform_guess_over_bytes_costs_eight_bits():
    split = TokenSplit(1001, 1000, 1, 256, 0, (), ())
    assert bits_per_byte(math.log(256), split) == pytest.approx(8.0)


def test_samples_repeat_with_their_seed(trained):
    evaluate(trained)
    path = trained.run_directory / "evaluation.json"
    first = json.loads(path.read_text())["samples"]
    evaluate(trained)
    assert json.loads(path.read_text())["samples"] == first


def test_a_model_that_memory_does_not_hold_gives_the_same_numbers(job, monkeypatch, capsys):
    more = ("model.layers=8", "train.steps=2", "evaluate.batch=4")
    train(job("train", *more))
    whole = evaluated(job("evaluate", *more))
    model = read_shape(job("evaluate", *more).run_directory / "model")
    too_little = resident_bytes(model, torch.float32, 4 * 32) - 1
    monkeypatch.setattr(stage, "free_bytes", lambda device: too_little)
    capsys.readouterr()
    by_parts = evaluated(job("evaluate", *more))
    assert by_parts["validation_loss"] == pytest.approx(whole["validation_loss"], rel=1e-6)
    assert whole["samples"]
    assert whole["samples_note"] is None
    assert by_parts["samples"] == []
    assert "part by part" in by_parts["samples_note"]
    output = capsys.readouterr().out
    before, after = output.index("at least"), output.index("validation loss")
    assert "part by part, without samples" in output[:before]
    assert "GFLOP/s measured" in output[before:after]


def test_a_run_that_was_not_trained_is_named(job):
    with pytest.raises(ModelError, match=r"tiny/metrics.json: no such file.*pipeline.train"):
        evaluate(job("evaluate"))
