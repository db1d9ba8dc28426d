"""What fails while MLflow is written: said in a line, and never in the way of a training."""

from __future__ import annotations

import logging
import re
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from pipeline import tracking
from pipeline.errors import TrackingError
from tests.pipeline.tracking.logged import (
    EVALUATION,
    MANIFEST,
    PLAN,
    finisher,
    history,
    job_of,
    the_run,
    train,
)


def test_an_error_marks_the_run_as_failed(results: Path) -> None:
    def fail(logger: object) -> None:
        raise ValueError("loss is not finite")

    with pytest.raises(ValueError, match="not finite"):
        train(job_of(results), range(1, 3), fail)
    assert the_run(results).info.status == "FAILED"
    assert history(results, "train/loss") == [(1, 1.0), (2, 0.5)]


def test_tracking_turned_off_writes_nothing(tmp_path: Path) -> None:
    off = "tracking.enabled=false"
    job = job_of(tmp_path, "train", off)
    train(job, range(1, 3), finisher(job))
    tracking.log_plan(job_of(tmp_path, "partition", "train=none", off), PLAN)
    tracking.log_evaluation(job_of(tmp_path, "evaluate", off), EVALUATION, MANIFEST)
    assert {path.name for path in tmp_path.iterdir()} == {"small"}


def test_a_database_that_breaks_costs_one_line_and_no_training(
    results: Path, caplog: pytest.LogCaptureFixture
) -> None:
    job = job_of(results)

    def break_database(logger: Any) -> None:
        with sqlite3.connect(results / "mlflow.db") as connection:
            connection.execute("ALTER TABLE metrics RENAME TO lost")
        logger.log_step(3, {"train/loss": 0.3})
        finisher(job)(logger)

    with caplog.at_level(logging.WARNING, logger="pipeline"):
        train(job, range(1, 3), break_database)
    warning, unwritten = [record.getMessage() for record in caplog.records]
    assert warning == "MLflow: cannot log small (no such table: metrics); training goes on"
    assert "history.jsonl has them" in unwritten


def test_an_evaluation_that_cannot_be_logged_is_not_lost(
    results: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (results / "mlflow.db").write_text("this is no database " * 100)
    tracking.log_evaluation(job_of(results, "evaluate"), EVALUATION, MANIFEST)
    (record,) = caplog.records
    assert "the evaluation of small is not logged" in record.getMessage()


@pytest.mark.parametrize("broken", ["folder", "database", "experiment"])
def test_what_cannot_be_opened_is_said_before_training(results: Path, broken: str) -> None:
    job = job_of(results)
    if broken == "folder":
        shutil.rmtree(results)
        results.write_text("a file")
    elif broken == "database":
        (results / "mlflow.db").write_text("this is no database " * 100)
    else:
        train(job, range(0))
        client = MlflowClient(f"sqlite:///{results}/mlflow.db")
        client.delete_experiment(the_run(results).info.experiment_id)
    with pytest.raises(TrackingError, match=re.escape(str(results / "mlflow.db"))) as caught:
        train(job, range(1, 3))
    assert "\n" not in str(caught.value)
