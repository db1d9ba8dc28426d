"""A streamed step beside the floors of the machine that takes it.

    python -m benchmarks.record_floor
    python -m benchmarks.record_floor --model gptj_6b --tokens 512 --steps 3 --memory 8GiB

Measures the machine as ``pipeline.capacity`` does, thoroughly (under a minute); trains the model
from scratch for ``--steps`` steps by the train stage's command line, streamed; and measures the
machine again, as its speed changes with what else runs on it. The floors of the very plan of that
run are those that a step cannot be faster than, each kind of work by itself and uninterrupted:

- compute: every matrix product, each layer's forward pass twice;
- transfer: the bytes that memory has no room to keep, at the disk's speed;
- update: one pass over the parameters. It shares the processor with compute.

Each floor is the mean of the two measurements. The headline is the median step / the larger of
compute and transfer; at most 1.2 is the target. The first step, in which caches fill, counts only
if it is the only one. Step, bytes and memory are *measured*, floors are computed from *measured*
rates. GPT-NeoX 20B takes about 43 GB of disk and, on two cores, some ten minutes.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.table import Table

from benchmarks import comparison
from benchmarks.comparison import Measured
from benchmarks.onewafer_side import Trainer, sizes, training
from benchmarks.processes import Failed, end_on_termination
from pipeline.config import compose
from pipeline.machine_speed.measure import THOROUGH_SECONDS, machine_speed
from pipeline.schema import Config
from pipeline.streaming.disk import require_disk
from pipeline.streaming.forecast import FloorSeconds, Forecast, forecast
from pipeline.streaming.plan import StreamingPlan, plan_streaming
from pipeline.training.memory import memory_budget_bytes
from wse.errors import OnewaferError

TARGET = 1.2
STEADY = 1.2
"""Up to this factor between the two measurements, their mean says something."""
TIMEOUT_SECONDS = 3600.0


def foretell(config: Config, plan: StreamingPlan, folder: Path) -> Forecast:
    """The forecast of the plan by the machine's speed of this minute."""
    assert config.train is not None
    speed = machine_speed(folder / "results", THOROUGH_SECONDS, fresh=True)
    return forecast(config.model, config.train, plan, speed)


def mean_floor(before: FloorSeconds, after: FloorSeconds) -> FloorSeconds:
    """The floors of the time between two measurements."""
    return FloorSeconds(
        (before.compute + after.compute) / 2,
        (before.transfer + after.transfer) / 2,
        (before.update + after.update) / 2,
    )


def measure(folder: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """Floors, run, floors; print the table.

    Raises :class:`OnewaferError` for too little memory or disk, :class:`Failed` for a failed run.
    """
    overrides = [
        f"model={arguments.model}",
        *sizes(1, arguments.tokens, arguments.steps, arguments.optimizer),
        "train.execution=streaming",
        f"device.memory={arguments.memory}",
    ]
    config = compose([*training(), *overrides])
    assert config.train is not None
    plan = plan_streaming(config.model, config.train, memory_budget_bytes(config.device))
    require_disk(plan, folder)
    for line in plan.lines():
        print(f"  {line}", flush=True)
    trainer = Trainer(folder)
    before = foretell(config, plan, folder)
    print(f"  before: {_words(before.floor_seconds)}", flush=True)
    run = trainer.train(overrides, TIMEOUT_SECONDS, timed_from=2 if arguments.steps > 1 else 1)
    after = foretell(config, plan, folder)
    print(f"  after: {_words(after.floor_seconds)}", flush=True)
    change = after.floor_seconds.compute / before.floor_seconds.compute
    if not 1 / STEADY < change < STEADY:
        print(f"  the machine was not steady: compute took {change:.2f} times as long afterwards")
    floor = mean_floor(before.floor_seconds, after.floor_seconds)
    return _show(arguments, run, floor, [before.step_seconds, after.step_seconds])


def _show(
    arguments: argparse.Namespace, run: Measured, floor: FloorSeconds, predicted: list[float]
) -> dict[str, Any]:
    step = statistics.median(run.step_seconds)
    ratio = step / max(floor.compute, floor.transfer)
    made = Table(
        title=f"{arguments.model}, {arguments.tokens} tokens a step, {arguments.optimizer}, "
        f"device.memory={arguments.memory}",
        show_header=False,
    )
    made.add_row("step, measured", f"{step:.1f} s, {run.tokens_per_second:.2f} tokens/s")
    made.add_row("step, predicted", f"{statistics.mean(predicted):.1f} s")
    made.add_row("floor of compute", f"{floor.compute:.1f} s")
    made.add_row("floor of transfers", f"{floor.transfer:.1f} s")
    made.add_row("floor of the update", f"{floor.update:.1f} s")
    made.add_row("step / larger of compute and transfers", f"{ratio:.2f}, target {TARGET:.2f}")
    made.add_row("peak memory", f"{run.peak_rss_bytes / 1024**3:.2f} GiB")
    if arguments.steps > 1:  # a single step's traffic is not told apart from that of the fill
        read, written = run.bytes_read_per_step / 1e9, run.bytes_written_per_step / 1e9
        made.add_row("of a step, read and written", f"{read:.1f} GB and {written:.1f} GB")
    comparison.show(made)
    return {
        "target": TARGET,
        "ratio": ratio,
        "run": asdict(run),
        "floor_seconds": asdict(floor),
        "predicted_step_seconds": predicted,
    }


def _words(floor: FloorSeconds) -> str:
    return (
        f"floors of {floor.compute:.1f} s compute, {floor.transfer:.1f} s transfers, "
        f"{floor.update:.1f} s update"
    )


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", default="gptneox_20b", help="default gptneox_20b")
    parser.add_argument("--tokens", type=int, default=512, help="of a step (default 512)")
    parser.add_argument("--steps", type=int, default=2, help="with the first (default 2)")
    parser.add_argument("--memory", default="8GiB", help="budget (default 8GiB)")
    parser.add_argument("--optimizer", default="adafactor", help="adafactor, adamw8bit or adamw")
    parser.add_argument("--folder", type=Path, default=Path(), help="on the disk to be used")
    parser.add_argument("--json", type=Path, help="also write every figure to this file")
    arguments = parser.parse_args()
    end_on_termination()
    comparison.announce()
    with tempfile.TemporaryDirectory(dir=arguments.folder.resolve(), prefix=".floor_") as folder:
        try:
            found = measure(Path(folder), arguments)
        except (OnewaferError, Failed) as error:
            sys.exit(f"record_floor: {error}")
    settings = {key: str(value) for key, value in vars(arguments).items()}
    comparison.write(arguments.json, {"settings": settings, **found})


if __name__ == "__main__":
    main()
