"""Runs in MLflow: one per configuration, found again, continued, and never in the way."""

from __future__ import annotations

import json
import logging
import math
import re
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.entities import Dataset, Run

from pipeline import metric_writer, tracking, training_logger
from pipeline.cli import job_by_hand
from pipeline.config import compose
from pipeline.errors import Interrupted, TrackingError
from pipeline.job import Job
from pipeline.metric_writer import MetricWriter, Point

REPOSITORY = Path(__file__).resolve().parents[2]

MANIFEST: dict[str, Any] = {
    "corpus": "text-bpe_512-0123abcd",
    "inputs_sha256": "ab" * 32,
    "tokenizer_sha256": "cd" * 32,
    "splits": {
        "train": {"tokens": 900, "bytes": 3600, "documents": 9},
        "validation": {"tokens": 100, "bytes": 400, "documents": 1},
    },
}
PLAN: dict[str, Any] = {
    "model": "nano_1m",
    "parameters": 1_000_000,
    "fits": True,
    "step_seconds": 0.5,
    "bottleneck": "compute",
    "seconds_by_cause": {"compute": 0.4, "fixed": 0.1},
    "calibration": {"release": "2.0", "low": 0.4, "high": 0.6},
}
METRICS: dict[str, Any] = {
    "run": "small",
    "steps": 4,
    "loss_last": 1.5,
    "peak_rss_bytes": 10**9,
    "memory_budget_bytes": None,
    "store_bytes": 41 * 10**9,
    "floor_seconds": {"compute": 100.0, "transfer": 80.0, "update": 20.0},
    "plan": {"disk_bytes": 5 * 10**10, "kept_layers": 3},
    "predicted_step_seconds": 110.0,
    "machine": {"cores": 2},
    "measured": True,
}
EVALUATION: dict[str, Any] = {
    "run": "small",
    "validation_loss": 1.25,
    "perplexity": math.exp(1.25),
    "bits_per_byte": 0.5,
    "tokens": 100,
    "bytes": 400,
    "seconds": 2.0,
    "samples": [],
}


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


def job_of(results: Path, stage: str = "train", *overrides: str) -> Job[Any]:
    return job_by_hand(compose([f"results={results}", "run=small", *overrides]), stage)


def stored_runs(results: Path, kind: str) -> list[Run]:
    client = MlflowClient(f"sqlite:///{results.absolute()}/mlflow.db")
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    return list(client.search_runs(experiments, f"tags.kind = '{kind}'"))


def the_run(results: Path, kind: str = "train") -> Run:
    (run,) = stored_runs(results, kind)
    return run


def history(results: Path, metric: str) -> list[tuple[int, float]]:
    """The stored (step, value) pairs of a metric of the one training run."""
    client = MlflowClient(f"sqlite:///{results.absolute()}/mlflow.db")
    points = client.get_metric_history(the_run(results).info.run_id, metric)
    return sorted((point.step, point.value) for point in points)


def datasets(run: Run) -> list[Dataset]:
    return [used.dataset for used in run.inputs.dataset_inputs] if run.inputs else []


def artifact(run: Run, name: str) -> Path:
    return Path(run.info.artifact_uri.removeprefix("file://")) / name


def train(job: Job[Any], steps: range, then: Callable[[Any], None] = lambda logger: None) -> None:
    with tracking.training_logger(job, "resident", "cpu", MANIFEST) as logger:
        for step in steps:
            logger.log_step(step, {"train/loss": 1 / step, "train/tokens_per_second": 100.0})
        then(logger)


def finisher(job: Job[Any]) -> Callable[[Any], None]:
    """Leaves results in the run's folder and logs them."""
    folder = job.run_directory
    (folder / "model").mkdir(parents=True, exist_ok=True)
    (folder / "model" / "config.json").write_text("{}")
    (folder / "metrics.json").write_text(json.dumps(METRICS | {"config_hash": job.hash}))
    (folder / "partition.json").write_text(json.dumps(PLAN))
    (folder / "history.jsonl").write_text('{"step": 1}\n')
    (folder / "loss.png").write_bytes(b"png")
    files = [folder / "history.jsonl", folder / "loss.png"]
    return lambda logger: logger.finish(METRICS, files, folder / "model")


def test_importing_does_not_import_mlflow() -> None:
    script = "import sys, pipeline.tracking; sys.exit('mlflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], cwd=REPOSITORY).returncode == 0


def test_mlflow_is_imported_in_one_module_only() -> None:
    folders = [REPOSITORY / name for name in ("pipeline", "wse", "benchmarks", "rules")]
    sources = [path for pattern in ("*.py", "*.smk") for f in folders for path in f.rglob(pattern)]
    importing = {
        path.relative_to(REPOSITORY).as_posix()
        for path in [*sources, REPOSITORY / "Snakefile"]
        if imports_mlflow(path.read_text())
    }
    assert importing == {"pipeline/tracking.py"}


def imports_mlflow(source: str) -> bool:
    at_run_time = re.sub(r"^if TYPE_CHECKING:\n(?: .*\n)+", "", source, flags=re.MULTILINE)
    return bool(re.search(r"^ *(import|from) mlflow\b", at_run_time, re.MULTILINE))


def test_prepare_makes_the_database_once(results: Path) -> None:
    before = (results / "mlflow.db").read_bytes()
    script = f"""
import sys, pathlib, pipeline.tracking
pipeline.tracking.prepare(pathlib.Path({str(results)!r}))
sys.exit('mlflow' in sys.modules)
"""
    assert subprocess.run([sys.executable, "-c", script], cwd=REPOSITORY).returncode == 0
    assert (results / "mlflow.db").read_bytes() == before


