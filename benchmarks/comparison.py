"""Sides measured in turn, and what came out as a table and as JSON."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.processes import Failed
from pipeline import machine


@dataclass(frozen=True)
class Measured:
    """One run of a side. The first step, which fills caches, is in none of the figures.

    ``peak_rss_bytes`` is the process's own peak, mapped files included; bytes are those that went
    to and from the disk, a step on average.
    """

    step_seconds: list[float]
    tokens_per_step: int
    peak_rss_bytes: int
    bytes_read_per_step: float
    bytes_written_per_step: float
    losses: list[float]
    group_peak_bytes: int | None = None

    @property
    def tokens_per_second(self) -> float:
        """By the median step."""
        return self.tokens_per_step / statistics.median(self.step_seconds)


Runs = dict[str, list[Measured]]
"""What each side measured, a run a round; empty where it failed."""


def in_turn(
    sides: Mapping[str, Callable[[], Measured]], rounds: int
) -> tuple[Runs, dict[str, str]]:
    """Measure every side once a round, each second round in reverse; also why a side failed.

    A side that failed is not tried again.
    """
    runs: Runs = {side: [] for side in sides}
    problems: dict[str, str] = {}
    for number in range(rounds):
        for side in list(sides)[:: -1 if number % 2 else 1]:
            if side in problems:
                continue
            try:
                runs[side].append(sides[side]())
            except Failed as error:
                problems[side] = str(error)
                print(f"{side}: {error}", flush=True)
            else:
                print(f"round {number + 1}  {side}: {_line(runs[side][-1])}", flush=True)
    return runs, problems


def ratio(runs: Runs, side: str, other: str) -> float | None:
    """Tokens a second of ``side`` over ``other``'s, the median of the rounds; None without both."""
    pairs = zip(runs[side], runs[other], strict=False)
    ratios = [ours.tokens_per_second / theirs.tokens_per_second for ours, theirs in pairs]
    return statistics.median(ratios) if ratios else None


def median(runs: list[Measured], figure: Callable[[Measured], float]) -> float:
    """The median of a figure over the rounds."""
    return statistics.median(figure(run) for run in runs)


def table(title: str, runs: Runs, problems: Mapping[str, str], baseline: str) -> Table:
    """A row for each side; ``baseline`` is what the ratios are to."""
    made = Table(title=title)
    for name in ("side", "tokens/s", "ratio", "step", "peak memory", "read/step", "written/step"):
        made.add_column(name, justify="left" if name == "side" else "right", no_wrap=name != "side")
    for side, measured in runs.items():
        if not measured:
            made.add_row(f"{side}: {problems[side]}")
            continue
        times = ratio(runs, side, baseline)
        made.add_row(
            side,
            f"{median(measured, lambda run: run.tokens_per_second):.1f}",
            "" if times is None else f"{times:.2f}",
            f"{median(measured, lambda run: statistics.median(run.step_seconds)):.2f} s",
            f"{max(run.peak_rss_bytes for run in measured) / 1e9:.2f} GB",
            f"{median(measured, lambda run: run.bytes_read_per_step) / 1e9:.2f} GB",
            f"{median(measured, lambda run: run.bytes_written_per_step) / 1e9:.2f} GB",
        )
    return made


def show(made: Table) -> None:
    """Print a table, wide enough for its rows even where no terminal is."""
    console = Console()
    Console(width=max(console.width, 110)).print(made)


def announce() -> None:
    """Say where the figures come from."""
    about = machine.describe()
    print(
        f"measured on {about['cpu']}, {about['cores']} cores, "
        f"{about['memory_bytes'] / 1e9:.1f} GB of memory, Python {about['python']}",
        flush=True,
    )


def as_json(runs: Runs, problems: Mapping[str, str]) -> dict[str, Any]:
    """Every run of every side."""
    return {
        side: {
            "problem": problems.get(side),
            "runs": [
                {**asdict(run), "tokens_per_second": run.tokens_per_second} for run in measured
            ],
        }
        for side, measured in runs.items()
    }


def write(path: Path | None, values: Mapping[str, Any]) -> None:
    """Write a benchmark's figures with the machine that they were measured on."""
    if path is None:
        return
    about = {"measured": True, "machine": machine.describe(), "versions": machine.versions()}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({**about, **values}, indent=1) + "\n")
    print(f"written to {path}", flush=True)


def _line(run: Measured) -> str:
    step = statistics.median(run.step_seconds)
    return (
        f"{run.tokens_per_second:.1f} tokens/s, {step:.2f} s a step, "
        f"peak memory {run.peak_rss_bytes / 1e9:.2f} GB"
    )
