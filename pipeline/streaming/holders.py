"""Two ways of holding parameters that a step can go through: in memory, or in a parameter store.

:class:`Holder` is what the step asks of either. :class:`~pipeline.streaming.store.ParameterStore`
is a holder as it is; :class:`ResidentParameters` keeps every tensor on the device.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from pipeline.streaming.journal import Journal
from pipeline.streaming.layout import PartLayout, Plane

Tensors = dict[str, Tensor]


class Holder(Protocol):
    """Where the planes of the parts are between their visits."""

    @property
    def journal(self) -> Journal:
        """Where the run stands, as the last commit said."""
        ...

    def missing_parts(self) -> list[str]:
        """Parts that have no version yet."""
        ...

    def prefetch(self, part: str, *planes: Plane) -> None:
        """A fetch of these comes soon."""
        ...

    def fetch(self, part: str, *planes: Plane, read_only: bool = False) -> Tensors:
        """The tensors of the planes by name; unless ``read_only``, to change and then commit."""
        ...

    def release(self, part: str, *planes: Plane) -> None:
        """What was fetched is not needed any longer and was not changed."""
        ...

    def blank(self, part: str, *planes: Plane) -> Tensors:
        """Zeroed tensors for a first version."""
        ...

    def commit(
        self,
        part: str,
        planes: tuple[Plane, ...],
        journal: Journal,
        tensors: dict[str, Tensors | None] | None = None,
    ) -> None:
        """What was fetched or blank is the part's new version; the run stands at ``journal``."""
        ...

    def tensors(self, name: str) -> Tensors:
        """A set of tensors that a commit gave with its journal."""
        ...

    def spill(self, key: str, tensor: Tensor) -> None:
        """Put away a tensor that memory has no room for."""
        ...

    def unspill(self, key: str) -> Tensor:
        """Take it back."""
        ...

    def prefetch_spilled(self, key: str) -> None:
        """Taking it back comes soon."""
        ...

    def wait(self) -> None:
        """Until every commit is safe."""
        ...


class ResidentParameters:
    """Every plane of every part in the device's memory; nothing moves, nothing is durable."""

    def __init__(self, layouts: dict[str, PartLayout], device: torch.device) -> None:
        self._layouts, self._device = layouts, device
        self._planes: dict[tuple[str, Plane], Tensors] = {}
        self._filled: set[str] = set()
        self._spilled: Tensors = {}
        self.journal = Journal(0, "fill", None, {})

    def missing_parts(self) -> list[str]:
        """Parts that were never committed."""
        return [part for part in self._layouts if part not in self._filled]

    def prefetch(self, part: str, *planes: Plane) -> None:
        """Nothing is ever far away."""

    def fetch(self, part: str, *planes: Plane, read_only: bool = False) -> Tensors:
        """The tensors themselves."""
        return {
            name: tensor
            for plane in planes
            for name, tensor in self._planes.get((part, plane), {}).items()
        }

    def release(self, part: str, *planes: Plane) -> None:
        """Nothing to give back."""

    def blank(self, part: str, *planes: Plane) -> Tensors:
        """The tensors, made at the first call; a gradient's are written over as they are."""
        for plane in planes:
            if (part, plane) not in self._planes:
                self._planes[part, plane] = {
                    spec.name: torch.zeros(spec.shape, dtype=spec.dtype, device=self._device)
                    for spec in self._layouts[part].planes.get(plane, ())
                }
        return self.fetch(part, *planes)

    def commit(
        self,
        part: str,
        planes: tuple[Plane, ...],
        journal: Journal,
        tensors: dict[str, Tensors | None] | None = None,
    ) -> None:
        """Note where the run stands; the tensors were changed in place."""
        self._filled.add(part)
        self.journal = journal

    def tensors(self, name: str) -> Tensors:
        """A resident run is never taken up within a step."""
        raise KeyError(name)

    def spill(self, key: str, tensor: Tensor) -> None:
        """Keep it: a resident plan has room for every tensor."""
        self._spilled[key] = tensor

    def unspill(self, key: str) -> Tensor:
        """Give it back."""
        return self._spilled.pop(key)

    def prefetch_spilled(self, key: str) -> None:
        """Nothing is ever far away."""

    def wait(self) -> None:
        """Nothing is under way."""

    def state(self) -> Tensors:
        """Every tensor that a checkpoint must hold, by its name."""
        kept: tuple[Plane, ...] = ("weights", "state")
        return {
            name: tensor
            for part in self._layouts
            for name, tensor in self.fetch(part, *kept).items()
        }

    def restore(self, state: Tensors, journal: Journal) -> None:
        """Take up a checkpoint's tensors; raise KeyError where one is missing."""
        for part in self._layouts:
            for name, tensor in self.blank(part, "weights", "state").items():
                tensor.copy_(state[name])
            self._filled.add(part)
        self.journal = journal
