"""Hydra multiruns: the same runs that Snakemake would make, side by side if asked."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]

pytestmark = pytest.mark.slow


def multirun(overrides: list[str], *arguments: str) -> subprocess.CompletedProcess[str]:
    unnamed = [o for o in overrides if not o.startswith(("run=", "tracking."))]
    return subprocess.run(
        [sys.executable, "-m", "pipeline.train", "--multirun", *unnamed, *arguments],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )


def logged(results: Path) -> list[tuple[str, str, str]]:
    """Name, kind and status of every run of the experiment."""
    with closing(sqlite3.connect(results / "mlflow.db")) as database:
        return database.execute(
            "SELECT r.name, t.value, r.status FROM runs r JOIN tags t ON t.run_uuid = r.run_uuid "
            "AND t.key = 'kind' JOIN experiments e USING (experiment_id) "
            "WHERE e.name = 'onewafer' ORDER BY t.value, r.name"
        ).fetchall()


def folders(results: Path) -> list[Path]:
    return sorted(p.parent for p in results.glob("*/metrics.json"))


@pytest.mark.parametrize("launcher", ["basic", "joblib"])
def test_a_multirun_trains_each_model_once_in_one_experiment(overrides, tmp_path, launcher):
    results = tmp_path / "results"
    before = set(REPOSITORY.iterdir())
    arguments = ["model.layers=1,2", f"hydra/launcher={launcher}"]
    done = multirun(overrides, *arguments)
    assert done.returncode == 0, done.stderr
    assert len(folders(results)) == 2
    assert len(list((results / "corpus").glob("*/manifest.json"))) == 1
    kinds = [(kind, status) for _, kind, status in logged(results)]
    assert kinds == [("sweep", "FINISHED"), ("train", "FINISHED"), ("train", "FINISHED")]
    again = multirun(overrides, *arguments)
    assert again.returncode == 0, again.stderr
    assert [(kind, status) for _, kind, status in logged(results)] == kinds
    assert again.stdout.count("resuming after step 12 of 12") == 2 or launcher == "joblib"
    assert set(REPOSITORY.iterdir()) - before <= {REPOSITORY / ".pytest_cache"}


def test_a_failing_run_does_not_take_the_others_with_it(overrides, tmp_path):
    done = multirun(
        overrides,
        "train.learning_rate=1e30,1e-3",
        "train.gradient_clip=null",
        "tracking.enabled=false",
    )
    assert done.returncode != 0
    assert "is not finite" in done.stderr
    assert "Traceback" not in done.stderr
    assert len(folders(tmp_path / "results")) == 1
