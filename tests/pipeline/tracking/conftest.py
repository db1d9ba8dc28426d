"""Results with a database of their own."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from pipeline import metric_writer, tracking


@pytest.fixture(scope="module")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    results = tmp_path_factory.mktemp("empty")
    tracking.prepare(results)
    return results / "mlflow.db"


@pytest.fixture
def results(tmp_path: Path, empty_database: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(metric_writer, "FLUSH_SECONDS", 0.02)
    monkeypatch.setattr(metric_writer, "RETRY_SECONDS", 0.02)
    (tmp_path / "results").mkdir()
    shutil.copy(empty_database, tmp_path / "results" / "mlflow.db")
    return tmp_path / "results"
