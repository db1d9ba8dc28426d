"""``metrics.json``: what a training run reached and what it took, all of it measured."""

from __future__ import annotations

import statistics
from dataclasses import asdict
from typing import Any

from pipeline import machine
from pipeline.job import Job
from pipeline.models.shape import parameter_count
from pipeline.slices import TrainSlice
from pipeline.streaming.forecast import Forecast
from pipeline.streaming.plan import ResidentPlan, StreamingPlan
from pipeline.training.loop import TrainingLoop


def summarize(
    job: Job[TrainSlice],
    loop: TrainingLoop,
    plan: ResidentPlan | StreamingPlan,
    forecast: Forecast | None,
    device: str,
    tokens_sha256: str,
    seconds_to_first_step: float | None,
) -> dict[str, Any]:
    """The run's metrics; a resident run moves no bytes to or from a parameter store.

    ``seconds_to_first_step`` is null if this process found every step done. ``train_seconds``
    counts steps and validations, those before a resume included. ``plan``, ``floor_seconds``,
    ``predicted_step_seconds`` and ``scheduled_step_seconds`` (by the wafer's own schedule) were
    said before the run; all else is measured.
    """
    history, execution = loop.history, loop.execution
    model, train = job.config.model, job.config.train
    losses, step_seconds = history.column("loss"), history.column("step_seconds")
    tokens = history.column("tokens")[-1]
    return {
        "run": job.run,
        "model": model.name,
        "family": model.family.value,
        "parameters": parameter_count(model),
        "config_hash": job.hash,
        "tokens_sha256": tokens_sha256,
        "execution": execution.name,
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
        "train_seconds": loop.progress.train_seconds,
        "peak_rss_bytes": machine.peak_rss_bytes(),
        "memory_budget_bytes": plan.memory_budget_bytes,
        "store_bytes": execution.store_bytes(),
        "bytes_read": execution.timeline.bytes_read,
        "bytes_written": execution.timeline.bytes_written,
        "plan": asdict(plan),
        "predicted_step_seconds": None if forecast is None else forecast.step_seconds,
        "scheduled_step_seconds": None if forecast is None else forecast.scheduled_seconds,
        "floor_seconds": None if forecast is None else asdict(forecast.floor_seconds),
        "machine": machine.describe(),
        "versions": machine.versions(),
    }
