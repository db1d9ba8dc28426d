"""Panels of what was simulated: the plans of each model on each wafer, published rates beside."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from pipeline.reporting import humane
from pipeline.reporting.canvas import FAINT, INK, colour, count_axis, entitle, seconds_axis
from pipeline.reporting.plan import Plan
from wse.transformer import training_graph
from wse.validation import training_rows

CAUSE_COLOURS = {
    "compute": colour(0),
    "weight_stream": colour(1),
    "gradient_stream": colour(4),
    "fabric": colour(2),
    "update": colour(3),
    "fixed": "#a9b1ba",
}
USE_COLOURS = {
    "useful": colour(0),
    "rate": colour(5),
    "padding": colour(4),
    "recomputation": colour(2),
    "vectors": "#8c6d4f",
    "streaming": "#c9a27e",
    "reduction": colour(1),
    "weights": "#f0a678",
    "gradients": "#f7d3bc",
    "update": colour(3),
    "fixed": "#a9b1ba",
}
PUBLISHED_WAFER = "wse2"  # in a CS-2


def step_time(axes: Axes, plans: list[Plan]) -> None:
    """Seconds of a step against parameters, with the band of the calibration."""
    _by_parameters(axes, plans, lambda plan, seconds: seconds)
    seconds_axis(axes, "y", "time of a step")
    _too_large(axes, plans)
    axes.legend(loc="upper left")
    entitle(axes, "Step time", "simulated")


def throughput(axes: Axes, plans: list[Plan]) -> None:
    """Tokens per second of one system against parameters, with the band of the calibration.

    Published rates of that wafer stand beside its plans.
    """
    _by_parameters(axes, plans, lambda plan, seconds: _step_tokens(plan) / seconds / plan.systems)
    kinds = ["simulated"]
    if any(plan.wafer == PUBLISHED_WAFER for plan in plans):
        _published(axes, wafer_colours(plans)[PUBLISHED_WAFER])
        kinds.append("published")
    count_axis(axes, "y", "tokens per second of one system")
    _too_large(axes, plans)
    axes.legend(loc="lower left")
    entitle(axes, "Throughput", *kinds)


def _published(axes: Axes, ink: str) -> None:
    """The published training rates of GPT models on a CS-2, as diamonds."""
    rows = [row for row in training_rows() if row.shape.family != "bert"]
    axes.scatter(
        [training_graph(row.shape).parameters for row in rows],
        [row.samples_per_second * row.shape.sequence_length / row.systems for row in rows],
        marker="D",
        s=34,
        facecolors="white",
        edgecolors=ink,
        linewidths=1.4,
        zorder=3,
        label="CS-2, published",
    )


def causes(axes: Axes, plans: list[Plan]) -> None:
    """What binds a step, as shares of its seconds; its time beside each bar."""
    _shares(axes, fitting(plans), CAUSE_COLOURS, lambda plan: plan.seconds_by_cause)
    entitle(axes, "What binds a step", "simulated")


def uses(axes: Axes, plans: list[Plan]) -> None:
    """What a step's seconds are used for or lost to, as shares; its time beside each bar."""
    _shares(axes, fitting(plans), USE_COLOURS, lambda plan: plan.seconds_by_use)
    entitle(axes, "Where a step's time goes", "simulated")


def _shares(
    axes: Axes,
    plans: list[Plan],
    inks: Mapping[str, str],
    parts: Callable[[Plan], Mapping[str, float | None] | None],
) -> None:
    """A bar a plan of what each part of its seconds is of their sum, in percent."""
    seconds = [parts(plan) or {} for plan in plans]
    rows, left = np.arange(len(plans)), np.zeros(len(plans))
    totals = np.array([sum(one or 0.0 for one in each.values()) or 1.0 for each in seconds])
    for part, ink in inks.items():
        widths = 100 * np.array([each.get(part) or 0.0 for each in seconds]) / totals
        axes.barh(rows, widths, left=left, color=ink, height=0.7, label=part.replace("_", " "))
        left += widths
    for row, plan in enumerate(plans):
        axes.text(101, row, humane.duration(plan.step_seconds), va="center", color=INK, fontsize=9)
    _rows(axes, plans)
    axes.set_xlim(0, 116)
    axes.set_xticks(range(0, 101, 20))
    axes.set_xlabel("share of the step, %  ·  right: time of the step")
    axes.figure.legend(loc="outside lower center", ncols=min(6, len(inks)))


