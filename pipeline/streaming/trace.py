"""The timeline of a step as a Chrome trace: open it at https://ui.perfetto.dev, or read it back.

:mod:`wse.trace` writes the same format of a simulated step, and knows how it is written.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import get_args

from pipeline.files import write_text
from pipeline.streaming.timeline import Lane, Span
from wse.trace import Bar, chrome_trace

LANES: tuple[Lane, ...] = get_args(Lane)
UNITS: Mapping[Lane, str] = {
    "read": "bytes",
    "compute": "floating_point_operations",
    "update": "parameters",
    "write": "bytes",
}
"""What a lane's amount counts; waiting counts nothing."""


def write_chrome_trace(spans: Sequence[Span], path: Path, title: str) -> None:
    """Write ``spans`` to ``path``, their first moment as time 0, as the process ``title``.

    Spans of one lane that overlap, as those of several threads do, get rows of their own.
    """
    origin = min((span.start_seconds for span in spans), default=0.0)
    threads = [
        (lane if number == 1 else f"{lane} {number}", [_shown(span, origin) for span in row])
        for lane in LANES
        for number, row in enumerate(rows(span for span in spans if span.lane == lane), start=1)
    ]
    write_text(path, chrome_trace(title, "measured", threads))


def rows(spans: Iterable[Span]) -> list[list[Span]]:
    """``spans`` in as few rows as hold them without overlap, each row in the order of time."""
    found: list[list[Span]] = []
    for span in sorted(spans, key=lambda span: (span.start_seconds, span.end_seconds)):
        free = (row for row in found if row[-1].end_seconds <= span.start_seconds)
        row = next(free, None)
        if row is None:
            found.append([span])
        else:
            row.append(span)
    return found


def read_chrome_trace(path: Path) -> list[Span]:
    """The spans of a file of :func:`write_chrome_trace`, in seconds from the step's start.

    Raises ValueError, KeyError or TypeError where the file is not one.
    """
    events = json.loads(path.read_text())["traceEvents"]
    return [
        Span(
            event["cat"],
            event["name"],
            event["ts"] / 1e6,
            (event["ts"] + event["dur"]) / 1e6,
            event["args"].get(UNITS.get(event["cat"], ""), 0),
        )
        for event in events
        if event["ph"] == "X"
    ]


def _shown(span: Span, origin: float) -> Bar:
    seconds = span.end_seconds - span.start_seconds
    amounts: dict[str, float] = {}
    if span.lane in UNITS:
        unit = UNITS[span.lane]
        amounts[unit] = span.amount
        if seconds > 0:
            amounts[f"{unit}_per_second"] = span.amount / seconds
    begin, end = span.start_seconds - origin, span.end_seconds - origin
    return Bar(span.name, span.lane, begin, end, amounts)
