"""Panels of what was simulated: the plans of each model on each wafer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from pipeline.reporting import humane
from pipeline.reporting.canvas import FAINT, INK, colour, count_axis, entitle, seconds_axis
from pipeline.reporting.results import Plan

CAUSE_COLOURS = {
    "compute": colour(0),
    "weight_stream": colour(1),
    "gradient_stream": colour(4),
    "fabric": colour(2),
    "fixed": "#a9b1ba",
}


def step_time(axes: Axes, plans: list[Plan]) -> None:
    """Seconds of a step against parameters, with the band of the calibration."""
    _by_parameters(axes, plans, lambda plan, seconds: seconds)
    seconds_axis(axes, "y", "time of a step")
    axes.legend(loc="upper left")
    entitle(axes, "Step time", "simulated")


def throughput(axes: Axes, plans: list[Plan]) -> None:
    """Tokens per second against parameters, with the band of the calibration."""
    _by_parameters(axes, plans, lambda plan, seconds: _step_tokens(plan) / seconds)
    count_axis(axes, "y", "tokens per second")
    axes.legend(loc="lower left")
    entitle(axes, "Throughput", "simulated")


def causes(axes: Axes, plans: list[Plan]) -> None:
    """What a step's seconds go to, as shares of the step; its time beside each bar."""
    fitting = [plan for plan in plans if plan.step_seconds and plan.seconds_by_cause]
    shares = [_shares(plan) for plan in fitting]
    rows = np.arange(len(fitting))
    left = np.zeros(len(fitting))
    for cause, ink in CAUSE_COLOURS.items():
        widths = np.array([share.get(cause, 0.0) for share in shares])
        axes.barh(rows, widths, left=left, color=ink, height=0.7, label=cause.replace("_", " "))
        left += widths
    for row, plan in enumerate(fitting):
        axes.text(101, row, humane.duration(plan.step_seconds), va="center", color=INK, fontsize=9)
    _rows(axes, fitting)
    axes.set_xlim(0, 116)
    axes.set_xticks(range(0, 101, 20))
    axes.set_xlabel("share of the step, %  ·  right: time of the step")
    axes.figure.legend(loc="outside lower center", ncols=len(CAUSE_COLOURS))
    entitle(axes, "Where a step's time goes", "simulated")


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
        fitting = [plan for plan in plans if plan.wafer == wafer and plan.step_seconds]
        sizes = [plan.parameters for plan in fitting]
        values = [value(plan, plan.step_seconds or 0.0) for plan in fitting]
        axes.plot(sizes, values, "o-", color=ink, markersize=5, linewidth=1.2, label=wafer)
        banded = [(plan, plan.step_seconds_band) for plan in fitting if plan.step_seconds_band]
        for plan, band in banded:
            ends = [value(plan, seconds) for seconds in band]
            axes.vlines(plan.parameters, min(ends), max(ends), color=ink, alpha=0.45, linewidth=4)
    count_axis(axes, "x", "parameters")


def _step_tokens(plan: Plan) -> float:
    """Tokens of one step."""
    return (plan.tokens_per_second or 0.0) * (plan.step_seconds or 0.0)


def _shares(plan: Plan) -> dict[str, float]:
    """Each cause's share of a step's seconds, in percent."""
    seconds = {cause: value or 0.0 for cause, value in (plan.seconds_by_cause or {}).items()}
    total = sum(seconds.values()) or 1.0
    return {cause: 100 * value / total for cause, value in seconds.items()}


def _rows(axes: Axes, plans: list[Plan]) -> None:
    """Name each row after its model, and its wafer where there are several."""
    several = len({plan.wafer for plan in plans}) > 1
    names = [f"{plan.model} · {plan.wafer}" if several else plan.model for plan in plans]
    axes.set_yticks(range(len(plans)), names)
    axes.set_ylim(len(plans) - 0.4, -0.6)
    axes.grid(axis="y", visible=False)
