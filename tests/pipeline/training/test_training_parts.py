"""The parts of training that obey a law: order of data, learning rate, history, checkpoints."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.config import compose
from pipeline.corpus.shards import TokenSplit
from pipeline.errors import CorpusError
from pipeline.training import checkpoint
from pipeline.training.batches import Batches, in_order
from pipeline.training.history import History
from pipeline.training.schedule import learning_rate


def split_of(tokens: int) -> TokenSplit:
    """A split whose token at each place is the place itself."""
    return TokenSplit(tokens, tokens, 1, tokens, 0, (np.arange(tokens, dtype="<u4"),), (tokens,))


@settings(max_examples=50, deadline=None)
@given(
    tokens=st.integers(10, 400),
    length=st.integers(1, 9),
    batch=st.integers(1, 7),
    seed=st.integers(0, 99),
)
def test_an_epoch_visits_every_sequence_once(tokens, length, batch, seed):
    batches = Batches(split_of(tokens), length, batch, seed)
    steps = -(-batches.sequences // batch)
    rows = torch.cat([batches.step(step) for step in range(1, steps + 1)])
    starts = rows[: batches.sequences, 0].tolist()
    assert sorted(starts) == list(range(0, batches.sequences * length, length))
    assert (rows == rows[:, :1] + torch.arange(length + 1)).all()


@settings(max_examples=30, deadline=None)
@given(step=st.integers(1, 50), seed=st.integers(0, 99))
def test_a_step_depends_on_the_seed_and_its_number_alone(step, seed):
    fresh = Batches(split_of(97), 4, 3, seed)
    used = Batches(split_of(97), 4, 3, seed)
    for earlier in (50, 1, step - 1 or 7):
        used.step(earlier)
    assert torch.equal(fresh.step(step), used.step(step))


def test_another_seed_is_another_order():
    assert not torch.equal(
        Batches(split_of(999), 4, 8, 0).step(1), Batches(split_of(999), 4, 8, 1).step(1)
    )


def test_validation_is_spread_over_the_split_or_all_of_it():
    rows = torch.cat(list(in_order(split_of(101), 10, 4, limit=5)))
    assert rows[:, 0].tolist() == [0, 20, 40, 60, 80]
    rows = torch.cat(list(in_order(split_of(101), 10, 4, limit=999)))
    assert rows[:, 0].tolist() == list(range(0, 100, 10))


def test_a_split_shorter_than_a_sequence_is_refused():
    with pytest.raises(
        CorpusError, match="a sequence takes 11 tokens, and a split of the corpus has 10"
    ):
        Batches(split_of(10), 10, 1, 0)


@given(steps=st.integers(1, 300), warmup=st.integers(0, 300))
def test_the_learning_rate_rises_then_falls_to_the_minimum(steps, warmup):
    train = compose_once()
    train = replace(train, steps=steps, warmup_steps=warmup)
    rates = [learning_rate(step, train) for step in range(1, steps + 1)]
    assert all(0 < rate <= train.learning_rate for rate in rates)
    assert all(a < b for a, b in pairwise(rates[:warmup]))
    after = rates[warmup:]
    assert all(a >= b for a, b in pairwise(after))
    if steps > warmup:
        assert rates[-1] == pytest.approx(train.minimum_learning_rate)


CONFIG = compose(["run=parts"])


def compose_once():
    assert CONFIG.train is not None
    return CONFIG.train


def test_history_is_cut_back_to_the_checkpoint_and_forgives_a_cut_last_line(tmp_path):
    path = tmp_path / "history.jsonl"
    path.write_text(
        "".join(json.dumps({"step": s, "loss": s}) + "\n" for s in (1, 2, 3)) + '{"step": 4, "lo'
    )
    history = History(path, last_step=2)
    history.add({"step": 3, "loss": 30})
    history.close()
    assert [json.loads(line) for line in path.read_text().splitlines()] == [
        {"step": 1, "loss": 1},
        {"step": 2, "loss": 2},
        {"step": 3, "loss": 30},
    ]


def test_a_checkpoint_gives_back_the_bits_and_only_two_are_kept(tmp_path):
    state = {"parameter/a": torch.randn(5, 3), "step/a": torch.tensor(7.0)}
    for step in (1, 2, 3):
        path = checkpoint.write(tmp_path, checkpoint.Progress("abc", step, 1.5, 2), state)
    assert [p.name for p in checkpoint.steps(tmp_path)] == ["step-00000002", "step-00000003"]
    progress, restored = checkpoint.read(path, "abc")
    assert progress == checkpoint.Progress("abc", 3, 1.5, 2)
    assert all(torch.equal(state[name], restored[name]) for name in state)


def test_an_unfinished_checkpoint_is_not_seen(tmp_path):
    checkpoint.write(tmp_path, checkpoint.Progress("abc", 1, 0.0, 1), {"a": torch.zeros(1)})
    (tmp_path / "step-00000002.partial").mkdir()
    assert [p.name for p in checkpoint.steps(tmp_path)] == ["step-00000001"]
