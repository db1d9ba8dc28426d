"""The planes that are in memory: held by the caller, being moved, or kept because there is room.

What is let go first. Weights are passed in zigzag, up in the forward and down in the backward
pass, so the least recently used is the one not needed for longest; likewise spilled tensors.
Optimizer state and gradients come round once a step in one and the same order: there the most
recently used is not needed for longest. Weights are read twice a step and state once, so state
goes before weights.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from torch import Tensor

from pipeline.streaming.buffers import Buffer, BufferPool
from pipeline.streaming.plane_file import FileImage
from pipeline.streaming.slots import Key

ONCE_A_STEP = ("state", "gradient")


@dataclass
class Entry:
    """A plane in memory.

    ``holds`` counts the fetches not yet released; ``fresh`` means filled by the caller and never
    committed; ``wanted`` means prefetched and not fetched yet; ``changeable`` means held by a
    fetch that may be followed by a commit.
    """

    image: FileImage
    buffer: Buffer
    holds: int = 0
    reading: bool = False
    writing: bool = False
    fresh: bool = False
    wanted: bool = False
    changeable: bool = False

    @property
    def idle(self) -> bool:
        """Whether its memory may be taken."""
        return not (self.holds or self.reading or self.writing)

    @property
    def views(self) -> dict[str, Tensor]:
        """Its tensors by name."""
        return self.image.views(self.buffer.tensor)


class PlaneCache:
    """Entries by part and plane, the least recently used first. The store's lock guards it."""

    def __init__(self, pool: BufferPool) -> None:
        self.pool = pool
        self._entries: dict[Key, Entry] = {}

    def get(self, key: Key) -> Entry | None:
        """The entry of a plane, if it is in memory."""
        return self._entries.get(key)

    def touch(self, key: Key) -> Entry:
        """The entry of a plane, now the most recently used."""
        entry = self._entries.pop(key)
        self._entries[key] = entry
        return entry

    def add(self, key: Key, entry: Entry) -> Entry:
        """Put an entry in."""
        self._entries[key] = entry
        return entry

    def drop(self, key: Key) -> None:
        """Forget an entry and free its memory."""
        self.pool.give(self._entries.pop(key).buffer)

    def clear(self) -> None:
        """Forget everything."""
        for key in list(self._entries):
            self.drop(key)

    def held_bytes(self, besides: Iterable[Key] = ()) -> int:
        """Memory that only the caller can free."""
        leaving_out = set(besides)
        return sum(
            entry.buffer.nbytes
            for key, entry in self._entries.items()
            if entry.holds and key not in leaving_out
        )

    def take(self, nbytes: int, even_wanted: bool = False) -> Buffer | None:
        """A buffer, at the cost of idle entries; those prefetched only if ``even_wanted``."""
        while (buffer := self.pool.take(nbytes)) is None:
            key = self._next_to_go(even_wanted)
            if key is None:
                return None
            self.drop(key)
        return buffer

    def _next_to_go(self, even_wanted: bool) -> Key | None:
        idle = [key for key, entry in self._entries.items() if entry.idle]
        unwanted = [key for key in idle if not self._entries[key].wanted]
        candidates = unwanted or (idle if even_wanted else [])
        once_a_step = [key for key in candidates if key[1] in ONCE_A_STEP]
        if once_a_step:
            return once_a_step[-1]
        return candidates[0] if candidates else None
