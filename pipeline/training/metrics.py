"""``metrics.json``: what a training run reached and what it took, all of it measured."""

from __future__ import annotations

import statistics
from typing import Any

from pipeline import machine
from pipeline.job import Job
from pipeline.models.shape import parameter_count
from pipeline.schema import TrainSlice
from pipeline.training.history import History


def summarize(
    job: Job[TrainSlice],
    history: History,
    execution: str,
    device: str,
    train_seconds: float,
    seconds_to_first_step: float | None,
    memory_budget_bytes: int,
) -> dict[str, Any]:
    """The run's metrics; a resident run moves no bytes to or from a parameter store.

    ``seconds_to_first_step`` is null if this process found every step done. ``train_seconds``
    counts steps and validations, those before a resume included.
    """
    model, train = job.config.model, job.config.train
    losses, step_seconds = history.column("loss"), history.column("step_seconds")
    tokens = history.column("tokens")[-1]
    return {
        "run": job.run,
        "model": model.name,
        "family": model.family.value,
        "parameters": parameter_count(model),
        "config_hash": job.hash,
        "execution": execution,
        "device": device,
        "precision": train.precision.value,
        "measured": True,
        "steps": len(losses),
        "tokens": tokens,
        "sequence_length": train.sequence_length,
        "loss_first": losses[0],
        "loss_last": losses[-1],
        "validation_loss": history.column("validation_loss")[-1],
        "tokens_per_second": tokens / sum(step_seconds),
        "step_seconds_median": statistics.median(step_seconds),
        "seconds_to_first_step": seconds_to_first_step,
        "train_seconds": train_seconds,
        "peak_rss_bytes": machine.peak_rss_bytes(),
        "memory_budget_bytes": memory_budget_bytes,
        "store_bytes": 0,
        "bytes_read": 0,
        "bytes_written": 0,
        "machine": machine.describe(),
        "versions": machine.versions(),
    }
