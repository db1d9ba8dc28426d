"""What a training tells MLflow while it runs, so that no failure there harms the training."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.choices import Keep
from pipeline.job import Job
from pipeline.metric_writer import MetricWriter
from pipeline.slices import TrainSlice
from pipeline.tracking_database import last_steps, reason

if TYPE_CHECKING:
    from pipeline.tracking import Run

log = logging.getLogger(__name__)

COPIED_BYTES = 2_000_000_000
"""The largest model of which MLflow gets a copy."""


class TrainingLogger:
    """What a training tells of itself; this one, for tracking turned off, keeps nothing."""

    def log_step(self, step: int, metrics: Mapping[str, float]) -> None:
        """Log values by the names of their metrics, such as ``train/loss``, at ``step``."""

    def finish(
        self, metrics: Mapping[str, Any], artifacts: Iterable[Path], weights: Path | None
    ) -> None:
        """Log what a finished training leaves: ``metrics.json``'s content, files, the weights.

        ``weights``: the model directory or the parameter store that stays, if one does.
        """


class MlflowLogger(TrainingLogger):
    """Logs to an open run; a failure is one line of warning and nothing else."""

    def __init__(self, job: Job[TrainSlice], run: Run) -> None:
        self._job, self._run, self._warned = job, run, False
        run.client.update_run(run.id, status="RUNNING")
        stored = last_steps(run.client.get_run(run.id), "train/")
        self._writer = MetricWriter(run.log_points, stored, self._warn)
        self._monitor = run.monitor_system()

    def log_step(self, step: int, metrics: Mapping[str, float]) -> None:
        """Log values at ``step``; what the run holds of that step or a later one is left out."""
        self._writer.add(step, metrics)

    def finish(
        self, metrics: Mapping[str, Any], artifacts: Iterable[Path], weights: Path | None
    ) -> None:
        """Log the results, and the plan that was made before; once more changes nothing."""
        job = self._job
        folder = job.run_directory
        plan = folder / "partition.json"
        card = [job.results / "records" / f"{job.run}.json"] if job.config.train.record else []
        try:
            self._run.log_metrics(metrics)
            if plan.exists():
                self._run.log_plan(json.loads(plan.read_text()), plan)
            self._run.log_files([folder / "metrics.json", *artifacts, *card])
            if weights is not None:
                self._log_weights(weights)
        except Exception as error:
            self._warn(error)

    def _log_weights(self, weights: Path) -> None:
        """Copy a model; a store, or a model too large to have twice, is named by a tag."""
        model = self._job.config.train.keep is Keep.model
        if model and folder_bytes(weights) <= COPIED_BYTES:
            self._run.client.log_artifacts(self._run.id, str(weights), "model")
        else:
            self._run.client.set_tag(self._run.id, "weights", str(weights))

    def close(self, status: str) -> None:
        """Write what is left, stop the threads and end the run with MLflow's ``status``."""
        self._monitor.finish()
        unwritten = self._writer.close()
        try:
            self._run.client.set_terminated(self._run.id, status)
        except Exception as error:
            self._warn(error)
        if unwritten:
            log.warning(
                "MLflow: %d values of %s are not logged; history.jsonl has them",
                unwritten,
                self._job.run,
            )

    def _warn(self, error: Exception) -> None:
        if not self._warned:
            self._warned = True
            log.warning(
                "MLflow: cannot log %s (%s); training goes on", self._job.run, reason(error)
            )


def folder_bytes(folder: Path) -> int:
    """Bytes of the files in ``folder`` and below."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
