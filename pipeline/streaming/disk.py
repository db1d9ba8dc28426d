"""The disk that a run takes, said and asked for before it starts."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from pipeline.errors import StoreError
from pipeline.models.shape import parameter_count
from pipeline.schema import Keep, ModelConfig, Optimizer, TrainConfig
from pipeline.streaming.layout import PartLayout, layer_name
from pipeline.streaming.plan import StreamingPlan
from pipeline.streaming.slots import store_disk_bytes
from pipeline.streaming.working_memory import FP32_BYTES, WorkingMemory

KEPT_FILES = 2
"""A set kept with the journal is written to one file while the other holds the last version."""


def kept_set_bytes(memory: WorkingMemory) -> dict[str, int]:
    """The sets of tensors that commits keep with the journal: name -> bytes."""
    carried = {"carried": memory.carried_bytes} if memory.carried_bytes else {}
    return {"boundary": memory.boundary_bytes, **carried}


def spilled_bytes(memory: WorkingMemory) -> dict[str, int]:
    """The inputs of layers that are spilled: key, as the engine names them, -> bytes."""
    micro_batches = memory.train.global_batch // memory.train.micro_batch
    each = memory.boundary_bytes // micro_batches
    return {
        f"{layer_name(layer)}.{number}": each
        for layer in range(memory.spilled_layers)
        for number in range(micro_batches)
    }


def streaming_disk_bytes(layouts: dict[str, PartLayout], memory: WorkingMemory) -> int:
    """A store with its spare slots, and the kept and spilled tensors beside it."""
    beside = KEPT_FILES * sum(kept_set_bytes(memory).values())
    return store_disk_bytes(layouts) + beside + sum(spilled_bytes(memory).values())


def exported_bytes(model: ModelConfig, train: TrainConfig) -> int:
    """The Hugging Face directory of a finished run: bf16 from Adafactor, else fp32."""
    if train.keep is not Keep.model:
        return 0
    each = 2 if train.optimizer is Optimizer.adafactor else FP32_BYTES
    return each * parameter_count(model)


def require_disk(plan: StreamingPlan, folder: Path) -> None:
    """Raise :class:`StoreError` unless the disk of ``folder`` has room for all of a run.

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
        raise StoreError(
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
