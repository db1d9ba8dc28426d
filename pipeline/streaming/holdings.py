"""Who has which plane in memory: taking memory, waiting for data, letting go.

Nothing here can wait for ever. The caller waits for memory only if what he holds leaves room for
it; everything else is idle, or being read or written, which ends by itself: the reader takes
memory only without waiting, and the writer takes none.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from pipeline.errors import BudgetError
from pipeline.streaming.buffers import Buffer
from pipeline.streaming.cache import Entry, PlaneCache
from pipeline.streaming.direct_io import FileMover
from pipeline.streaming.manifest import FileRecord
from pipeline.streaming.plane_file import FileImage
from pipeline.streaming.reading import Reader
from pipeline.streaming.shared import Shared
from pipeline.streaming.slots import Key, Slots
from pipeline.streaming.timeline import Timeline
from pipeline.streaming.writing import Writer

SPILLED = "spilled"
"""Stands for the plane in the keys of spilled tensors."""


class Holdings:
    """The caller's side of the cache."""

    def __init__(
        self,
        shared: Shared,
        cache: PlaneCache,
        slots: Slots,
        writer: Writer,
        files: FileMover,
        folder: Path,
        timeline: Timeline,
    ) -> None:
        self._shared, self._cache, self._slots, self._writer = shared, cache, slots, writer
        self.reader = Reader(shared, cache, files, folder, timeline, self.source)

    def source(self, key: Key) -> tuple[FileImage, FileRecord] | None:
        """The file with the last durable version of a plane; the lock is held."""
        if key[1] == SPILLED:
            return self._writer.spilled.get(key[0])
        record = self._writer.manifest.record(*key)
        return None if record is None else (self._slots.images[key], record)

    def prefetch(self, keys: Iterable[Key]) -> None:
        """Have planes read in the background; those in memory stay there until fetched."""
        with self._shared.condition:
            self._shared.check()
            for key in keys:
                if (entry := self._cache.get(key)) is not None:
                    entry.wanted = True
                elif self.source(key) is not None:
                    self.reader.prefetch(key)

    def acquire(self, keys: list[Key], read_only: bool) -> list[Entry]:
        """Hold planes whose data is there; if that fails, nothing more is held than before."""
        taken: list[Entry] = []
        with self._shared.condition:
            self._shared.check()
            self._require_budget({key: self._image(key) for key in keys})
            try:
                # What is there is held first, lest it go to make room for the rest.
                for key in sorted(keys, key=lambda key: self._cache.get(key) is None):
                    taken.append(self._hold(key))
                while any(e.reading or (e.writing and not read_only) for e in taken):
                    self._wait()
            except BaseException:
                for entry in taken:
                    entry.holds -= 1
                raise
            for entry in taken:
                entry.changeable |= not read_only
                entry.wanted = False
            return [self._cache.touch(key) for key in keys]

    def held(self, key: Key) -> Entry:
        """The entry of a plane that the caller holds; the lock is held."""
        entry = self._cache.get(key)
        if entry is None or not entry.holds:
            raise ValueError(f"{key[0]} {key[1]} is not held; fetch or blank it first")
        return entry

    def release(self, keys: Iterable[Key]) -> None:
        """Let go of held planes."""
        with self._shared.condition:
            self._shared.check()
            for key in keys:
                entry = self.held(key)
                entry.holds -= 1
                if not entry.holds:
                    entry.changeable = False
                    if entry.fresh or (key[1] == SPILLED and entry.idle):
                        self._cache.drop(key)
            self._shared.condition.notify_all()

    def create(self, images: Mapping[Key, FileImage]) -> dict[Key, Entry]:
        """Entries for new content, held; what the cache had of these planes is gone."""
        created: dict[Key, Entry] = {}
        with self._shared.condition:
            self._shared.check()
            for key in images:
                if (entry := self._cache.get(key)) is not None and entry.holds:
                    raise ValueError(f"{key[0]} {key[1]} is held; release or commit it first")
            self._require_budget(images)
            try:
                for key, image in images.items():
                    self._forget(key)
                    entry = Entry(image, self._take(image.buffer_bytes), holds=1, fresh=True)
                    entry.changeable = True
                    created[key] = self._cache.add(key, entry)
            except BaseException:
                for key in created:
                    self._cache.drop(key)
                raise
        return created

    def take(self, images: Mapping[Key, FileImage]) -> list[Buffer]:
        """Buffers for copies that are nobody's planes; the lock is held."""
        self._require_budget(images)
        return [self._take(image.buffer_bytes) for image in images.values()]

    def _image(self, key: Key) -> FileImage:
        if (entry := self._cache.get(key)) is not None:
            return entry.image
        if (source := self.source(key)) is not None:
            return source[0]
        raise KeyError(f"{key[0]} {key[1]} was never committed")

    def _hold(self, key: Key) -> Entry:
        self.reader.forget(key)
        entry = self._cache.get(key)
        if entry is None:
            image = self._image(key)
            entry = Entry(image, self._take(image.buffer_bytes))
            self.reader.read_now(key, entry)
        entry.holds += 1
        return entry

    def _forget(self, key: Key) -> None:
        """Drop what the cache has of a plane, when nothing is being done with it."""
        self.reader.forget(key)
        while (entry := self._cache.get(key)) is not None and not entry.idle:
            self._wait()
        if entry is not None:
            self._cache.drop(key)

    def _require_budget(self, images: Mapping[Key, FileImage]) -> None:
        """Raise :class:`BudgetError` if these could not be had even with all else let go."""
        held = self._cache.held_bytes(besides=images)
        needed = sum(image.buffer_bytes for image in images.values())
        budget = self._cache.pool.budget_bytes
        if held + needed > budget:
            names = " and ".join(f"{part} {plane}" for part, plane in images)
            raise BudgetError(
                f"{names}: {needed / 1e6:,.1f} MB do not fit beside the {held / 1e6:,.1f} MB in "
                f"use; the parameter store has {budget / 1e6:,.1f} MB of memory; raise "
                "device.memory"
            )

    def _take(self, nbytes: int) -> Buffer:
        """Memory, when there is some; while a write is under way, prefetched planes may stay."""
        self.reader.yielding = True
        try:
            while True:
                even_wanted = not self._writer.queue
                if (buffer := self._cache.take(nbytes, even_wanted)) is not None:
                    return buffer
                self._wait()
        finally:
            self.reader.yielding = False
            self._shared.condition.notify_all()

    def _wait(self) -> None:
        self._shared.condition.wait()
        self._shared.check()