def test_prepare_makes_good_an_unfinished_database(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mlflow.db.unfinished").write_bytes(b"half")
    monkeypatch.setattr(sys, "argv", ["pipeline.tracking", "prepare", str(tmp_path)])
    tracking.main()
    assert {path.name for path in tmp_path.iterdir()} == {"mlflow.db", "mlflow.lock"}
    assert capfd.readouterr() == ("", "")
    with sqlite3.connect(tmp_path / "mlflow.db") as connection:
        assert connection.execute("SELECT count(*) FROM runs").fetchone() == (0,)


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


def test_an_error_marks_the_run_as_failed(results: Path) -> None:
    def fail(logger: object) -> None:
        raise ValueError("loss is not finite")

    with pytest.raises(ValueError, match="not finite"):
        train(job_of(results), range(1, 3), fail)
    assert the_run(results).info.status == "FAILED"
    assert history(results, "train/loss") == [(1, 1.0), (2, 0.5)]


def test_two_processes_at_once_make_one_database_and_one_run(tmp_path: Path) -> None:
    frozen = job_of(tmp_path).run_directory / "config" / "train.yaml"
    script = """
import sys, pathlib
from pipeline import tracking
from pipeline.freeze import load
job = load(pathlib.Path(sys.argv[1]), "train", "by_hand")
print(tracking.open_run(job, {"config_hash": job.hash}, {"kind": "train"}).id)
"""
    command = [sys.executable, "-c", script, str(frozen)]
    pair = [subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE) for _ in range(2)]
    first, second = (process.communicate()[0].decode().strip() for process in pair)
    assert first == second == the_run(tmp_path).info.run_id
    assert len(stored_runs(tmp_path, "sweep")) == 1
    with sqlite3.connect(tmp_path / "mlflow.db") as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


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


def test_a_plan_without_training_is_a_simulated_run(results: Path) -> None:
    job = job_of(results, "partition", "train=none", "model=gptneox_20b")
    job.run_directory.joinpath("partition.json").write_text(json.dumps(PLAN))
    for _ in range(2):
        tracking.log_plan(job, PLAN | {"fits": False, "step_seconds": None})
    run = the_run(results, "plan")
    expected = {"execution": "simulated", "numbers": "simulated", "config_hash": job.hash}
    assert expected.items() <= run.data.tags.items()
    assert (run.data.tags["device"], run.info.status) == ("wse2", "FINISHED")
    assert run.data.metrics["simulated/fits"] == 0
    assert "simulated/step_seconds" not in run.data.metrics
    assert all(name.startswith("simulated/") for name in run.data.metrics)
    assert run.data.params["model.layers"] == "44"
    assert artifact(run, "partition.json").is_file()


def test_an_evaluation_joins_the_run_of_its_training(results: Path) -> None:
    train(job_of(results), range(1, 3))
    ended = the_run(results).info.end_time
    job = job_of(results, "evaluate")
    (job.run_directory / "evaluation.json").write_text(json.dumps(EVALUATION))
    for _ in range(2):
        tracking.log_evaluation(job, EVALUATION, MANIFEST)
    tracking.log_evaluation(job, EVALUATION | {"validation_loss": 1.0}, MANIFEST)
    run = the_run(results)
    assert run.data.metrics["evaluation/validation_loss"] == 1.0
    assert len(history(results, "evaluation/perplexity")) == 1
    assert (run.info.status, run.info.end_time) == ("FINISHED", ended)
    names = ("evaluation.json", "config/evaluate.yaml")
    assert all(artifact(run, name).is_file() for name in names)


def test_an_evaluation_alone_makes_the_run(results: Path) -> None:
    job = job_of(results, "evaluate")
    tracking.log_evaluation(job, EVALUATION, MANIFEST)
    run = the_run(results)
    assert run.data.tags["config_hash"] == job.config.train_hash == job_of(results).hash
    assert run.info.status == "FINISHED"


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


def test_the_writer_keeps_what_fails_and_leaves_out_what_is_stored(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(metric_writer, "FLUSH_SECONDS", 0.01)
    monkeypatch.setattr(metric_writer, "RETRY_SECONDS", 0.01)
    sent: list[Point] = []
    errors: list[Exception] = []

    def send(points: list[Point]) -> None:
        if len(errors) < 2:
            raise OSError("database is locked")
        sent.extend(points)

    writer = MetricWriter(send, {"loss": 2}, errors.append)
    for step in (1, 2, 3, 3, 4):
        writer.add(step, {"loss": float(step), "rate": math.inf})
    deadline = time.monotonic() + 10
    while len(errors) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert writer.close() == 0
    assert [point.step for point in sent if point.name == "loss"] == [3, 4]
    rates = [point for point in sent if point.name == "rate"]
    assert [point.step for point in rates] == [1, 2, 3, 4]
    assert all(math.isnan(point.value) for point in rates)


def test_the_writer_sends_no_more_than_mlflow_takes() -> None:
    sizes: list[int] = []
    writer = MetricWriter(lambda points: sizes.append(len(points)), {}, lambda error: None)
    for step in range(1250):
        writer.add(step, {"loss": 0.0, "rate": 0.0})
    assert (writer.close(), sum(sizes)) == (0, 2500)
    assert max(sizes) <= 1000
