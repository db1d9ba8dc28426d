"""Runs to log, and what MLflow has of them."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Dataset, Run

from pipeline import tracking
from pipeline.cli import job_by_hand
from pipeline.config import compose
from pipeline.job import Job

REPOSITORY = Path(__file__).resolve().parents[3]
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
