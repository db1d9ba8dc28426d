"""Measures a machine within a given time, and keeps what it found in a file.

    python -m pipeline.machine_speed.measure FOLDER FILE SECONDS

Measuring takes memory, so a process that plans its own has another one measure.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch

from pipeline import machine
from pipeline.cli import describe
from pipeline.errors import TrainingError
from pipeline.files import write_json
from pipeline.machine_speed import passes
from pipeline.machine_speed.disk import measure_disk
from pipeline.machine_speed.products import measure_attention, measure_products
from pipeline.machine_speed.speed import MachineSpeed
from pipeline.training.memory import available_bytes
from wse.errors import OnewaferError

THOROUGH_SECONDS = 40.0
QUICK_SECONDS = 12.0
FILE_NAME = "machine_speed.json"
MEASUREMENT = 2
"""To be raised where what is measured, or the work itself, changes: older files are replaced."""


def machine_speed(folder: Path, seconds: float, fresh: bool = False) -> MachineSpeed:
    """The rates of this machine and of the disk under ``folder``, from its file or measured now.

    A file made in less time than ``seconds`` ask for is replaced, and so is that of another
    machine, version of torch or disk. Raises :class:`TrainingError` if measuring fails.
    """
    path = folder / FILE_NAME
    known = None if fresh else _read(path)
    enough = known is not None and (known.thorough or seconds < THOROUGH_SECONDS)
    if known is not None and enough and known.key == machine_key(folder):
        return known
    words = [sys.executable, "-m", "pipeline.machine_speed.measure", str(folder), str(path)]
    root = str(Path(__file__).resolve().parents[2])
    search = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
    done = subprocess.run(
        [*words, str(seconds)],
        env={**os.environ, "PYTHONPATH": search},
        stderr=subprocess.PIPE,
        text=True,
    )
    measured = _read(path)
    if done.returncode or measured is None:
        reason = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise TrainingError(f"this machine's speed could not be measured: {reason[-1]}")
    return measured


def machine_key(folder: Path) -> dict[str, Any]:
    """What the rates hold for: processor, cores, torch, this measurement, and the folder's disk."""
    folder.mkdir(parents=True, exist_ok=True)
    device = os.stat(folder).st_dev
    described = machine.describe()
    return {
        "cpu": described["cpu"],
        "cores": described["cores"],
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "measurement": MEASUREMENT,
        "disk": f"{os.major(device)}:{os.minor(device)}",
    }


def measure(folder: Path, seconds_budget: float) -> MachineSpeed:
    """Measure everything in about ``seconds_budget``; compiling the updates comes besides.

    Raises :class:`~pipeline.errors.StoreError` where the disk has no room to be measured.
    """
    room = available_bytes() / 4
    matrix = 4096 if seconds_budget >= QUICK_SECONDS and room > 2e9 else 1024
    disk = measure_disk(folder, 0.25 * seconds_budget)
    return MachineSpeed(
        key=machine_key(folder),
        thorough=seconds_budget >= THOROUGH_SECONDS,
        products={
            "bf16": measure_products("bf16", 0.4 * seconds_budget, room),
            "fp32": measure_products("fp32", 0.15 * seconds_budget, room),
        },
        attention={
            precision: measure_attention(precision, 2048 if seconds_budget > 5 else 128)
            for precision in ("bf16", "fp32")
        },
        pass_nanoseconds=passes.pass_nanoseconds(),
        operation_seconds=passes.operation_seconds(),
        update_nanoseconds=passes.update_nanoseconds(matrix),
        norm_nanoseconds=passes.norm_nanoseconds(matrix),
        initial_nanoseconds=passes.initial_nanoseconds(),
        copy_bytes_per_second=passes.copy_bytes_per_second(),
        disk=disk,
    )


def _read(path: Path) -> MachineSpeed | None:
    """What the file holds; None where there is none, or it is of another form."""
    try:
        return MachineSpeed.from_json(json.loads(path.read_text()))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def main() -> None:
    """Measure as the arguments say; a failure ends as one line."""
    folder, path, seconds = Path(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3])
    try:
        write_json(path, measure(folder, seconds).to_json())
    except (OnewaferError, OSError, KeyboardInterrupt) as error:
        sys.exit("stopped" if isinstance(error, KeyboardInterrupt) else describe(error))


if __name__ == "__main__":
    main()
