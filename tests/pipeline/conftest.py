"""A small world for the stages: some text, its tokens, and a model that trains in a second."""

from __future__ import annotations

import copy
import functools
import random
import runpy
import sys
import warnings
from collections.abc import Callable, Iterator
from itertools import compress
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra import compose as hydra_compose
from hydra._internal.hydra import Hydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from pipeline.cli import job_by_hand
from pipeline.config import CONF_DIR, hydra_initialized, resolve
from pipeline.explain import explained
from pipeline.job import Job
from pipeline.schema import Config
from pipeline.tokenize import run as tokenize
from pipeline.training.history import History
from tests.pipeline.commands import Done, Stage

WORDS = [
    "the",
    "wafer",
    "streams",
    "each",
    "layer",
    "of",
    "weights",
    "once",
    "a",
    "pass",
    "and",
    "keeps",
    "what",
    "it",
    "learned",
]

TINY = [
    "model=nano_100k",
    "model.layers=2",
    "model.hidden=32",
    "model.heads=2",
    "model.feed_forward=64",
    "tokenizer=bpe_512",
    "data=text",
    "data.validation_fraction=0.2",
    "train=smoke",
    "train.steps=12",
    "train.sequence_length=32",
    "train.checkpoint_every=4",
    "train.validate_every=6",
    "evaluate.sample_tokens=4",
    "tracking.enabled=false",
]


@pytest.fixture(scope="session")
def books(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of sixty short texts."""
    folder = tmp_path_factory.mktemp("books")
    generator = random.Random(0)
    for number in range(60):
        text = " ".join(generator.choice(WORDS) for _ in range(120))
        (folder / f"{number:02d}.txt").write_text(text)
    return folder


@pytest.fixture
def overrides(books: Path, tmp_path: Path) -> list[str]:
    """Overrides of a tiny run whose results lie in ``tmp_path / "results"``."""
    return [*TINY, f"data.paths=[{books}]", f"results={tmp_path / 'results'}", "run=tiny"]


@functools.cache
def _chosen(*choices: str) -> DictConfig:
    """``conf/`` with choices of its groups."""
    with hydra_initialized():
        return hydra_compose("config", overrides=list(choices))


def composed(overrides: list[str]) -> Config:
    """What :func:`pipeline.config.compose` makes; reads ``conf/`` once for the same choices.

    To compose takes as long as a tiny training, and is no part of what these tests ask.
    """
    with explained():
        parsed = OverridesParser.create().parse_overrides(overrides)
        is_choice = [(CONF_DIR / one.key_or_group).is_dir() for one in parsed]
        made = copy.deepcopy(_chosen(*compress(overrides, is_choice)))
        for one, chosen in zip(parsed, is_choice, strict=True):
            if not chosen:
                OmegaConf.update(made, one.key_or_group, one.value())
    return resolve(made)


@pytest.fixture
def job(overrides: list[str]) -> Callable[..., Job[Any]]:
    """Makes the job of a stage of the tiny run, with further overrides; tokens are there."""
    torch.set_num_threads(1)

    def make(stage: str, *more: str) -> Job[Any]:
        config = composed([*overrides, *more])
        tokens = job_by_hand(config, "tokenize")
        if not (tokens.corpus_directory(tokens.run) / "manifest.json").exists():
            tokenize(tokens)
        return job_by_hand(config, stage)

    return make


def _waited_for(work: Callable[[], int], log: Path) -> None:
    """A process with torch's threads is not to be copied, and a test wants the work done."""
    if code := work():
        raise SystemExit(code)


@pytest.fixture
def stage(
    overrides: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> Iterator[Stage]:
    """Runs a stage's command line in this process, which has the libraries loaded already."""
    folder = tmp_path / "working_directory"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")  # the command line sets it; this restores it
    monkeypatch.setattr("pipeline.cli.in_background", _waited_for)
    # What takes longest of each run is no part of what these tests ask: pictures, and that Hydra
    # composes the configuration twice, at first to see whether it is a multirun.
    monkeypatch.setattr(History, "plotted", lambda history: b"")
    monkeypatch.setattr("pipeline.reporting.figures.draw_timeline", lambda *_: b"")
    monkeypatch.setattr(Hydra, "get_mode", lambda *_, **__: RunMode.RUN)
    torch.set_num_threads(1)

    def run(name: str, *more: str) -> Done:
        monkeypatch.setattr(sys, "argv", [f"pipeline.{name}", *overrides, *more])
        capfd.readouterr()
        code: object = 0
        try:
            with warnings.catch_warnings(action="ignore", category=RuntimeWarning):
                runpy.run_module(f"pipeline.{name}", run_name="__main__")
        except SystemExit as leaving:
            code = leaving.code
        assert isinstance(code, int)
        return Done([], code, *capfd.readouterr())

    yield run
    assert list(folder.iterdir()) == [], "left in the working directory"


@pytest.fixture
def command(overrides: list[str]) -> Callable[..., list[str]]:
    """The command of a process that runs a stage."""
    return lambda name, *more: [sys.executable, "-m", f"pipeline.{name}", *overrides, *more]
