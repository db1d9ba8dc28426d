"""Writes metrics in batches, from a thread of its own.

A database that is slow, locked or broken never holds up the training that fills it: what cannot
be written is kept and tried again, and the caller is told.
"""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import NamedTuple

BATCH = 1000  # points in one write, the most that MLflow takes
FLUSH_SECONDS = 5.0  # between writes, and so the most that a killed process leaves unwritten
RETRY_SECONDS = 60.0  # before the next write after one that failed


class Point(NamedTuple):
    """One value of one metric at one step; ``time_ms`` counts milliseconds since 1970."""

    name: str
    value: float
    time_ms: int
    step: int


class MetricWriter:
    """Buffers points and hands them to ``send`` in batches.

    ``last_steps`` holds, for each metric, the last step that is written already: a point that is
    not newer is left out. ``warn`` is called, from the writing thread, with each exception of
    ``send``, whose points stay in the buffer.
    """

    def __init__(
        self,
        send: Callable[[list[Point]], None],
        last_steps: Mapping[str, int],
        warn: Callable[[Exception], None],
    ) -> None:
        self._send = send
        self._warn = warn
        self._last_steps = dict(last_steps)
        self._points: deque[Point] = deque()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._work, name="metrics", daemon=True)
        self._thread.start()

    def add(self, step: int, values: Mapping[str, float]) -> None:
        """Take the values of one step; returns at once. A value that is not finite becomes NaN."""
        time_ms = int(time.time() * 1000)
        for name, value in values.items():
            if step > self._last_steps.get(name, -1):
                self._last_steps[name] = step
                # MLflow stores an infinity as 1.8e308, which no chart survives.
                finite = float(value) if math.isfinite(value) else math.nan
                self._points.append(Point(name, finite, time_ms, step))

    def close(self) -> int:
        """Write what is left and stop; return how many points could not be written."""
        self._closing.set()
        self._thread.join()
        self._flush()
        return len(self._points)

    def _work(self) -> None:
        pause = FLUSH_SECONDS
        while not self._closing.wait(pause):
            pause = FLUSH_SECONDS if self._flush() else RETRY_SECONDS

    def _flush(self) -> bool:
        """Write every point; stop at the first batch that fails, and say whether none did."""
        while self._points:
            batch = [self._points.popleft() for _ in range(min(BATCH, len(self._points)))]
            try:
                self._send(batch)
            except Exception as error:
                self._points.extendleft(reversed(batch))
                self._warn(error)
                return False
        return True
