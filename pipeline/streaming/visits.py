"""The visits of one step as the engine makes them: what each reads, computes and writes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise

from pipeline.streaming.compute_cost import ComputeCost
from pipeline.streaming.layout import EMBEDDING, HEAD, Plane, gradients_are_spooled, layer_name
from pipeline.streaming.sizes import plane_bytes
from pipeline.streaming.working_memory import WorkingMemory

Key = tuple[str, str]
"""A part and its plane; for spilled inputs, the part and ``spilled``."""

SPILLED = "spilled"


@dataclass
class Visit:
    """One visit to a part.

    ``asked`` are the planes that are prefetched at its beginning for the next one. ``committed``
    planes are written, with ``copied_bytes`` of tensors beside them; ``spilled`` are inputs sent
    to disk.
    """

    part: str
    compute_seconds: float
    update_seconds: float = 0.0
    fetched: tuple[Key, ...] = ()
    asked: tuple[Key, ...] = ()
    made: tuple[Key, ...] = ()
    committed: tuple[Key, ...] = ()
    copied_bytes: int = 0
    copied_files: int = 0
    spilled: tuple[Key, ...] = ()
    writing_pass: bool = True
    released: tuple[Key, ...] = field(default=(), init=False)

    def __post_init__(self) -> None:
        """What is fetched for the visit and not committed is released at its end."""
        self.released = tuple(key for key in self.fetched if key not in self.committed)


@dataclass(frozen=True)
class StepVisits:
    """All visits of a step of one plan."""

    cost: ComputeCost
    memory: WorkingMemory

    def sizes(self) -> dict[Key, int]:
        """Bytes of every plane, and of spilled inputs."""
        planes = {
            (name, str(plane)): plane_bytes(layout, plane)
            for name, layout in self.cost.layouts.items()
            for plane in layout.planes
        }
        names = map(layer_name, range(self.memory.spilled_layers))
        return planes | {(name, SPILLED): self.memory.boundary_bytes for name in names}

    def of_step(self) -> list[Visit]:
        """In the engine's order; each asks for what the next one fetches, up to the last."""
        passes = [*self._forward(), *self._backward()]
        updates = list(self._updates())
        for visit, after in [*pairwise(passes), *pairwise(updates)]:
            visit.asked = self._asked(after)
        return passes + updates

    def of_fill(self, initial_seconds: dict[str, float]) -> list[Visit]:
        """The first version of each part, made in ``initial_seconds`` and committed."""
        made = {part: self._keys(part, "weights", "state") for part in self.cost.layouts}
        return [
            Visit(part, initial_seconds[part], made=keys, committed=keys)
            for part, keys in made.items()
        ]

    @property
    def _spooled(self) -> bool:
        return gradients_are_spooled(self.cost.train)

    @property
    def _of_update(self) -> tuple[Plane, ...]:
        return ("weights",) if self._spooled else ("weights", "state")

    def _is_kept(self, part: str) -> bool:
        layers = self.cost.model.layers
        return part in map(layer_name, range(layers - self.memory.kept_layers, layers))

    def _spill(self, part: str) -> tuple[Key, ...]:
        lowest = map(layer_name, range(self.memory.spilled_layers))
        return ((part, SPILLED),) if part in lowest else ()

    def _keys(self, part: str, *planes: Plane) -> tuple[Key, ...]:
        return tuple((part, plane) for plane in planes)

    def _asked(self, after: Visit) -> tuple[Key, ...]:
        """At the end of the forward pass weights alone are asked for, and of one part."""
        own = tuple(key for key in after.fetched if key[0] == after.part)
        if after.part == HEAD:
            return tuple(key for key in own if key[1] == "weights")
        return own

    def _forward(self) -> Iterator[Visit]:
        for part in list(self.cost.layouts)[:-1]:
            yield Visit(
                part,
                self.cost.forward(part),
                fetched=self._keys(part, "weights"),
                spilled=self._spill(part),
                writing_pass=self.memory.spilled_layers > 0,
            )

    def _backward(self) -> Iterator[Visit]:
        for part in reversed(self.cost.layouts):
            keys = self._keys(part, *self._of_update)
            borrowed = self._keys(EMBEDDING, "weights")
            tied = borrowed if part == HEAD and self.memory.carried_bytes else ()
            spool = self._keys(part, "gradient") if self._spooled else ()
            copied = 0 if part == EMBEDDING else self.memory.boundary_bytes
            yield Visit(
                part,
                self.cost.backward(part, self._is_kept(part)),
                update_seconds=0.0 if self._spooled else self.cost.update(part),
                fetched=(*keys, *tied, *self._spill(part)),
                made=spool,
                committed=spool or keys,
                copied_bytes=copied + (self.memory.carried_bytes if part == HEAD else 0),
                copied_files=(part != EMBEDDING) + bool(tied),
            )

    def _updates(self) -> Iterator[Visit]:
        for part in reversed(self.cost.layouts) if self._spooled else ():
            yield Visit(
                part,
                0.0,
                update_seconds=self.cost.update(part),
                fetched=self._keys(part, "weights", "state", "gradient"),
                committed=self._keys(part, "weights", "state"),
            )
