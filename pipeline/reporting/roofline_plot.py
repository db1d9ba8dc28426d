"""A block's operators against the roofs of a PE as a picture: what bounds each, what it reaches.

Both axes are logarithmic: FLOPs for a byte that comes one way, and FLOPs a second.
"""

from __future__ import annotations

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from pipeline.reporting import humane
from pipeline.reporting.canvas import FAINT, INK, STYLE, colour, entitle, new_figure, png
from wse.roofline import Point, Roofline

COLOURS = {
    "linear": colour(0),
    "input_gradient": colour(5),
    "weight_gradient": colour(2),
    "attention": colour(1),
    "softmax": "#7b5ea7",
    "normalization": colour(3),
    "activation": colour(6),
    "elementwise": "#8c6d4f",
}
MARKERS = {"SRAM": "o", "fabric link": "s", "I/O links": "D"}
HALVES = {"forward": "left", "backward": "right"}
GIGA, PETA = 1e9, 1e15


def draw_roofline(made: Roofline) -> bytes:
    """Draw the roofs and a point for each kind of operator, pass and way; a PNG."""
    with matplotlib.rc_context(STYLE):
        figure, [axes] = new_figure(9.6, 5.6)
        roofline(axes, made)
        return png(figure)


def roofline(axes: Axes, made: Roofline) -> None:
    """The panel of :func:`draw_roofline`."""
    seen = [x for point in made.points for x in point.flops_per_byte.values()]
    ridges = [made.peak / rate for rate in made.bytes_per_second.values()]
    left, right = 0.3 * min(seen + ridges), 6 * max(seen + ridges)
    lowest = 0.4 * min(point.flops_per_second for point in made.points)
    axes.set(xscale="log", yscale="log", xlim=(left, right), ylim=(lowest, 3 * made.peak))
    for point in sorted(made.points, key=lambda point: -point.share):
        _draw_point(axes, point)
    _roofs(axes, made, lowest)
    axes.set_xlabel(
        "FLOP for a byte: in SRAM ●, over the busiest fabric link ■, over the I/O links ◆"
    )
    axes.set_ylabel("GFLOP/s of a PE")
    axes.yaxis.set_major_formatter(lambda value, _: f"{value / GIGA:g}")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,g}")
    ratio = made.pes / PETA
    wafer = axes.secondary_yaxis(
        "right",
        functions=(lambda y: np.multiply(y, ratio), lambda y: np.divide(y, ratio)),
    )
    wafer.set_ylabel("PFLOP/s of all PEs")
    wafer.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    _legend(axes, made)
    entitle(axes, f"A block of {made.model} on {made.wafer}", "simulated")


def _draw_point(axes: Axes, point: Point) -> None:
    """Half a marker for each way, so that forward and backward show where they coincide."""
    for way, intensity in point.flops_per_byte.items():
        axes.plot(
            intensity,
            point.flops_per_second,
            MARKERS[way],
            fillstyle=HALVES[point.phase],
            color=COLOURS.get(point.kind, FAINT),
            markerfacecoloralt="none",
            markersize=5 + 22 * point.share**0.5,
            markeredgewidth=0,
            alpha=0.85,
        )


def _roofs(axes: Axes, made: Roofline, lowest: float) -> None:
    left, _ = axes.get_xlim()
    axes.axhline(made.peak, color=INK, linewidth=1.2)
    for way, rate in made.bytes_per_second.items():
        ridge = made.peak / rate
        start = max(left, lowest / rate)
        axes.plot([start, ridge], [start * rate, made.peak], color=FAINT, linewidth=1.2)
        _above(axes, made, ridge, f"{way}\n{humane.size(rate)}/s", FAINT)
    words = "peak of fp16 with fp32 sums"
    if made.achieved < made.peak:
        axes.axhline(made.achieved, color=INK, linewidth=1.0, linestyle="--")
        share = humane.percent(made.achieved / made.peak)
        words += f";\ndashed: achieved, {share} (calibrated)"
    ridges = sorted(made.peak / rate for rate in made.bytes_per_second.values())
    _above(axes, made, (ridges[-1] * ridges[-2]) ** 0.5, words, INK)


def _above(axes: Axes, made: Roofline, flops_per_byte: float, words: str, ink: str) -> None:
    """Words above the peak."""
    place = (flops_per_byte, 1.12 * made.peak)
    axes.text(*place, words, ha="center", va="bottom", color=ink, fontsize=9)


def _legend(axes: Axes, made: Roofline) -> None:
    totals: dict[str, float] = {}
    words: dict[str, list[str]] = {}
    for point in made.points:
        share = f"{100 * point.share:.1f} %" if point.share > 0.0005 else "below 0.1 %"
        words.setdefault(point.kind, []).append(f"{share} {point.phase}")
        totals[point.kind] = totals.get(point.kind, 0.0) + point.share
    handles = [
        Line2D([], [], marker="o", linestyle="", color=COLOURS.get(kind, FAINT), label=label)
        for kind in sorted(totals, key=lambda kind: -totals[kind])
        for label in [f"{kind.replace('_', ' ')}: {', '.join(words[kind])}"]
    ]
    axes.figure.legend(
        handles=handles,
        loc="outside lower center",
        ncols=2,
        title="share of the block's time; left half of a marker: forward, right half: backward",
        title_fontsize=9,
    )
