"""What a user sees of a long step: the layer it is at, how fast it goes, and the time left."""

from __future__ import annotations

import time
from collections import deque
from itertools import pairwise
from typing import NamedTuple

from pipeline.progress import Progress
from pipeline.streaming.timeline import Timeline

QUIET_SECONDS = 3.0
"""A step shorter than this is shown by its end alone."""

WINDOW_SECONDS = 10.0
"""How far back a speed looks: several layers of a large model."""


class _Sample(NamedTuple):
    """What was done until a moment: bytes since the start, operations since the step's start."""

    seconds: float
    bytes_read: int
    bytes_written: int
    operations: float


class StepProgress:
    """Tells of the step in progress through the training's bar: the engine's ``StepDisplay``.

    The bar keeps what was said of the steps before; a step that is done within
    ``QUIET_SECONDS`` shows nothing of its own.
    """

    def __init__(self, bar: Progress, steps: int, layers: int) -> None:
        self._bar, self._steps, self._layers = bar, steps, layers
        self._step = 0
        self._started: list[tuple[int, str, float]] = []
        self._lasted: dict[int, float] = {}
        self._samples: deque[_Sample] = deque()

    def visit(
        self, step: int, phase: str, part: str, visits_done: int, visits: int, timeline: Timeline
    ) -> None:
        """Note the visit, and show it if the step is a long one."""
        now = time.perf_counter()
        if step != self._step:
            self._begin(step, now, timeline)
        self._started.append((visits_done, phase, now))
        if now - self._started[0][2] < QUIET_SECONDS:
            return
        self._sample(now, timeline)
        words = (
            f"step {step} of {self._steps}",
            phase,
            self._place(part),
            *self._speeds(),
            self._time_left(phase, visits_done, visits),
        )
        self._bar.detail("  ".join(word for word in words if word))

    def _begin(self, step: int, now: float, timeline: Timeline) -> None:
        """Keep how long each visit of the step before lasted: this one's take as long."""
        moments = self._started
        pairs = pairwise(moments)
        self._lasted = {this[0]: following[2] - this[2] for this, following in pairs}
        self._step, self._started = step, []
        self._samples = deque([_Sample(now, timeline.bytes_read, timeline.bytes_written, 0.0)])

    def _place(self, part: str) -> str:
        kind, _, number = part.partition(".")
        return f"layer {int(number) + 1} of {self._layers}" if number else kind

    def _sample(self, now: float, timeline: Timeline) -> None:
        done = sum(span.amount for span in timeline.taken() if span.lane == "compute")
        samples = self._samples
        samples.append(_Sample(now, timeline.bytes_read, timeline.bytes_written, done))
        while len(samples) > 2 and samples[1].seconds <= now - WINDOW_SECONDS:
            samples.popleft()

    def _speeds(self) -> list[str]:
        """Bytes and operations a second since the oldest sample."""
        old, new = self._samples[0], self._samples[-1]
        seconds = new.seconds - old.seconds
        return [
            f"{(new.bytes_read - old.bytes_read) / seconds / 1e9:.2f} GB/s read",
            f"{(new.bytes_written - old.bytes_written) / seconds / 1e9:.2f} GB/s written",
            f"{(new.operations - old.operations) / seconds / 1e9:,.0f} GFLOP/s",
        ]

    def _time_left(self, phase: str, visits_done: int, visits: int) -> str:
        """From the step before; in the first step, from this phase once it is the last one.

        A forward visit says nothing of a backward one, which takes about three times as long.
        """
        ahead = range(visits_done, visits)
        known = [self._lasted[visit] for visit in ahead if visit in self._lasted]
        if known:
            return _left(sum(known))
        mine = [moment for _, of, moment in self._started if of == phase]
        if phase == "forward" or len(mine) < 2:
            return ""
        return _left((mine[-1] - mine[0]) / (len(mine) - 1) * len(ahead))


def _left(seconds: float) -> str:
    whole = round(seconds)
    return f"{whole // 60}:{whole % 60:02d} left in the step"
