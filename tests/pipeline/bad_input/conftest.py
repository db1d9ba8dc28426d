"""The tiny run, finished, and texts of its own, all to be damaged."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.pipeline.commands import Stage, assert_success
from tests.pipeline.disks import disk  # noqa: F401  (fixture)


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """Where the tiny run's results will lie."""
    return tmp_path / "results"


@pytest.fixture
def finished(stage: Stage, results: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The results of the tiny run, tokenized, trained and evaluated."""
    made = tmp_path_factory.getbasetemp() / "finished_tiny_run"
    if not made.exists():
        for name in ("tokenize", "train", "evaluate"):
            assert_success(stage(name))
        shutil.copytree(results, made)
    elif not results.exists():
        shutil.copytree(made, results)
    return results


@pytest.fixture
def texts(books: Path, tmp_path: Path, overrides: list[str]) -> Path:
    """A folder of texts of the tiny run's own, to be damaged."""
    folder = tmp_path / "texts"
    shutil.copytree(books, folder)
    overrides.append(f"data.paths=[{folder}]")
    return folder
