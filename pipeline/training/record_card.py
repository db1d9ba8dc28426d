"""Record cards: what a record run reached, in one file that is kept in version control.

``results/records/RUN.json`` is the card; ``results/RUN/record.json`` says whether the run was
trained or skipped, which is what Snakemake waits for.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil

from pipeline.capture.planning import graph_of
from pipeline.cli import MEMORY_VARIABLE
from pipeline.config import CONF_DIR
from pipeline.described_hardware import known_wafers
from pipeline.files import write_json
from pipeline.job import Job
from pipeline.reporting import humane
from pipeline.schema import PartitionConfig
from pipeline.slices import TrainSlice
from pipeline.training.history import History
from wse.plan import Request, planned_step

REPOSITORY = CONF_DIR.parent
CODE = ("Snakefile", "rules", "conf", "pipeline", "wse", "requirements.lock")
# Of metrics.json, as they are.
MEASURED = (
    "model",
    "parameters",
    "tokens_per_second",
    "step_seconds_median",
    "floor_seconds",
    "seconds_to_first_step",
    "peak_rss_bytes",
    "memory_budget_bytes",
    "store_bytes",
    "bytes_read",
    "bytes_written",
    "versions",
)


def write_card(
    job: Job[TrainSlice],
    metrics: Mapping[str, Any],
    history: History,
    resumed_after_kill: Sequence[int],
) -> Path:
    """Write the card of a finished run, and that it was trained; return the card's path.

    ``metrics`` is the content of ``metrics.json``; ``resumed_after_kill`` lists the steps in
    which the run was taken up again after its process had been killed.
    """
    train = job.config.train
    losses = history.column("loss")
    card = {
        "name": job.run,
        **{key: metrics.get(key) for key in MEASURED},
        "steps": len(losses),
        "losses": losses,
        "validation_loss": metrics["validation_loss"],
        "tokens_per_step": train.global_batch * train.sequence_length,
        "optimizer": train.optimizer.value,
        "precision": train.precision.value,
        "execution": metrics["execution"],
        "device": metrics["device"],
        "resumed_after_kill": list(resumed_after_kill),
        "machine": {**metrics["machine"], "disk": disk(job.results)},
        "commit": commit(),
        "command": command(sys.argv[1:], job.tracking.sweep),
        "config_hash": job.hash,
        "simulated": simulated_step_seconds(job.config),
        "measured": True,
        "date": datetime.now(UTC).date().isoformat(),
    }
    path = card_path(job)
    write_json(path, card)
    confirm(job)
    return path


def card_path(job: Job[TrainSlice]) -> Path:
    """Where the card of a run lies."""
    return job.results / "records" / f"{job.run}.json"


def confirm(job: Job[TrainSlice]) -> None:
    """Say that the run was trained and has its card."""
    _write_status(job, {"status": "trained", "card": f"records/{job.run}.json"})


def skip(job: Job[TrainSlice], reason: str) -> None:
    """Leave out a run that this machine cannot hold: say so, and have the sweep go on."""
    print(f"{job.run}: skipped: {reason}", flush=True)
    _write_status(job, {"status": "skipped", "reason": reason})


def _write_status(job: Job[TrainSlice], status: dict[str, str]) -> None:
    write_json(job.run_directory / "record.json", {"config_hash": job.hash, **status})


def simulated_step_seconds(config: TrainSlice) -> dict[str, float | None]:
    """Seconds of the very same step on each wafer, simulated; None where it does not fit."""
    train = config.train
    graph = graph_of(config.model, PartitionConfig(sequence_length=train.sequence_length))
    seconds: dict[str, float | None] = {}
    for name, wafer in known_wafers().items():
        _, step = planned_step(Request(graph, wafer, train.global_batch))
        seconds[name] = None if step is None else step.seconds
    return seconds


def commit() -> str | None:
    """The commit that the code is at, with ``+changes`` where it differs; None outside of git."""
    head = _git("rev-parse", "HEAD")
    changed = _git("status", "--porcelain", "--", *CODE)
    return head and head + ("+changes" if changed else "")


def _git(*arguments: str) -> str | None:
    command = ["git", "-C", str(REPOSITORY), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()


def command(arguments: Sequence[str], sweep: str) -> str:
    """The command that does it again; Snakemake's, if that started this process."""
    if arguments and arguments[0] == "--frozen" and sweep != "by_hand":
        memory = os.environ.get(MEMORY_VARIABLE)
        budget = [f"memory={memory}"] if memory else []
        return shlex.join(["snakemake", "--cores", "all", "--config", f"sweep={sweep}", *budget])
    return " ".join(["python -m pipeline.train", *(shlex.quote(portable(a)) for a in arguments)])


def portable(argument: str) -> str:
    """``argument`` without what only this machine has: the folders of an absolute path."""
    here = argument.replace(f"{Path.cwd()}/", "")
    return re.sub(r"(?<![\w.])/(?:[^/\s,\[\]]+/)*", ".../", here)


def disk(folder: Path) -> str:
    """The file system that ``folder`` lies on, and its size: ``ext4, 252 GB``."""
    where = folder.resolve()
    mounts = [
        part
        for part in psutil.disk_partitions(all=True)
        if where.is_relative_to(part.mountpoint) and part.fstype
    ]
    kind = max(mounts, key=lambda part: len(part.mountpoint)).fstype if mounts else "unknown"
    return f"{kind}, {humane.size(psutil.disk_usage(str(where)).total)}"
