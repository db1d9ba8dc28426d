"""Trainings for the tests of this folder: in this process, or in processes that may be killed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pipeline.train import run as train
from pipeline.training.history import History
from tests.pipeline.disks import disk  # noqa: F401  (fixture)
from tests.pipeline.streaming.processes import Launcher
from tests.pipeline.streaming.runs import give_speed


@pytest.fixture(autouse=True)
def _known_speed(tmp_path: Path) -> None:
    """Measuring the machine would take longer than these runs."""
    give_speed(tmp_path / "results")


@pytest.fixture
def trained(job: Callable, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Trains the tiny run in this process, with further overrides; gives the run's folder."""
    # The slowest part of such a run, and no part of what it learns.
    monkeypatch.setattr(History, "plotted", lambda history: b"")
    monkeypatch.setattr("pipeline.train.draw_timeline", lambda spans: b"")

    def run(*overrides: str) -> Path:
        training = job("train", *overrides)
        train(training)
        return training.run_directory

    return run


@pytest.fixture(scope="session")
def launcher(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Launcher]:
    """Starts trainings as processes of their own."""
    launcher = Launcher(tmp_path_factory.mktemp("outputs"))
    yield launcher
    launcher.close()
