"""What a training tells MLflow while it runs, so that no failure there harms the training."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.job import Job
from pipeline.metric_writer import MetricWriter
from pipeline.schema import TrainSlice
from pipeline.tracking_database import last_steps, reason

if TYPE_CHECKING:
    from pipeline.tracking import Run

log = logging.getLogger(__name__)


class TrainingLogger:
    """What a training tells of itself; this one, for tracking turned off, keeps nothing."""

    def log_step(self, step: int, metrics: Mapping[str, float]) -> None:
        """Log values by the names of their metrics, such as ``train/loss``, at ``step``."""

    def finish(
        self, metrics: Mapping[str, Any], artifacts: Iterable[Path], model_directory: Path
    ) -> None:
        """Log what a finished training leaves: ``metrics.json``'s content, files, the model."""


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
        self, metrics: Mapping[str, Any], artifacts: Iterable[Path], model_directory: Path
    ) -> None:
        """Log the results, and the plan that was made before; once more changes nothing."""
        folder = self._job.run_directory
        plan = folder / "partition.json"
        try:
            self._run.log_numbers("measured/", metrics)
            if plan.exists():
                self._run.log_plan(json.loads(plan.read_text()), plan)
            self._run.log_files([folder / "metrics.json", *artifacts])
            self._run.client.log_artifacts(self._run.id, str(model_directory), "model")
        except Exception as error:
            self._warn(error)

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
