"""Measures this machine and says which models train on it, how fast, and what binds.

    python -m pipeline.capacity
    python -m pipeline.capacity device.memory=8GiB train.sequence_length=2048
    python -m pipeline.capacity model=gptneox_20b fresh=true

Takes under a minute, and writes ``results/capacity.json``. Rates are measured, once: they are kept
in ``results/machine_speed.json`` until ``fresh=true`` or another machine, disk or version of
torch. Step times are predicted from them. Any setting of a run may be given as to training; the
default is 512 tokens a step in bf16. ``model=`` asks for one model instead of the ladder.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from pipeline import machine
from pipeline.choices import Keep, Optimizer
from pipeline.cli import describe
from pipeline.config import compose, plain
from pipeline.errors import ConfigError
from pipeline.files import write_json
from pipeline.machine_speed.measure import THOROUGH_SECONDS, machine_speed
from pipeline.machine_speed.speed import MachineSpeed
from pipeline.models.shape import parameter_count
from pipeline.reporting import humane
from pipeline.schema import Config, ModelConfig
from pipeline.streaming.capacity import Room, capacity
from pipeline.streaming.disk import free_bytes
from pipeline.streaming.ladder import ladder
from pipeline.training.memory import memory_budget_bytes
from wse.errors import OnewaferError

LADDER_PARAMETERS = 1e8
"""Smaller models train everywhere, and are left out of the table."""

FRESH = ("fresh=true", "fresh=false")

SECONDS_VARIABLE = "ONEWAFER_MEASURE_SECONDS"
"""How long to measure, where the usual time is too long, as in tests."""


def investigate(config: Config, models: list[ModelConfig], fresh: bool) -> dict[str, Any]:
    """Measure unless that was done, answer for ``models``, and write ``capacity.json``.

    Raises :class:`~pipeline.errors.ConfigError` for a budget that is no amount of memory.
    """
    assert config.train is not None, "refused before"
    results = Path(config.results)
    seconds = float(os.environ.get(SECONDS_VARIABLE, THOROUGH_SECONDS))
    room = Room(memory_budget_bytes(config.device), free_bytes(results))
    speed = machine_speed(results, seconds, fresh)
    found = {
        **capacity(models, config.train, room, speed),
        "step_times": "predicted",
        "train": plain(config.train),
        "rates": speed.to_json(),
        "machine": machine.describe(),
        "versions": machine.versions(),
    }
    write_json(results / "capacity.json", found)
    return found


def asked_config(overrides: Sequence[str]) -> Config:
    """The configuration to answer for; no model is kept in the end unless that is asked for.

    Raises :class:`ConfigError` for overrides that are refused, or that train nothing.
    """
    config = compose(["train=streamed", *overrides])
    if config.train is None:
        raise ConfigError("train: nothing is trained with train=none; leave it out")
    if not any(override.startswith("train.keep=") for override in overrides):
        config.train.keep = Keep.nothing
    return config


def asked_models(config: Config, overrides: Sequence[str]) -> list[ModelConfig]:
    """The one that ``model=`` names, or the ladder."""
    if any(override.startswith("model") for override in overrides):
        return [config.model]
    return [model for model in ladder() if parameter_count(model) >= LADDER_PARAMETERS]


def rates_table(rates: Mapping[str, Any]) -> Table:
    """The machine's rates, in a few lines."""
    speed = MachineSpeed.from_json(rates)
    disk, table = speed.disk, Table(title="this machine, measured", show_header=False)
    table.add_column(style="bold")
    table.add_column()
    products = {name: [rate.forward for rate in rates] for name, rates in speed.products.items()}
    spans = [f"{name} {min(r):,.0f} to {max(r):,.0f}" for name, r in products.items()]
    table.add_row("matrix products", f"{', '.join(spans)} GFLOP/s by shape")
    update = [f"{o.value} {speed.update_nanoseconds[f'{o.value}/bf16']:.2f}" for o in Optimizer]
    table.add_row("updates", f"{', '.join(update)} ns a parameter")
    table.add_row("memory", f"copies at {speed.copy_bytes_per_second / 1e9:.1f} GB/s, both ways")
    table.add_row(
        "disk",
        f"reads {disk.read / 1e9:.2f} GB/s, writes {disk.write / 1e9:.2f}; both at once "
        f"{disk.read_beside_write / 1e9:.2f} + {disk.write_beside_read / 1e9:.2f}",
    )
    return table


def answers_table(found: Mapping[str, Any]) -> Table:
    """A row for each model, a column for each optimizer, and the largest of all below."""
    room, train = found["room"], found["train"]
    tokens = train["global_batch"] * train["sequence_length"]
    table = Table(
        title=f"a step of {tokens:,} tokens in {train['precision']}, predicted: its time, tokens a "
        "second, what binds",
        caption=f"within {room['memory_bytes'] / 1024**3:.1f} GiB of memory and "
        f"{humane.size(room['disk_bytes'])} of disk; * streamed",
    )
    table.add_column("model")
    table.add_column("parameters", justify="right")
    for optimizer in Optimizer:
        table.add_column(optimizer.value)
    rows: dict[str, list[Mapping[str, Any]]] = {}
    for answer in found["answers"]:
        rows.setdefault(answer["model"], []).append(answer)
    for name, answers in rows.items():
        table.add_row(name, humane.count(answers[0]["parameters"]), *map(_cell, answers))
    table.add_section()
    shapes = [found["largest_shapes"][optimizer.value] for optimizer in Optimizer]
    table.add_row("largest GPT", "", *map(_shape_cell, shapes))
    return table


def _cell(answer: Mapping[str, Any]) -> str:
    if not answer["trains"]:
        return f"no: {answer['limit']}"
    mark = "*" if answer["execution"] == "streaming" else ""
    speed = humane.significant(answer["tokens_per_second"])
    return f"{humane.duration(answer['step_seconds'])}{mark}, {speed}/s, {answer['binds']}"


def _shape_cell(answer: Mapping[str, Any] | None) -> str:
    if answer is None:
        return "none"
    shape = f"{humane.count(answer['parameters'])}: {answer['layers']} x {answer['hidden']}"
    return f"{shape}\n{_cell(answer)}"


def main(arguments: Sequence[str]) -> None:
    """Measure and show; a mistake of the user ends as one line and an exit code that is not 0."""
    overrides = [argument for argument in arguments if argument not in FRESH]
    try:
        config = asked_config(overrides)
        fresh = FRESH[0] in arguments
        found = investigate(config, asked_models(config, overrides), fresh)
    except (OnewaferError, OSError, KeyboardInterrupt) as error:
        words = "stopped" if isinstance(error, KeyboardInterrupt) else describe(error)
        print(f"onewafer capacity: {words}", file=sys.stderr)
        raise SystemExit(130 if isinstance(error, KeyboardInterrupt) else 1) from None
    console = Console()
    console.print(rates_table(found["rates"]))
    console.print(answers_table(found))


if __name__ == "__main__":
    main(sys.argv[1:])
