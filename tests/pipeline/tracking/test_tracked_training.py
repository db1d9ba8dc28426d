"""A training in MLflow: one run per configuration, found again and continued."""

from __future__ import annotations

import json
import shutil
import sqlite3
import time
from pathlib import Path

import pytest
from mlflow import MlflowClient

from pipeline import tracking, training_logger
from pipeline.errors import Interrupted
from tests.pipeline.tracking.logged import (
    MANIFEST,
    METRICS,
    artifact,
    datasets,
    finisher,
    history,
    job_of,
    stored_runs,
    the_run,
    train,
)


def test_a_training_is_logged_with_all_it_is(results: Path) -> None:
    job = job_of(results, "train", "tracking.sweep=tiny")
    train(job, range(1, 5), finisher(job))
    run = the_run(results)
    parent = the_run(results, "sweep")
    assert (run.info.run_name, run.info.status) == ("small", "FINISHED")
    assert (parent.info.run_name, parent.info.status) == ("tiny", "FINISHED")
    expected = {
        "config_hash": job.hash,
        "sweep": "tiny",
        "execution": "resident",
        "device": "cpu",
        "numbers": "measured",
        "mlflow.parentRunId": parent.info.run_id,
    }
    assert expected.items() <= run.data.tags.items()
    assert run.data.params["model.family"] == "gpt2"
    assert float(run.data.params["train.learning_rate"]) == job.config.train.learning_rate
    assert history(results, "train/loss") == [(step, 1 / step) for step in range(1, 5)]
    metrics = run.data.metrics
    assert metrics["measured/loss_last"] == 1.5
    assert metrics["simulated/step_seconds"] == 0.5
    assert metrics["simulated/seconds_by_cause.compute"] == 0.4
    assert metrics["simulated/fits"] == 1
    assert metrics["measured/store_bytes"] == 41 * 10**9
    assert metrics["measured/floor_seconds.compute"] == 100.0
    assert metrics["predicted/step_seconds"] == 110.0
    assert metrics["predicted/disk_bytes"] == 5 * 10**10
    assert not [name for name in metrics if "measured/plan" in name or "measured/pred" in name]
    assert not {"measured/measured", "measured/memory_budget_bytes"} & metrics.keys()
    (dataset,) = datasets(run)
    assert dataset.name == MANIFEST["corpus"]
    assert MANIFEST["inputs_sha256"].startswith(dataset.digest)
    assert json.loads(dataset.profile or "")["train_tokens"] == 900


def test_artifacts_lie_below_the_results(results: Path) -> None:
    job = job_of(results)
    train(job, range(1, 3), finisher(job))
    run = the_run(results)
    assert artifact(run, "").is_relative_to(results / "mlflow-artifacts")
    frozen = (job.run_directory / "config" / "train.yaml").read_text()
    assert artifact(run, "config/train.yaml").read_text() == frozen
    files = ["metrics.json", "partition.json", "history.jsonl", "figures/loss.png"]
    assert all(artifact(run, name).is_file() for name in [*files, "model/config.json"])


def test_a_record_run_is_tagged_and_has_its_card_and_its_timeline(results: Path) -> None:
    job = job_of(results, "train", "train=record", "tracking.experiment=records")
    folder = job.run_directory
    (results / "records").mkdir()
    (results / "records" / "small.json").write_text("{}")
    for name in ("timeline.json", "timeline.png"):
        (folder / name).write_text("{}")
    files = [folder / "timeline.json", folder / "timeline.png"]
    train(job, range(1, 3), lambda logger: logger.finish(METRICS, files, None))
    run = the_run(results)
    assert run.data.tags["record"] == "true"
    assert "weights" not in run.data.tags
    names = ("small.json", "timeline.json", "figures/timeline.png")
    assert all(artifact(run, name).is_file() for name in names)
    client = MlflowClient(f"sqlite:///{results}/mlflow.db")
    assert client.get_experiment(run.info.experiment_id).name == "records"
    train(job_of(results, "train", "run=usual"), range(1, 2))
    assert [
        run.info.run_name for run in stored_runs(results, "train") if "record" in run.data.tags
    ] == ["small"]


