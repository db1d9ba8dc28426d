"""Hydra multiruns: the runs that Snakemake would make, one after the other or side by side."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """Where the runs' results will lie."""
    return tmp_path / "results"


@pytest.fixture
def multirun(
    overrides: list[str], results: Path, tmp_path: Path
) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs ``python -m pipeline.train --multirun`` in an empty folder; runs name themselves."""
    unnamed = [override for override in overrides if not override.startswith("run=")]
    folder = tmp_path / "empty"
    folder.mkdir()

    def run(*more: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-m", "pipeline.train", "--multirun", *unnamed, *more],
            cwd=folder,
            env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPOSITORY)},
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert [*folder.iterdir(), *results.rglob(".hydra")] == [], "left by Hydra"
        return done

    return run


def logged(results: Path) -> list[tuple[str, str, str | None]]:
    """Kind, status and sweep (by the parent's name) of each run of the experiment."""
    runs = (
        "SELECT kind.value, run.status, parent.name FROM runs run "
        "JOIN experiments e ON e.experiment_id = run.experiment_id AND e.name = 'onewafer' "
        "JOIN tags kind ON kind.run_uuid = run.run_uuid AND kind.key = 'kind' "
        "LEFT JOIN tags t ON t.run_uuid = run.run_uuid AND t.key = 'mlflow.parentRunId' "
        "LEFT JOIN runs parent ON parent.run_uuid = t.value ORDER BY kind.value"
    )
    with closing(sqlite3.connect(results / "mlflow.db")) as database:
        return database.execute(runs).fetchall()


def points(results: Path) -> int:
    """How many losses are stored."""
    count = "SELECT count(*) FROM metrics WHERE key = 'train/loss'"
    with closing(sqlite3.connect(results / "mlflow.db")) as database:
        return database.execute(count).fetchone()[0]


def trained(results: Path) -> dict[str, str]:
    """The history of each run that has ended, by the name of the run."""
    return {
        path.parent.name: (path.parent / "history.jsonl").read_text()
        for path in results.glob("*/metrics.json")
    }


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["basic", pytest.param("joblib", marks=pytest.mark.long)])
def test_each_run_is_trained_and_logged_once(multirun, results, launcher):
    # There are no tokens yet: side by side, both runs want to make them.
    again = ["model.layers=1,2", "tracking.enabled=true", f"hydra/launcher={launcher}"]
    done = multirun(*again)
    assert (done.returncode, done.stderr) == (0, "")
    runs = trained(results)
    assert len(runs) == 2
    assert all(name.startswith("nano_100k-") for name in runs)
    assert all(history.count('"loss"') == 12 for history in runs.values())
    (corpus,) = (results / "corpus").iterdir()
    assert (corpus / "manifest.json").exists()
    assert done.stdout.count("corpus text-bpe_512-") == 1
    of_the_sweep = ("train", "FINISHED", "by_hand")
    assert logged(results) == [("sweep", "FINISHED", None), of_the_sweep, of_the_sweep]
    assert points(results) == 24

    done = multirun(*again)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("resuming after step 12 of 12") == 2
    assert trained(results) == runs
    assert len(logged(results)) == 3
    assert points(results) == 24


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["basic", pytest.param("joblib", marks=pytest.mark.long)])
def test_runs_that_fail_are_all_named_and_stop_no_other(multirun, results, launcher):
    rates = "train.learning_rate=1e30,1e-3,1e31"
    done = multirun(rates, "train.gradient_clip=null", f"hydra/launcher={launcher}")
    assert done.returncode == 1
    (name,) = trained(results)
    folders = {path.parent.parent.name for path in results.glob("nano_100k-*/config/train.yaml")}
    ours = [line for line in done.stderr.splitlines() if line.startswith("onewafer train: ")]
    assert len(ours) == 3
    for failed in folders - {name}:
        assert any(f": {failed}: step 2 of 12: loss nan" in line for line in ours)
    assert "not every run of the multirun was finished, as said above; the same" in ours[-1]
    # The rest is Hydra's own: the overrides of the first that failed.
    rest = set(done.stderr.splitlines()) - set(ours)
    assert all(line.startswith("Error executing job with overrides: ") for line in rest)


def test_a_typo_is_found_before_the_first_run(multirun, results):
    done = multirun("train.lerning_rate=1e-3,1e-4")
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("onewafer train: train.lerning_rate: no such key; did you mean")
    assert trained(results) == {}
