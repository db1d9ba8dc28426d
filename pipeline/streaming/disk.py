"""The disk that a streamed run takes, asked for before it starts."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from pipeline.choices import Optimizer
from pipeline.errors import NoRoomError
from pipeline.streaming.plan import StreamingPlan


def require_disk(plan: StreamingPlan, folder: Path) -> None:
    """Raise :class:`NoRoomError` unless the disk of ``folder`` has room for all of a run.

    What the run has there already, when it is taken up again, is not asked for again.
    """
    free, there = free_bytes(folder), _taken_bytes(folder)
    needed = plan.disk_bytes + plan.exported_bytes
    if needed - there > free:
        advice = ["free some space", "results=FOLDER on a larger disk"]
        if plan.exported_bytes and plan.disk_bytes - there <= free:
            advice.append("train.keep=store or train.keep=nothing")
        if plan.optimizer != Optimizer.adafactor.value:
            advice.append("train.optimizer=adafactor, which takes 2 bytes a parameter")
        raise NoRoomError(
            f"{folder}: {plan.model} with {plan.optimizer} takes {needed / 1e9:,.1f} GB of disk "
            f"({plan.disk_bytes / 1e9:,.1f} GB for the parameter store, "
            f"{plan.exported_bytes / 1e9:,.1f} GB for the exported model), and "
            f"{(free + there) / 1e9:,.1f} GB are there for it; {', or '.join(advice)}"
        )


def free_bytes(folder: Path) -> int:
    """Free disk under a folder that may not be there yet."""
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


def _taken_bytes(folder: Path) -> int:
    return sum(
        os.lstat(Path(parent) / name).st_blocks * 512
        for parent, _, names in os.walk(folder)
        for name in names
    )
