"""Chooses how a run holds its parameters, says what that takes, and builds it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from pipeline.choices import Execution as Way
from pipeline.errors import BudgetError
from pipeline.machine_speed.measure import QUICK_SECONDS, machine_speed
from pipeline.models.shape import parameter_count
from pipeline.progress import Progress
from pipeline.slices import TrainSlice
from pipeline.streaming.engine import StepEngine
from pipeline.streaming.fill import fill
from pipeline.streaming.forecast import Forecast, forecast
from pipeline.streaming.holders import Holder, ResidentParameters
from pipeline.streaming.journal import Identity
from pipeline.streaming.layout import part_layouts
from pipeline.streaming.on_device import OnDevice
from pipeline.streaming.plan import ResidentPlan, StreamingPlan, plan_resident, plan_streaming
from pipeline.streaming.sizes import kept_set_bytes, spilled_bytes
from pipeline.streaming.store import ParameterStore
from pipeline.streaming.timeline import Timeline
from pipeline.streaming.working_memory import WorkingMemory
from pipeline.training.execution import Execution, Resident, Streaming

STORE = "store"
"""The folder of a run's parameter store, beside its history."""


@dataclass(frozen=True)
class Place:
    """Where a run is: its device, the folder of its checkpoints or store, its hash."""

    device: torch.device
    folder: Path
    run_hash: str


def choose_plan(config: TrainSlice, budget_bytes: int) -> ResidentPlan | StreamingPlan:
    """Resident where that is asked for or fits, else streaming.

    Raises :class:`~pipeline.errors.BudgetError` if that does not fit either.
    """
    model, train = config.model, config.train
    if train.execution is not Way.streaming:
        try:
            return plan_resident(model, train, budget_bytes)
        except BudgetError:
            if train.execution is Way.resident:
                raise
    return plan_streaming(model, train, budget_bytes)


def foretell(config: TrainSlice, plan: StreamingPlan, results: Path) -> Forecast:
    """What a streamed run will take in time, from the machine's measured rates."""
    return forecast(config.model, config.train, plan, machine_speed(results, QUICK_SECONDS))


def build(config: TrainSlice, plan: ResidentPlan | StreamingPlan, place: Place) -> Execution:
    """The execution that ``plan`` describes; a store is opened, or made with all its disk."""
    if isinstance(plan, ResidentPlan):
        return _resident(config, plan, place)
    return _streaming(config, plan, place)


def _resident(config: TrainSlice, plan: ResidentPlan, place: Place) -> Resident:
    layouts = part_layouts(config.model, config.train)
    parameters = ResidentParameters(layouts, place.device)
    engine = StepEngine(
        parameters,
        layouts,
        config.model,
        config.train,
        place.device,
        Timeline(),
        kept_layers=plan.kept_layers,
    )
    return Resident(
        engine, parameters, _filling(parameters, config, {}), place.folder, place.run_hash
    )


def _streaming(config: TrainSlice, plan: StreamingPlan, place: Place) -> Streaming:
    layouts, timeline = part_layouts(config.model, config.train), Timeline()
    gpu = place.device.type == "cuda"
    store = ParameterStore(
        place.folder / STORE,
        layouts,
        Identity(place.run_hash, describe(config)),
        plan.store_memory_bytes,
        timeline,
        pin=gpu,
    )
    memory = WorkingMemory(
        config.model, config.train, layouts, plan.kept_layers, plan.spilled_layers
    )
    try:
        store.reserve(kept_set_bytes(memory), spilled_bytes(memory))
    except BaseException:
        store.close()
        raise
    holder: Holder = OnDevice(store, place.device) if gpu else store
    engine = StepEngine(
        holder,
        layouts,
        config.model,
        config.train,
        place.device,
        timeline,
        kept_layers=plan.kept_layers,
        spilled_layers=plan.spilled_layers,
    )
    fill_store = _filling(holder, config, engine.notes)
    return Streaming(engine, store, fill_store, place.folder, place.run_hash)


def _filling(holder: Holder, config: TrainSlice, notes: dict[str, Any]) -> Callable[[], None]:
    """What makes the first weights, with a bar where that takes a while."""

    def run() -> None:
        total = config.model.layers + 2
        word = "initial weights" if config.model.weights is None else "read weights"
        with Progress(word, total) as bar:
            fill(holder, config.model, config.train, notes, bar.update)

    return run


def describe(config: TrainSlice) -> dict[str, Any]:
    """What a store is of, for people."""
    return {
        "model": config.model.name,
        "parameters": parameter_count(config.model),
        "optimizer": config.train.optimizer.value,
        "precision": config.train.precision.value,
    }
