"""The simulated step as a Chrome trace: open it at https://ui.perfetto.dev.

The format is the "JSON Object Format" of the Trace Event Format: complete events ("ph": "X") with
times in microseconds, on threads that metadata events name after the lanes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from wse.schedule import Event
from wse.step import Setup, Step, step

LANES = ("link in", "wafer", "link out", "update")
MAXIMUM_EVENTS = 20_000
"""A step of more shows its first, second and last micro-batch: about 3 MB in either case."""


@dataclass(frozen=True)
class Bar:
    """Something that a lane did, in seconds from the begin of the trace."""

    name: str
    category: str
    begin: float
    end: float
    arguments: Mapping[str, Any] = field(default_factory=dict)


def chrome_trace(
    title: str,
    numbers: Literal["measured", "simulated"],
    threads: Sequence[tuple[str, Sequence[Bar]]],
    notes: Mapping[str, Any] | None = None,
) -> str:
    """The text of a trace: ``threads`` by name, from the top, as the process ``title``.

    ``numbers`` says where the times come from; ``notes`` stand beside it in ``otherData``.
    """
    events = [_metadata("process_name", 0, {"name": title})]
    for thread, (name, bars) in enumerate(threads, start=1):
        events.append(_metadata("thread_name", thread, {"name": name}))
        events.append(_metadata("thread_sort_index", thread, {"sort_index": thread}))
        events += [_complete(bar, thread) for bar in bars]
    other = {"numbers": numbers, **(notes or {})}
    return json.dumps({"displayTimeUnit": "ms", "otherData": other, "traceEvents": events})


def step_trace(setup: Setup, planned: Step) -> str:
    """The trace of a planned step.

    Of a step of very many events it keeps three micro-batches; bars named so stand for the rest.
    """
    bars = [(event.resource, _span(event)) for event in _events(setup, planned)]
    end = max(bar.end for _, bar in bars)
    if planned.seconds > end:
        tree = f"sum over {setup.systems} systems"
        bars.append(("link out", Bar(tree, "systems", end, planned.seconds)))
    skipped = _skipped(setup, planned)
    bars += [(lane, one) for lane in LANES[:3] for one in _stand_ins(bars, lane, skipped)]
    threads = [(lane, [bar for name, bar in bars if name == lane]) for lane in LANES]
    way = planned.way
    notes = {
        "step_seconds": planned.seconds,
        "micro_batches": way.accumulation,
        "sequences_per_micro_batch": way.micro_batch,
        "left_out": _left_out(skipped),
    }
    title = f"{setup.graph.name} on {setup.wafer.name}, one step, simulated"
    return chrome_trace(title, "simulated", threads, notes)


def _events(setup: Setup, planned: Step) -> list[Event]:
    """The events of the step; if micro-batches are left out, of the first, second and last."""
    skipped, way = _skipped(setup, planned), planned.way
    if not skipped:
        return step(setup, way, record=True).timeline.events
    # All micro-batches after the second are alike: a shorter step ends as the whole one does.
    short = step(setup, replace(way, accumulation=way.accumulation - len(skipped) + 1), record=True)
    last = short.way.accumulation - 1
    later = planned.timeline.seconds - short.timeline.seconds
    later /= 1 + _tree_share(short)
    return [
        replace(
            event,
            micro_batch=way.accumulation - 1,
            begin=event.begin + later,
            end=event.end + later,
        )
        if event.micro_batch == last
        else event
        for event in short.timeline.events
        if event.micro_batch in (0, 1, last)
    ]


def _tree_share(recorded: Step) -> float:
    """What joining the systems adds to a step, as a share of what its events take."""
    return recorded.seconds / max(event.end for event in recorded.timeline.events) - 1


def _skipped(setup: Setup, planned: Step) -> range:
    """The micro-batches that the trace leaves out, counted from 0."""
    count = planned.way.accumulation
    passes = 3 * setup.graph.streamed_layers  # forward, again, backward
    many = count * passes * len(LANES) > MAXIMUM_EVENTS
    return range(2, count - 1) if many else range(0)


def _stand_ins(bars: Sequence[tuple[str, Bar]], lane: str, skipped: range) -> Iterator[Bar]:
    """One bar of a lane for the micro-batches that are left out of it."""
    mine = [bar for name, bar in bars if name == lane and "micro_batch" in bar.arguments]
    before = [bar.end for bar in mine if bar.arguments["micro_batch"] <= skipped.start]
    after = [bar.begin for bar in mine if bar.arguments["micro_batch"] > skipped.stop]
    if skipped and before and after:
        yield Bar(_left_out(skipped), "left out", max(before), min(after))


def _left_out(skipped: range) -> str:
    if not skipped:
        return "nothing"
    return f"micro-batches {skipped.start + 1} to {skipped.stop}, each as the second"


def _span(event: Event) -> Bar:
    number = event.micro_batch + 1
    return Bar(
        name=f"{event.phase} {event.layer}",
        category=event.phase,
        begin=event.begin,
        end=event.end,
        arguments={"layer": event.layer, "phase": event.phase, "micro_batch": number},
    )


def _complete(bar: Bar, thread: int) -> dict[str, Any]:
    return {
        "ph": "X",
        "name": bar.name,
        "cat": bar.category,
        "pid": 1,
        "tid": thread,
        "ts": 1e6 * bar.begin,
        "dur": 1e6 * (bar.end - bar.begin),
        "args": dict(bar.arguments),
    }


def _metadata(kind: str, thread: int, arguments: Mapping[str, Any]) -> dict[str, Any]:
    return {"ph": "M", "name": kind, "pid": 1, "tid": thread, "args": dict(arguments)}
