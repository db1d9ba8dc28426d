"""A step's timeline as a picture: what was read, computed and written when, and how busy each was.

Time on the horizontal axis starts at the step's first span.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import matplotlib
import numpy as np
from matplotlib.axes import Axes

from pipeline.reporting import humane
from pipeline.reporting.canvas import INK, STYLE, colour, entitle, new_figure, png
from pipeline.streaming.timeline import Lane, Span
from pipeline.streaming.trace import LANES

COLOURS: dict[Lane, str] = {
    "read": colour(0),
    "compute": colour(2),
    "update": colour(4),
    "write": colour(1),
    "wait": "#a9b1ba",
}
OPERATIONS = ((1e12, " TFLOP"), (1e9, " GFLOP"), (1e6, " MFLOP"), (1.0, " FLOP"))
AMOUNTS: dict[Lane, Callable[[float], str]] = {
    "read": humane.size,
    "compute": lambda value: humane.scaled(value, OPERATIONS),
    "update": lambda value: f"{humane.count(value)} parameters",
    "write": humane.size,
}
"""How a lane's amount is written; waiting has none."""


@dataclass(frozen=True)
class LaneUse:
    """One lane of a step: seconds in which at least one span went on, and what was done.

    ``share`` is that of the step; ``amount`` counts as :class:`Span` says.
    """

    lane: Lane
    busy_seconds: float
    share: float
    amount: float

    @property
    def done(self) -> str:
        """What was done in the step: ``41.1 GB``, ``63.2 TFLOP``."""
        return AMOUNTS[self.lane](self.amount) if self.lane in AMOUNTS else humane.MISSING

    @property
    def rate(self) -> str:
        """How fast it went while it was busy: ``1.02 GB/s``, ``412 GFLOP/s``."""
        if self.lane not in AMOUNTS or not self.busy_seconds:
            return humane.MISSING
        return f"{AMOUNTS[self.lane](self.amount / self.busy_seconds)}/s"


def lane_uses(spans: Sequence[Span]) -> list[LaneUse]:
    """Every lane that has spans, in the order of the picture."""
    start, end = extent(spans)
    whole = (end - start) or 1.0
    uses = []
    for lane in LANES:
        mine = [span for span in spans if span.lane == lane]
        if mine:
            busy = sum(stop - begin for begin, stop in merged(mine))
            uses.append(LaneUse(lane, busy, busy / whole, sum(span.amount for span in mine)))
    return uses


def extent(spans: Iterable[Span]) -> tuple[float, float]:
    """First and last moment of ``spans``, in seconds of their clock."""
    moments = [(span.start_seconds, span.end_seconds) for span in spans] or [(0.0, 0.0)]
    return min(start for start, _ in moments), max(end for _, end in moments)


def merged(spans: Iterable[Span]) -> list[tuple[float, float]]:
    """The times in which at least one span went on, without overlap, in order."""
    times: list[tuple[float, float]] = []
    for start, end in sorted((span.start_seconds, span.end_seconds) for span in spans):
        if times and start <= times[-1][1]:
            times[-1] = (times[-1][0], max(times[-1][1], end))
        else:
            times.append((start, end))
    return times


def draw_timeline(spans: Sequence[Span], title: str = "A step's timeline") -> bytes:
    """Draw the lanes as rows, with the busy share and speed of each beside it; a PNG."""
    with matplotlib.rc_context(STYLE):
        figure, [axes] = new_figure(9.0, 1.1 + 0.42 * len(lane_uses(spans)))
        timeline(axes, spans, title)
        return png(figure)


def timeline(axes: Axes, spans: Sequence[Span], title: str) -> None:
    """The panel of :func:`draw_timeline`."""
    start, end = extent(spans)
    uses = lane_uses(spans)
    for row, use in enumerate(uses):
        times = np.array(merged(span for span in spans if span.lane == use.lane))
        bars = [(begin - start, stop - begin) for begin, stop in times]
        axes.broken_barh(bars, (row - 0.35, 0.7), facecolors=COLOURS[use.lane], linewidth=0)
        words = f"{humane.percent(use.share)} busy"
        words += f", {use.rate}" if use.rate != humane.MISSING else ""
        axes.text(
            1.01,
            row,
            words,
            transform=axes.get_yaxis_transform(),
            va="center",
            color=INK,
            fontsize=9,
        )
    axes.set_yticks(range(len(uses)), [use.lane for use in uses])
    axes.set_ylim(len(uses) - 0.4, -0.6)
    axes.set_xlim(0, (end - start) or 1.0)
    axes.grid(axis="y", visible=False)
    axes.set_xlabel("seconds of the step")
    entitle(axes, title, "measured")
