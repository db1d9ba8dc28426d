"""Logs runs to MLflow; the only module that imports it, and only where it is needed.

The database is ``results/mlflow.db``, the artifacts lie in ``results/mlflow-artifacts/``::

    experiment               named by tracking.experiment
      sweep                  a run that holds the runs of one sweep as its children
        model                one run per (model, configuration), found again by ``config_hash``

The tag ``numbers`` of a run says whether they are *measured* or *simulated*, and so do the names
of its metrics: ``train/*`` (by step), ``measured/*`` (the training as a whole), ``evaluation/*``
and ``system/*`` (the computer's load) are measured, ``predicted/*`` is what the training was
forecast to take of this machine, ``simulated/*`` is the plan for the wafer, or
an experiment on its fabric.

A record run has the tag ``record``; the sweep ``records`` keeps them in an experiment of that name.

    python -m pipeline.tracking prepare RESULTS     make the database, unless it is there
"""

from __future__ import annotations

import argparse
import json
import logging
import math
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline import tracking_database as database
from pipeline.config import plain
from pipeline.corpus.shards import content_sha256
from pipeline.errors import Interrupted, TrackingError
from pipeline.job import Job
from pipeline.metric_writer import Point
from pipeline.reporting.plan_comparison import band
from pipeline.reporting.plan_files import plan_files
from pipeline.slices import EvaluateSlice, FabricSlice, PartitionSlice, ReportSlice, TrainSlice
from pipeline.training_logger import MlflowLogger, TrainingLogger

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run as MlflowRun  # noqa: F401 (the type, for tracking_database)
    from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

SYSTEM_SECONDS = 5.0  # between samples of the computer's load
MEASURED_OF_FABRIC = ("simulation_seconds", "pe_cycles_per_second")  # of fabric.json
FORECASTS = ("plan", "predicted_step_seconds", "scheduled_step_seconds")  # of metrics.json

log = logging.getLogger(__name__)


def prepare(results: Path) -> None:
    """Make the database unless it is there; raise :class:`TrackingError` if that fails."""
    with database.explained(results), database.locked(results):
        database.ensure(results, lambda uri: _fill(uri, database.artifact_uri(results)))


def _fill(uri: str, artifacts: str) -> None:
    """Make MLflow's tables in a new database."""
    _quieten()
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    SqlAlchemyStore(uri, artifacts).engine.dispose()


