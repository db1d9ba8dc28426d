"""Which models train on a machine, how fast, and what binds: every answer a plan and a forecast."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

from pipeline.choices import Execution, Family, Optimizer
from pipeline.machine_speed.speed import MachineSpeed
from pipeline.models.shape import parameter_count
from pipeline.schema import ModelConfig, TrainConfig
from pipeline.streaming.forecast import Forecast, forecast
from pipeline.streaming.plan import (
    ResidentPlan,
    StreamingPlan,
    minimum_resident_bytes,
    minimum_streaming_bytes,
    plan_resident,
    plan_streaming,
)

HEAD_SIZE = 128
VOCABULARY, POSITIONS = 50257, 2048
MOST_HEADS = 256


@dataclass(frozen=True)
class Room:
    """What runs may take, in bytes: of memory, and of free disk."""

    memory_bytes: int
    disk_bytes: int


@dataclass(frozen=True)
class Answer:
    """Whether a model trains, and how; ``limit`` says what does not suffice where it does not."""

    model: str
    parameters: int
    layers: int
    hidden: int
    optimizer: str
    trains: bool
    execution: str | None = None
    limit: str | None = None
    memory_bytes: int | None = None
    disk_bytes: int | None = None
    step_seconds: float | None = None
    tokens_per_second: float | None = None
    binds: str | None = None
    seconds_to_first_step: float | None = None
    floor_seconds: dict[str, float] | None = None


def answer(model: ModelConfig, train: TrainConfig, room: Room, speed: MachineSpeed) -> Answer:
    """Say of one model and optimizer whether it trains here, and how fast."""
    # What cannot learn such long sequences learns as many tokens in those it can.
    train = shortened(train, model)
    known = Answer(
        model.name,
        parameter_count(model),
        model.layers,
        model.hidden,
        train.optimizer.value,
        trains=False,
    )
    plan = plan_for(model, train, room)
    if isinstance(plan, str):
        return replace(known, limit=plan)
    return _answered(known, plan, forecast(model, train, plan, speed))


def _answered(known: Answer, plan: ResidentPlan | StreamingPlan, found: Forecast) -> Answer:
    streamed = isinstance(plan, StreamingPlan)
    return replace(
        known,
        trains=True,
        execution="streaming" if streamed else "resident",
        memory_bytes=plan.memory_bytes,
        disk_bytes=disk_bytes(plan),
        step_seconds=found.step_seconds,
        tokens_per_second=found.tokens_per_second,
        binds=found.binds,
        seconds_to_first_step=found.seconds_to_first_step,
        floor_seconds=asdict(found.floor_seconds),
    )


def plan_for(
    model: ModelConfig, train: TrainConfig, room: Room
) -> ResidentPlan | StreamingPlan | str:
    """The plan of a run that fits, or what there is too little of: ``memory`` or ``disk``.

    Resident if that fits and is not excluded, as training itself chooses.
    """
    way, memory = train.execution, room.memory_bytes
    plan: ResidentPlan | StreamingPlan
    if way is not Execution.streaming and minimum_resident_bytes(model, train) <= memory:
        plan = plan_resident(model, train, memory)
    elif way is not Execution.resident and minimum_streaming_bytes(model, train) <= memory:
        plan = plan_streaming(model, train, memory)
    else:
        return "memory"
    return "disk" if disk_bytes(plan) > room.disk_bytes else plan


def disk_bytes(plan: ResidentPlan | StreamingPlan) -> int:
    """Of the store and of what is kept of the model at the end; a resident run has no store."""
    store = plan.disk_bytes if isinstance(plan, StreamingPlan) else 0
    return store + plan.exported_bytes


def shortened(train: TrainConfig, model: ModelConfig) -> TrainConfig:
    """The training with sequences that the model has positions for, and as many tokens a step."""
    if train.sequence_length <= model.positions:
        return train
    tokens = train.global_batch * train.sequence_length
    batch = max(1, tokens // model.positions)
    return replace(train, sequence_length=model.positions, global_batch=batch, micro_batch=batch)


def largest_shape(train: TrainConfig, room: Room) -> ModelConfig | None:
    """The largest GPT of the usual proportions that trains, found by bisection; None if none."""
    return largest(gpt, lambda model: _fits(model, train, room))


def largest(
    shape: Callable[[int], ModelConfig], fits: Callable[[ModelConfig], bool]
) -> ModelConfig | None:
    """The largest of the shapes 1, 2, ... that fits, given that all below one that fits do."""
    low, high = 0, MOST_HEADS
    while low < high:
        middle = (low + high + 1) // 2
        if fits(shape(middle)):
            low = middle
        else:
            high = middle - 1
    return shape(low) if low else None


def gpt(heads: int) -> ModelConfig:
    """A GPT of ``heads`` x 128 hidden units in the proportions of Cerebras-GPT and GPT-3.

    From 16 heads on these have 12 layers and three more for every four heads, within a sixth: 24
    for 2048 units, 40 for 5120, 96 for 12288 (Brown et al. 2020, table 2.1; Dey et al. 2023).
    """
    hidden = HEAD_SIZE * heads
    return ModelConfig(
        name=f"gpt_{hidden}",
        family=Family.gpt2,
        layers=round(12 + 0.75 * heads),
        hidden=hidden,
        heads=heads,
        feed_forward=4 * hidden,
        vocabulary=VOCABULARY,
        positions=POSITIONS,
    )


def _fits(model: ModelConfig, train: TrainConfig, room: Room) -> bool:
    return not isinstance(plan_for(model, shortened(train, model), room), str)


def capacity(
    models: list[ModelConfig], train: TrainConfig, room: Room, speed: MachineSpeed
) -> dict[str, Any]:
    """Answers for every model and optimizer, and the largest of each kind, as plain values."""
    answers, largest_models, largest_shapes = [], {}, {}
    for optimizer in Optimizer:
        with_it = replace(train, optimizer=optimizer)
        found = [answer(model, with_it, room, speed) for model in models]
        answers += [asdict(one) for one in found]
        training = [one for one in found if one.trains]
        most = max(training, key=lambda one: one.parameters, default=None)
        largest_models[optimizer.value] = most and most.model
        shape = largest_shape(with_it, room)
        largest_shapes[optimizer.value] = shape and asdict(answer(shape, with_it, room, speed))
    return {
        "room": asdict(room),
        "answers": answers,
        "largest_models": largest_models,
        "largest_shapes": largest_shapes,
    }
