"""What to say where a run does not fit into its memory: how much it needs, and what would fit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Literal

from pipeline.choices import Optimizer
from pipeline.errors import BudgetError
from pipeline.models.shape import parameter_count
from pipeline.schema import ModelConfig, TrainConfig
from pipeline.streaming.ladder import ladder, within_positions

GIB = 1024**3
SHORTEST_SEQUENCE = 64

Need = Callable[[ModelConfig, TrainConfig], int]


def refusal(
    way: Literal["streaming", "resident"],
    model: ModelConfig,
    train: TrainConfig,
    budget_bytes: int,
    needed_bytes: int,
    need: Need,
) -> BudgetError:
    """The error for a run that needs more than its budget; ``need`` says what another would."""
    remedies = [
        *_other_training(model, train, budget_bytes, need),
        # Rounded up: the amount said has to be enough.
        f"device.memory={needed_bytes / GIB + 0.05:.1f}GiB",
        *_other_model(model, train, budget_bytes, need),
    ]
    if way == "resident":
        remedies.append("train.execution=streaming")
    return BudgetError(
        f"model={model.name}: {way} training with {train.optimizer.value} needs "
        f"{gibibytes(needed_bytes)} of memory, the budget is {gibibytes(budget_bytes)}; "
        f"what would fit: {', or '.join(remedies)}"
    )


def gibibytes(nbytes: float) -> str:
    """Memory in the unit that ``device.memory`` is usually given in: ``7.25 GiB``."""
    return f"{nbytes / GIB:.2f} GiB"


def _other_training(
    model: ModelConfig, train: TrainConfig, budget_bytes: int, need: Need
) -> Iterator[str]:
    """Each single change of the training that is enough, in the order of what it costs."""
    for key, changed in _changes(train):
        if need(model, changed) <= budget_bytes:
            yield key


def _changes(train: TrainConfig) -> Iterator[tuple[str, TrainConfig]]:
    if train.micro_batch > 1:
        yield "train.micro_batch=1", replace(train, micro_batch=1)
    if train.global_batch > 1:
        smaller = replace(train, global_batch=1, micro_batch=1)
        yield "train.global_batch=1 with train.micro_batch=1", smaller
    length = train.sequence_length // 2
    while length >= SHORTEST_SEQUENCE:
        yield f"train.sequence_length={length}", replace(train, sequence_length=length)
        length //= 2
    for optimizer in (Optimizer.adamw8bit, Optimizer.adafactor):
        if train.optimizer is not optimizer:
            yield f"train.optimizer={optimizer.value}", replace(train, optimizer=optimizer)


def _other_model(
    model: ModelConfig, train: TrainConfig, budget_bytes: int, need: Need
) -> Iterator[str]:
    """The largest smaller model of the ladder that fits as it is."""
    for other in reversed(ladder()):
        smaller = parameter_count(other) < parameter_count(model)
        if smaller and within_positions(train, other) and need(other, train) <= budget_bytes:
            yield f"model={other.name}"
            return
