"""A plan's place on the wafer as a picture: who computes, who is padding, and what SRAM holds.

PEs are drawn to scale; colour is the SRAM that each has in use at the fullest moment of the step.
"""

from __future__ import annotations

import matplotlib
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, LinearSegmentedColormap
from matplotlib.patches import Rectangle as Patch

from pipeline.reporting import humane
from pipeline.reporting.canvas import FAINT, INK, STYLE, colour, entitle, new_figure, png
from wse.floorplan import Axis, Floorplan, Rectangle

KIBIBYTE = 1024
USES = {
    "code": "#57606a",
    "weight_buffers": colour(1),
    "kept_activations": colour(2),
    "working_set": colour(5),
    "free": "#eef1f4",
}
"""Colour of what SRAM holds."""
OUTSIDE = "#d0d5db"
WEIGHTS, SUMS = "#8a3b00", INK
FULLNESS: Colormap = LinearSegmentedColormap.from_list("fullness", ["#f6fafd", "#8fc4e6"])


def draw_floorplan(plan: Floorplan) -> bytes:
    """Draw the wafer, and beside it what a PE's SRAM holds; a PNG."""
    with matplotlib.rc_context(STYLE):
        figure, [wafer, memory] = new_figure(9.6, 6.4, panels=2, widths=(1.0, 0.7))
        _wafer(wafer, plan)
        _memory(memory, plan)
        figure.legend(loc="outside lower center", ncols=3, columnspacing=1.2)
        return png(figure)


def _wafer(axes: Axes, plan: Floorplan) -> None:
    fabric, usable, layout = plan.fabric, plan.usable, plan.layout
    border = {"edgecolor": FAINT, "linewidth": 0.8}
    beside = "PEs that no program gets" if usable.pes < fabric.pes else None
    axes.add_patch(_patch(fabric, facecolor=OUTSIDE, label=beside, **border))
    axes.add_patch(_patch(usable, facecolor="white", **border))
    for number, part in enumerate(plan.padding):
        label = f"padding, {_in_use(part)}" if number == 0 else None
        hatched = {"edgecolor": OUTSIDE, "linewidth": 0, "hatch": "////"}
        axes.add_patch(_patch(part, facecolor=_ink(plan, part), label=label, **hatched))
    share = humane.percent(plan.busy_share)
    label = f"{layout.pes:,} PEs at work ({share}), {_in_use(layout)}"
    style = {"facecolor": _ink(plan, layout), "edgecolor": INK, "linewidth": 1.0}
    axes.add_patch(_patch(layout, label=label, **style))
    _streams(axes, plan)
    axes.set_xlim(-0.01 * fabric.width, 1.01 * fabric.width)
    axes.set_ylim(1.01 * fabric.height, -0.01 * fabric.height)
    axes.set_aspect("equal")
    axes.grid(visible=False)
    axes.set_xticks([0, fabric.width])
    axes.set_yticks([0, fabric.height])
    axes.set_xlabel(f"PE column\n{_dealt(plan.across)}")
    axes.set_ylabel(f"{_dealt(plan.down)}\nPE row")
    entitle(axes, f"{plan.model} on {plan.wafer}", "simulated")


def _streams(axes: Axes, plan: Floorplan) -> None:
    """Arrows: weights along the axis of the tokens, partial sums along that of the features."""
    layout = plan.layout
    left, right = layout.column, layout.column + layout.width
    top, bottom = layout.row, layout.row + layout.height
    inks = (WEIGHTS, SUMS) if plan.weights_stream_down else (SUMS, WEIGHTS)
    for part in (0.125, 0.375, 0.625, 0.875):
        column, row = left + part * layout.width, top + part * layout.height
        _arrow(axes, (column, top), (column, bottom), inks[0])
        _arrow(axes, (left, row), (right, row), inks[1])
    for words, ink in (("weights stream in", WEIGHTS), ("partial sums run", SUMS)):
        axes.plot([], [], color=ink, linewidth=1.2, marker=">", markersize=5, label=words)


def _arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float], ink: str) -> None:
    style = {"arrowstyle": "-|>", "color": ink, "linewidth": 1.0, "alpha": 0.8}
    axes.annotate("", end, start, arrowprops={**style, "shrinkA": 0, "shrinkB": 2})


def _ink(plan: Floorplan, part: Rectangle) -> tuple[float, ...]:
    return FULLNESS(part.bytes_used / plan.sram_bytes_per_pe)


def _in_use(part: Rectangle) -> str:
    return f"{part.bytes_used / KIBIBYTE:.1f} KiB in use"


def _patch(part: Rectangle, **style: object) -> Patch:
    return Patch((part.column, part.row), part.width, part.height, **style)  # type: ignore[arg-type]


def _dealt(axis: Axis) -> str:
    words = f"{axis.things:,} {axis.what}, {axis.per_pe} on each of {axis.busy_pes:,} PEs"
    return words + (f"; {axis.idle_pes} idle" if axis.idle_pes else "")


def _memory(axes: Axes, plan: Floorplan) -> None:
    """Bars of SRAM by use: of a PE at work, and of one that is padding."""
    moment = f"at the fullest moment,\nin the {plan.fullest_moment}"
    bars = {f"a PE at work,\n{moment}": plan.layout.sram_bytes_per_pe}
    if plan.padding:
        bars["a PE of the\npadding"] = plan.padding[0].sram_bytes_per_pe
    bottoms = [0.0] * len(bars)
    for use, ink in USES.items():
        heights = [held.get(use, 0) / KIBIBYTE for held in bars.values()]
        label = f"{use.replace('_', ' ')}: {heights[0]:.1f} KiB"
        axes.bar(list(bars), heights, bottom=bottoms, color=ink, width=0.55, label=label)
        bottoms = [low + high for low, high in zip(bottoms, heights, strict=True)]
    capacity = plan.sram_bytes_per_pe / KIBIBYTE
    axes.axhline(capacity, color=INK, linewidth=1)
    axes.set_xlim(-0.6, 1.6)
    axes.set_ylim(0, 1.02 * capacity)
    axes.set_yticks([0, 8, 16, 24, 32, 40, 48] if capacity == 48 else [0, capacity / 2, capacity])
    axes.grid(axis="x", visible=False)
    axes.set_ylabel(f"SRAM of a PE, KiB of {capacity:g}")
    entitle(axes, "What SRAM holds", "simulated")
