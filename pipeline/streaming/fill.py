"""The first version of every part: initial weights, or those of a Hugging Face directory.

One part is in memory at a time; the tensors of a part are made side by side.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from pipeline import machine
from pipeline.models.huggingface import Checkpoint
from pipeline.models.initialization import initialize_tensor
from pipeline.optimizers.master import split
from pipeline.schema import ModelConfig, TrainConfig
from pipeline.streaming.holders import Holder, Tensors
from pipeline.streaming.journal import Journal

Say = Callable[[int], None]


def fill(
    holder: Holder, model: ModelConfig, train: TrainConfig, notes: dict[str, object], say: Say
) -> None:
    """Commit every part that has no version; ``say`` hears how many parts are done."""
    missing = holder.missing_parts()
    stored = None
    if missing and model.weights is not None:
        stored = Checkpoint(model, Path(model.weights))
    total = model.layers + 2
    for number, part in enumerate(missing):
        say(total - len(missing) + number)
        tensors = holder.blank(part, "weights", "state")
        names = [name for name in tensors if "/" not in name]
        if stored is None:
            with ThreadPoolExecutor(machine.usable_cores()) as pool:
                initialize = partial(_initialize, tensors, model, train.seed)
                list(pool.map(initialize, names))
        else:
            for name in names:
                _put(name, tensors, stored.read_parameter(name))
        holder.commit(part, ("weights", "state"), Journal(0, "fill", part, dict(notes)))
    if missing:
        holder.wait()
        say(total)


def _initialize(tensors: Tensors, model: ModelConfig, seed: int, name: str) -> None:
    if f"{name}/remainder" in tensors:
        values = torch.empty(tensors[name].shape)
        initialize_tensor(values, name, model, seed)
        _put(name, tensors, values)
    else:
        initialize_tensor(tensors[name], name, model, seed)


@torch.no_grad()
def _put(name: str, tensors: Tensors, values: Tensor) -> None:
    """Store a parameter's values, split where the optimizer keeps an fp32 master in two."""
    remainder = tensors.get(f"{name}/remainder")
    if remainder is None:
        tensors[name].copy_(values)
        return
    high, low = split(values.float())
    tensors[name].copy_(high)
    remainder.copy_(low)
