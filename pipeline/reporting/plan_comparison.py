"""Plans beside each other: the table at the end of a multirun, and ``plans.csv``.

Every number of it is simulated.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console, JustifyMethod
from rich.table import Table

from pipeline.files import write_text
from pipeline.reporting import humane

FILE = "plans.csv"
HEADINGS = (
    "model",
    "on",
    "fits",
    "micro-\nbatch",
    "step",
    "shortest\nto longest",
    "tokens\na second",
    "bottleneck",
    "J a\ntoken",
)
LEFT = ("model", "on", "fits", "bottleneck")
WRAPPED = ("shortest\nto longest", "bottleneck")
COLUMNS = (
    "model",
    "parameters",
    "wafer",
    "systems",
    "sparsity",
    "sequence_length",
    "global_batch",
    "fits",
    "micro_batch",
    "step_seconds",
    "step_seconds_low",
    "step_seconds_high",
    "tokens_per_second",
    "bottleneck",
    "mfu",
    "joules_per_token",
    "numbers",
)
"""Columns of the file; empty where a plan that does not fit has no number."""


def compare_plans(results: Path, plans: Sequence[Mapping[str, Any]]) -> None:
    """Print ``plans`` as one table and write them to ``plans.csv`` in ``results``."""
    path = results / FILE
    write_text(path, comparison_csv(plans))
    Console().print(comparison_table(plans))
    print(f"plans: {path}", flush=True)


def comparison_table(plans: Sequence[Mapping[str, Any]]) -> Table:
    """One line a plan, the smallest model first, its wafers beside each other."""
    table = Table(
        title=f"{len(plans)} plans, simulated",
        caption="simulated, not measured: docs/wafer_model.md",
        box=SIMPLE_HEAD,
        padding=0,
    )
    for heading in HEADINGS:
        justify: JustifyMethod = "left" if heading in LEFT else "right"
        table.add_column(heading, justify=justify, no_wrap=heading not in WRAPPED)
    for plan in by_size(plans):
        table.add_row(*_line(plan))
    return table


def comparison_csv(plans: Sequence[Mapping[str, Any]]) -> str:
    """The table of all plans with full numbers, units in the columns' names."""
    with io.StringIO(newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        for plan in by_size(plans):
            low, high = band(plan) or (None, None)
            ends = {"step_seconds_low": low, "step_seconds_high": high}
            writer.writerow({**plan, **ends, "numbers": "simulated"})
        return file.getvalue()


def by_size(plans: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Plans in the order of the table."""
    return sorted(plans, key=lambda plan: (plan["parameters"], plan["model"], plan["wafer"]))


def band(plan: Mapping[str, Any]) -> tuple[float, float] | None:
    """Shortest and longest step in seconds that the calibration allows."""
    seconds, calibration = plan["step_seconds"], plan["calibration"]
    if seconds is None or calibration["low"] is None or calibration["high"] is None:
        return None
    return seconds * calibration["low"], seconds * calibration["high"]


def _line(plan: Mapping[str, Any]) -> list[str]:
    count = plan["systems"]
    where = plan["wafer"] if count == 1 else f"{count} x {plan['wafer']}"
    if not plan["fits"]:
        return [plan["model"], where, "no", *[humane.MISSING] * (len(HEADINGS) - 3)]
    ends = band(plan)
    return [
        plan["model"],
        where,
        "yes",
        str(plan["micro_batch"]),
        humane.duration(plan["step_seconds"]),
        f"{humane.duration(ends[0])} to {humane.duration(ends[1])}" if ends else humane.MISSING,
        f"{plan['tokens_per_second']:,.0f}",
        plan["bottleneck"].replace("_", " "),
        humane.significant(plan["joules_per_token"]),
    ]
