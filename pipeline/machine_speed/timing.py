"""Timing a short piece of work without letting it take long."""

from __future__ import annotations

import time
from collections.abc import Callable

LONG_SECONDS = 1.0
"""What takes longer is timed once: loading code and memory is little of it."""


def best_seconds(work: Callable[[], object], enough_seconds: float = 0.05) -> float:
    """The shortest of several runs, as other load only ever adds.

    The first, which also loads code and memory, is not counted but of long work. There is one
    more at least, and no more are begun after ``enough_seconds``.
    """
    best = _seconds(work)
    if best > LONG_SECONDS:
        return best
    best = spent = _seconds(work)
    while spent < enough_seconds:
        seconds = _seconds(work)
        best = min(best, seconds)
        spent += seconds
    return max(best, 1e-9)


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started
