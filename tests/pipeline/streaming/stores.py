"""Small parameter stores for tests: layouts, identities, and what should be in them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from pipeline.streaming.journal import Identity, Journal
from pipeline.streaming.layout import PartLayout, TensorSpec
from pipeline.streaming.slots import minimum_memory_bytes
from pipeline.streaming.store import ParameterStore
from pipeline.streaming.timeline import Timeline

IDENTITY = Identity("a1b2c3", {"model": "nano_1m", "optimizer": "adamw"})
PATIENCE_SECONDS = 60
BOTH = ("weights", "state")


def part(name: str, elements: int = 3000, gradient: bool = False) -> PartLayout:
    """A part with a matrix of ``elements`` bf16, a vector, and fp32 state twice as large."""
    weights = (
        TensorSpec(f"{name}.bias", torch.float32, (5,)),
        TensorSpec(f"{name}.weight", torch.bfloat16, (elements // 3, 3)),
    )
    planes = {
        "weights": weights,
        "state": (TensorSpec(f"{name}.weight/exp_avg", torch.float32, (elements,)),),
    }
    if gradient:
        planes["gradient"] = weights
    return PartLayout(name, planes)


def layouts_of(*parts: PartLayout) -> dict[str, PartLayout]:
    return {layout.name: layout for layout in parts}


def model(layers: int = 4, elements: int = 3000, gradient: bool = False) -> dict[str, PartLayout]:
    """Embedding and head of their own sizes, and layers all alike."""
    return layouts_of(
        part("embedding", 2 * elements, gradient),
        *(part(f"layers.{number}", elements, gradient) for number in range(layers)),
        part("head", 3 * elements, gradient),
    )


def open_store(
    folder: Path,
    layouts: dict[str, PartLayout],
    memory_bytes: int | None = None,
    identity: Identity = IDENTITY,
    timeline: Timeline | None = None,
) -> ParameterStore:
    """A store with the least memory that also holds the copies of small kept sets."""
    least = minimum_memory_bytes(layouts) + 4 * 8192
    memory_bytes = least if memory_bytes is None else memory_bytes
    return ParameterStore(folder, layouts, identity, memory_bytes, timeline or Timeline())


def fill(store: ParameterStore, value: float = 0.0) -> None:
    """Commit every part that is missing, all elements ``value``, as step 0."""
    for name in store.missing_parts():
        for tensor in store.blank(name, *BOTH).values():
            tensor.fill_(value)
        store.commit(name, BOTH, Journal(0, "fill", name))
    store.wait()


def learn(store: ParameterStore, name: str, step: int) -> None:
    """Commit a part with all elements ``step``."""
    for tensor in store.fetch(name, *BOTH).values():
        tensor.fill_(step)
    store.commit(name, BOTH, Journal(step, "backward", name))


def values(store: ParameterStore, name: str, *planes: Any) -> set[float]:
    """The least and the largest values of the tensors in a part's planes."""
    planes = planes or BOTH
    tensors = store.fetch(name, *planes).values()
    found = {value.item() for tensor in tensors for value in tensor.aminmax()}
    store.release(name, *planes)
    return found


def in_time(action: Callable[[], None]) -> None:
    """Run something that must not hang."""
    failures: list[BaseException] = []

    def run() -> None:
        try:
            action()
        except BaseException as failure:
            failures.append(failure)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(PATIENCE_SECONDS)
    assert not thread.is_alive(), "the store hangs"
    if failures:
        raise failures[0]
