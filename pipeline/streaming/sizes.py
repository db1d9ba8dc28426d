"""Bytes of disk and of store memory that a streamed run takes, from its layouts alone."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from pipeline.choices import Keep, Optimizer
from pipeline.models.shape import parameter_count
from pipeline.schema import ModelConfig, TrainConfig
from pipeline.streaming.direct_io import PAGE_BYTES, page_multiple
from pipeline.streaming.layout import (
    EMBEDDING,
    HEAD,
    PartLayout,
    Plane,
    TensorSpec,
    layer_name,
)
from pipeline.streaming.plane_file import FileImage
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


@dataclass(frozen=True)
class StoreMemory:
    """Memory that a store's buffers take: what it cannot do without, and what hides transfers."""

    layouts: dict[str, PartLayout]
    memory: WorkingMemory

    @property
    def least_bytes(self) -> int:
        """One part at a time, beside what is kept with its commit or spilled while it is held."""
        tied = self._weights(EMBEDDING) if self.memory.carried_bytes else 0
        beside = [self._bytes(part) + self._copies(part) for part in self.layouts]
        return max(self._bytes(HEAD) + tied, *beside)

    @property
    def overlapping_bytes(self) -> int:
        """One part in use, the next being read and the last being written."""
        names = list(self.layouts)
        each = [self._bytes(part) + self._copies(part) for part in names]
        together = [sum(each[max(0, i - 1) : i + 2]) for i in range(len(names))]
        return max(self.least_bytes, *together)

    @property
    def most_bytes(self) -> int:
        """All planes, and what is copied: more would lie idle."""
        return self.overlapping_bytes + sum(map(self._bytes, self.layouts))

    def _bytes(self, part: str) -> int:
        return sum(plane_bytes(self.layouts[part], plane) for plane in self.layouts[part].planes)

    def _weights(self, part: str) -> int:
        return plane_bytes(self.layouts[part], "weights")

    def _copies(self, part: str) -> int:
        """What is copied at a part's commit, or of its inputs when they are spilled."""
        carried = self.memory.carried_bytes if part == HEAD else 0
        return page_multiple(self.memory.boundary_bytes + carried + 2 * PAGE_BYTES)


def plane_bytes(layout: PartLayout, plane: Plane) -> int:
    """Memory, and disk, of a plane as a file with its header."""
    return _image_bytes(layout.name, plane, layout.planes[plane])


@cache
def _image_bytes(part: str, plane: Plane, specs: tuple[TensorSpec, ...]) -> int:
    """Remembered, as plans are compared by the hundred and headers take a while to write."""
    return FileImage.of(part, plane, specs).buffer_bytes