def _quieten() -> None:
    """Have MLflow neither report home nor print what a user cannot act on."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    import mlflow  # noqa: F401  (sets up its own logging when it is imported)

    logging.getLogger("mlflow").setLevel(logging.CRITICAL)


@dataclass(frozen=True)
class Run:
    """A run of the database that is being logged to; its methods raise MLflow's exceptions."""

    client: MlflowClient
    id: str

    def log_points(self, points: Iterable[Point]) -> None:
        """Log at most 1000 points; one that stands there with the same time is not doubled."""
        from mlflow.entities import Metric

        metrics = [Metric(point.name, point.value, point.time_ms, point.step) for point in points]
        self.client.log_batch(self.id, metrics=metrics)

    def log_numbers(self, prefix: str, values: Mapping[str, Any]) -> None:
        """Log the finite numbers among ``values``, but for those that stand there already."""
        stored = self.client.get_run(self.id).data.metrics
        now_ms = int(time.time() * 1000)
        self.log_points(
            Point(prefix + name, float(value), now_ms, step=0)
            for name, value in values.items()
            if isinstance(value, int | float)
            and not isinstance(value, bool)
            and math.isfinite(value)
            and stored.get(prefix + name) != float(value)
        )

    def log_metrics(self, metrics: Mapping[str, Any]) -> None:
        """Log the content of ``metrics.json``, what it forecast apart from what it measured."""
        forecast = metrics.get("plan") or {}
        step = {
            "step_seconds": metrics.get("predicted_step_seconds"),
            "scheduled_step_seconds": metrics.get("scheduled_step_seconds"),
        }
        self.log_numbers("predicted/", dict(database.flat(forecast)) | step)
        floor = dict(database.flat({"floor_seconds": metrics.get("floor_seconds") or {}}))
        measured = {key: metrics[key] for key in metrics if key not in FORECASTS}
        self.log_numbers("measured/", measured | floor)

    def log_files(self, paths: Iterable[Path], folder: str | None = None) -> None:
        """Keep those files that are there, in place of older ones of the same name.

        Without a ``folder``, pictures go to ``figures`` and other files to the root.
        """
        for path in paths:
            if path.exists():
                default = "figures" if path.suffix in (".png", ".svg") else None
                self.client.log_artifact(self.id, str(path), folder or default)

    def log_configuration(self, job: Job[Any]) -> None:
        """Log a stage's slice: the scalars as parameters, once, and the frozen file."""
        from mlflow.entities import Param

        known = self.client.get_run(self.id).data.params
        scalars = database.flat(plain(job.config))
        parameters = [Param(name, str(value)) for name, value in scalars if name not in known]
        self.client.log_batch(self.id, params=parameters)
        self.log_files([_frozen_file(job)], "config")

    def log_plan(self, plan: Mapping[str, Any], path: Path) -> None:
        """Log the numbers of a plan, its file and those beside it: the trace and the pictures."""
        numbers = dict(database.flat(plan)) | {"fits": int(plan["fits"])}
        if ends := band(plan):
            numbers |= {"step_seconds_low": ends[0], "step_seconds_high": ends[1]}
        self.log_numbers("simulated/", numbers)
        self.log_files([path, *plan_files(path.parent)])

    def log_dataset(self, manifest: Mapping[str, Any]) -> None:
        """Log the tokens that ``manifest`` describes as the data set of the training."""
        from mlflow.entities import Dataset, DatasetInput, InputTag

        profile = {key: manifest[key] for key in ("inputs_sha256", "tokenizer_sha256")}
        for name, split in manifest["splits"].items():
            counts = ("tokens", "bytes", "documents")
            profile |= {f"{name}_{count}": split[count] for count in counts}
        dataset = Dataset(
            name=manifest["corpus"],
            digest=manifest["inputs_sha256"][:36],  # the longest that MLflow takes
            source_type="local",
            source=json.dumps({"uri": f"corpus/{manifest['corpus']}"}),
            profile=json.dumps(profile),
        )
        tags = [InputTag("mlflow.data.context", "training")]
        self.client.log_inputs(self.id, datasets=[DatasetInput(dataset, tags)])

    def monitor_system(self) -> SystemMetricsMonitor:
        """Start to log the computer's load as ``system/*``, until the monitor is finished."""
        from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

        monitor = SystemMetricsMonitor(
            self.id,
            sampling_interval=SYSTEM_SECONDS,
            resume_logging=True,
            tracking_uri=self.client.tracking_uri,
        )
        monitor.start()
        return monitor


def _frozen_file(job: Job[Any]) -> Path:
    return job.run_directory / "config" / f"{job.stage}.yaml"


def open_run(job: Job[Any], identity: Mapping[str, str], tags: Mapping[str, str]) -> Run:
    """Open the one run whose tags hold ``identity``, found or made, and set ``tags`` on it.

    Safe when several processes ask at once. Raises :class:`TrackingError` if the database
    cannot be used.
    """
    prepare(job.results)
    with database.explained(job.results):
        _quieten()
        from mlflow import MlflowClient

        with database.locked(job.results):
            client = MlflowClient(database.uri(job.results))
            run = Run(client, database.ensure_run(client, job, identity))
        for name, value in tags.items():
            client.set_tag(run.id, name, value)
        return run


def log_plan(job: Job[PartitionSlice], plan: Mapping[str, Any]) -> None:
    """Log the plan of a run that is only planned; a training logs its plan when it finishes.

    Raises :class:`TrackingError` if it cannot be logged.
    """
    if not job.tracking.enabled:
        return
    tags = {"kind": "plan", "numbers": "simulated", "execution": "simulated"}
    identity = {"config_hash": job.hash}
    run = open_run(job, identity, tags | {"device": job.config.wafer.name})
    with database.explained(job.results):
        run.log_configuration(job)
        run.log_plan(plan, job.run_directory / "partition.json")
        run.client.set_terminated(run.id)