def fitting(plans: list[Plan]) -> list[Plan]:
    """The plans that have a step."""
    return [plan for plan in plans if plan.step_seconds]


def memory(axes: Axes, plans: list[Plan]) -> None:
    """SRAM used at the peak of a step, as a share of the wafer's."""
    inks = wafer_colours(plans)
    for row, plan in enumerate(plans):
        used, capacity = plan.bytes.activations_sram_peak, plan.bytes.sram_capacity
        share = 100 * used / capacity if used is not None and capacity else 0.0
        # What does not fit may need many times the wafer: its bar ends where the picture does.
        style: dict[str, Any] = {} if plan.fits else {"hatch": "///", "alpha": 0.35}
        axes.barh(row, min(share, 100.0), color=inks[plan.wafer], height=0.7, **style)
        text = humane.size(used) if plan.fits else "does not fit"
        axes.text(102, row, text, va="center", color=INK, fontsize=9)
    _rows(axes, plans)
    axes.axvline(100, color=FAINT, linewidth=1)
    axes.set_xlim(0, 122)
    axes.set_xticks(range(0, 101, 20))
    axes.set_xlabel("SRAM used of the wafer's, %")
    entitle(axes, "Memory on the wafer", "simulated")


def wafer_colours(plans: list[Plan]) -> dict[str, str]:
    """One colour for each wafer."""
    return {wafer: colour(i) for i, wafer in enumerate(sorted({plan.wafer for plan in plans}))}


def _by_parameters(axes: Axes, plans: list[Plan], value: Callable[[Plan, float], float]) -> None:
    """One line a wafer of ``value(plan, step seconds)``, over the plans that fit."""
    for wafer, ink in wafer_colours(plans).items():
        mine = [plan for plan in plans if plan.wafer == wafer]
        sizes = [plan.parameters for plan in fitting(mine)]
        values = [value(plan, plan.step_seconds or 0.0) for plan in fitting(mine)]
        axes.plot(sizes, values, "o-", color=ink, markersize=5, linewidth=1.2, label=wafer)
        for plan in mine:
            if band := plan.step_seconds_band:
                ends = [value(plan, seconds) for seconds in band]
                style: dict[str, Any] = {"color": ink, "alpha": 0.45, "linewidth": 4}
                axes.vlines(plan.parameters, min(ends), max(ends), **style)
    count_axis(axes, "x", "parameters")


def _too_large(axes: Axes, plans: list[Plan]) -> None:
    """Crosses below all lines, in the wafer's colour: what does not fit has no value."""
    if all(plan.fits for plan in plans):
        return
    low, high = axes.get_ylim()
    axes.set_ylim(low * (low / high) ** 0.12, high)
    for row, (wafer, ink) in enumerate(wafer_colours(plans).items()):
        sizes = [plan.parameters for plan in plans if plan.wafer == wafer and not plan.fits]
        heights = [0.03 + 0.03 * row] * len(sizes)
        place = axes.get_xaxis_transform()
        axes.scatter(sizes, heights, marker="x", color=ink, s=28, transform=place)
    axes.scatter([], [], marker="x", color=FAINT, s=28, label="does not fit")


def _step_tokens(plan: Plan) -> float:
    """Tokens of one step."""
    return (plan.tokens_per_second or 0.0) * (plan.step_seconds or 0.0)


def _rows(axes: Axes, plans: list[Plan]) -> None:
    """Name each row after its model, and its wafer where there are several."""
    several = len({plan.wafer for plan in plans}) > 1
    names = [f"{plan.model} · {plan.wafer}" if several else plan.model for plan in plans]
    axes.set_yticks(range(len(plans)), names)
    axes.set_ylim(len(plans) - 0.4, -0.6)
    axes.grid(axis="y", visible=False)
