"""The step in progress: what its visits share, what a journal says of it, and how it ends."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any, Protocol

from torch import Tensor

from pipeline.streaming.journal import Journal
from pipeline.streaming.timeline import Timeline


@dataclass(frozen=True)
class StepResult:
    """Mean loss of a step in nats per token, the norm of its gradient before clipping, its time.

    ``applied`` is false where loss or gradient was not finite: that part was not updated, and
    none after it. ``seconds`` counts what earlier processes spent on the step.
    """

    loss: float
    gradient_norm: float
    applied: bool
    seconds: float


class StepDisplay(Protocol):
    """Hears of every visit to a part before it begins."""

    def visit(
        self, step: int, phase: str, part: str, visits_done: int, visits: int, timeline: Timeline
    ) -> None:
        """``visits_done`` of ``visits`` are behind."""
        ...


class StopAsked(Exception):
    """The run was asked to stop, and a durable holder has everything up to the last visit."""


class NotFinite(Exception):
    """A loss or gradient is infinite or not a number."""


@dataclass
class Run:
    """The step in progress."""

    step: int
    learning_rate: float
    tokens: list[Tensor]
    targets: list[Tensor]
    seconds_before: float
    values: dict[str, Any]
    timeline: Timeline
    started: float = field(default_factory=time.perf_counter)
    visits_done: int = 0
    carried: Tensor | None = None

    @property
    def unchanged(self) -> list[str]:
        """Parts whose weights this first step left as they were; a resumed step knows them too."""
        return self.values.get("unchanged", [])

    @property
    def seconds(self) -> float:
        """Time spent on the step so far."""
        return self.seconds_before + time.perf_counter() - self.started

    def journal(self, phase: str, part: str) -> Journal:
        """Where the run stands after a visit to ``part``."""
        values = {**self.values, "seconds": self.seconds}
        values |= {"bytes_read": self.timeline.bytes_read}
        values |= {"bytes_written": self.timeline.bytes_written}
        return Journal(self.step, phase, part, values)