def test_large_weights_and_stores_are_named_and_not_copied(
    results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training_logger, "COPIED_BYTES", 1)
    job = job_of(results)
    train(job, range(1, 3), finisher(job))
    run = the_run(results)
    assert run.data.tags["weights"] == str(job.run_directory / "model")
    assert not artifact(run, "model").exists()
    store = job_of(results, "train", "train.keep=store", "run=kept")
    folder = store.run_directory / "checkpoints" / "0" / "store"
    train(store, range(1, 2), lambda logger: logger.finish(METRICS, [], folder))
    [kept] = [run for run in stored_runs(results, "train") if run.info.run_name == "kept"]
    assert kept.data.tags["weights"] == str(folder)


def test_a_stopped_training_goes_on_in_its_run(results: Path) -> None:
    job = job_of(results)

    def stop(logger: object) -> None:
        raise Interrupted("stopped by SIGTERM", 15)

    with pytest.raises(Interrupted):
        train(job, range(1, 7), stop)
    killed = the_run(results)
    assert killed.info.status == "KILLED"
    # The last checkpoint was at step 4: steps 5 and 6 are done again.
    train(job, range(5, 9), lambda logger: status_is(results, "RUNNING"))
    again = the_run(results)
    assert (again.info.run_id, again.info.status) == (killed.info.run_id, "FINISHED")
    assert again.data.params == killed.data.params
    assert len(datasets(again)) == 1
    assert history(results, "train/loss") == [(step, 1 / step) for step in range(1, 9)]


def status_is(results: Path, status: str) -> None:
    assert the_run(results).info.status == status


def test_finishing_again_doubles_nothing_and_takes_what_is_new(results: Path) -> None:
    job = job_of(results)
    finish = finisher(job)
    train(job, range(1, 3), finish)
    files = sorted(path for path in (results / "mlflow-artifacts").rglob("*"))
    (job.run_directory / "model" / "config.json").write_text('{"new": 1}')
    train(job, range(0), finish)
    assert sorted(path for path in (results / "mlflow-artifacts").rglob("*")) == files
    assert artifact(the_run(results), "model/config.json").read_text() == '{"new": 1}'
    with sqlite3.connect(results / "mlflow.db") as connection:
        doubled = "SELECT key FROM metrics GROUP BY run_uuid, key, step HAVING count(*) > 1"
        assert connection.execute(doubled).fetchall() == []


def test_other_configurations_and_sweeps_are_other_runs(results: Path) -> None:
    for sweep in ("one", "it's another"):
        for seed in (1, 2):
            overrides = [f"train.seed={seed}", f'tracking.sweep="{sweep}"', f"run=seed{seed}"]
            train(job_of(results, "train", *overrides), range(0))
    assert sorted(run.info.run_name for run in stored_runs(results, "train")) == ["seed1", "seed2"]
    assert {run.data.tags["sweep"] for run in stored_runs(results, "train")} == {"one"}
    train(job_of(results, "train", "train.seed=3", 'tracking.sweep="it\'s another"'), range(0))
    train(job_of(results, "train", "train.seed=4", 'tracking.sweep="it\'s another"'), range(0))
    sweeps = stored_runs(results, "sweep")
    assert sorted(run.info.run_name for run in sweeps) == ["it's another", "one"]


def test_the_load_of_the_computer_is_logged(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracking, "SYSTEM_SECONDS", 0.02)

    def wait_for_samples(logger: object) -> None:
        deadline = time.monotonic() + 20
        while "system/cpu_utilization_percentage" not in the_run(results).data.metrics:
            assert time.monotonic() < deadline
            time.sleep(0.05)

    train(job_of(results), range(0), wait_for_samples)
    before = the_run(results).data.metrics
    time.sleep(0.2)
    assert the_run(results).data.metrics == before


def test_the_working_directory_and_odd_names_do_not_matter(
    tmp_path: Path, empty_database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path / "a b%20c#d"
    (here / "results").mkdir(parents=True)
    shutil.copy(empty_database, here / "results")
    monkeypatch.chdir(here)
    job = job_of(Path("results"))
    train(job, range(1, 3), finisher(job))
    (here / "elsewhere").mkdir()
    monkeypatch.chdir(here / "elsewhere")
    train(job_of(Path("../results")), range(1, 4))
    assert len(history(here / "results", "train/loss")) == 3
    assert (here / "results" / "mlflow-artifacts").is_dir()
    assert list((here / "elsewhere").iterdir()) == []
    assert {path.name for path in here.iterdir()} == {"results", "elsewhere"}