def log_experiment(
    job: Job[FabricSlice], summary: Mapping[str, Any], files: Iterable[Path]
) -> None:
    """Log an experiment on the fabric: its numbers, ``fabric.json`` and ``files``.

    Raises :class:`TrackingError` if it cannot be logged.
    """
    if not job.tracking.enabled:
        return
    tags = {"kind": "fabric", "numbers": "simulated", "execution": "simulated"}
    run = open_run(job, {"config_hash": job.hash}, tags | {"device": job.config.wafer})
    with database.explained(job.results):
        run.log_configuration(job)
        # How long the simulation took is no property of the fabric: it is measured here.
        measured = {name: summary[name] for name in MEASURED_OF_FABRIC}
        run.log_numbers("simulated/", {k: v for k, v in summary.items() if k not in measured})
        run.log_numbers("measured/", measured)
        run.log_files([job.run_directory / "fabric.json", *files])
        run.client.set_terminated(run.id)


def log_evaluation(
    job: Job[EvaluateSlice], evaluation: Mapping[str, Any], manifest: Mapping[str, Any]
) -> None:
    """Log an evaluation in the run of the training; if that fails, warn and go on.

    ``manifest`` is that of the corpus.
    """
    if not job.tracking.enabled:
        return
    names = ("validation_loss", "perplexity", "bits_per_byte", "tokens", "bytes", "seconds")
    try:
        identity = training_identity(job.config.train_hash, manifest)
        run = open_run(job, identity, {"kind": "train", "numbers": "measured"})
        run.log_numbers("evaluation/", {name: evaluation[name] for name in names})
        run.log_files([job.run_directory / "evaluation.json"])
        run.log_files([_frozen_file(job)], "config")
        # A run that was trained ended then; one that was not tracked until now ends here.
        run.client.set_terminated(run.id, end_time=run.client.get_run(run.id).info.end_time)
    except Exception as error:
        log.warning(
            "MLflow: the evaluation of %s is not logged (%s)", job.run, database.reason(error)
        )


def log_report(job: Job[ReportSlice], files: Iterable[Path]) -> None:
    """Keep a report and its figures in the run of its sweep; if that fails, warn and go on."""
    if not job.tracking.enabled:
        return
    try:
        prepare(job.results)
        _quieten()
        from mlflow import MlflowClient

        client = MlflowClient(database.uri(job.results))
        with database.locked(job.results):
            run = Run(client, database.ensure_sweep(client, job, job.config.sweep))
        run.log_files(files)
    except Exception as error:
        log.warning("MLflow: the report is not logged (%s)", database.reason(error))


def training_identity(config_hash: str, manifest: Mapping[str, Any]) -> dict[str, str]:
    """The tags by which a training is found again: its configuration, and the tokens it learned.

    The same configuration on text that has changed is another run.
    """
    return {"config_hash": config_hash, "tokens_sha256": content_sha256(dict(manifest))}


@contextmanager
def training_logger(
    job: Job[TrainSlice], execution: str, device: str, manifest: Mapping[str, Any]
) -> Iterator[TrainingLogger]:
    """Log a training while the context is entered; how it is left becomes the run's status.

    A training that goes on after a stop goes on in its run: only steps that are not there yet
    are logged. ``manifest`` is that of the corpus. Raises :class:`TrackingError` on entering, if
    the run cannot be opened; later failures are warned of.
    """
    if not job.tracking.enabled:
        yield TrainingLogger()
        return
    tags = {"kind": "train", "numbers": "measured", "execution": execution, "device": device}
    if job.config.train.record:
        tags["record"] = "true"
    run = open_run(job, training_identity(job.hash, manifest), tags)
    with database.explained(job.results):
        run.log_configuration(job)
        run.log_dataset(manifest)
        logger = MlflowLogger(job, run)
    status = "FAILED"
    try:
        yield logger
        status = "FINISHED"
    except (Interrupted, KeyboardInterrupt):
        status = "KILLED"
        raise
    finally:
        logger.close(status)


def main() -> None:
    """Make the database; see the module's docstring."""
    parser = argparse.ArgumentParser(prog="python -m pipeline.tracking")
    command = parser.add_subparsers(required=True).add_parser("prepare", help="make the database")
    command.add_argument("results", type=Path, help="folder of the results")
    try:
        prepare(parser.parse_args().results)
    except TrackingError as error:
        raise SystemExit(f"onewafer tracking: {error}") from None


if __name__ == "__main__":
    main()
