"""When what happened in a step: spans of reading, computing and writing, and bytes moved."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal

Lane = Literal["read", "compute", "update", "write", "wait"]


@dataclass(frozen=True)
class Span:
    """Seconds of the process's clock (``time.perf_counter``), and how much was done in them.

    ``amount`` is bytes for reads and writes, floating-point operations for compute, parameters
    for updates, 0 where the main thread waited for a transfer.
    """

    lane: Lane
    name: str
    start_seconds: float
    end_seconds: float
    amount: float


@dataclass
class Timeline:
    """The spans of the step in progress, from any thread, and totals since the start."""

    spans: list[Span] = field(default_factory=list)
    bytes_read: int = 0
    bytes_written: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @contextmanager
    def span(self, lane: Lane, name: str, amount: float = 0) -> Iterator[None]:
        """Record the time that the body takes."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.add(Span(lane, name, start, time.perf_counter(), amount))

    def add(self, span: Span) -> None:
        """Record a span."""
        with self._lock:
            self.spans.append(span)
            if span.lane == "read":
                self.bytes_read += int(span.amount)
            elif span.lane == "write":
                self.bytes_written += int(span.amount)

    def begin_step(self) -> None:
        """Forget the spans of the step before; the totals go on."""
        with self._lock:
            self.spans = []

    def taken(self) -> list[Span]:
        """A copy of the spans of the step in progress."""
        with self._lock:
            return list(self.spans)

    def seconds(self, lane: Lane) -> float:
        """Sum of a lane's spans in the step in progress."""
        with self._lock:
            return sum(s.end_seconds - s.start_seconds for s in self.spans if s.lane == lane)
