"""The timeline of a step as a Chrome trace: open it at https://ui.perfetto.dev, or read it back.

The format is the "JSON Object Format" of the Trace Event Format: complete events ("ph": "X") with
times in microseconds, on threads that metadata events name after the lanes.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

from pipeline.files import write_text
from pipeline.streaming.timeline import Lane, Span

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
    events: list[dict[str, Any]] = [_metadata("process_name", 0, {"name": title})]
    thread = 0
    for lane in LANES:
        for number, row in enumerate(rows(span for span in spans if span.lane == lane), start=1):
            thread += 1
            name = lane if number == 1 else f"{lane} {number}"
            events.append(_metadata("thread_name", thread, {"name": name}))
            events.append(_metadata("thread_sort_index", thread, {"sort_index": thread}))
            events += [_complete(span, thread, origin) for span in row]
    content = {"displayTimeUnit": "ms", "otherData": {"numbers": "measured"}, "traceEvents": events}
    write_text(path, json.dumps(content))


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


def _complete(span: Span, thread: int, origin: float) -> dict[str, Any]:
    seconds = span.end_seconds - span.start_seconds
    arguments: dict[str, float] = {}
    if span.lane in UNITS:
        unit = UNITS[span.lane]
        arguments[unit] = span.amount
        if seconds > 0:
            arguments[f"{unit}_per_second"] = span.amount / seconds
    return {
        "ph": "X",
        "name": span.name,
        "cat": span.lane,
        "pid": 1,
        "tid": thread,
        "ts": 1e6 * (span.start_seconds - origin),
        "dur": 1e6 * seconds,
        "args": arguments,
    }


def _metadata(kind: str, thread: int, arguments: dict[str, Any]) -> dict[str, Any]:
    return {"ph": "M", "name": kind, "pid": 1, "tid": thread, "args": arguments}
