"""The parameter store: parameters and optimizer state on the disk, a few parts of them in memory.

A folder with one safetensors file per plane of a part, a few spare ones, and ``manifest.json``.
:meth:`ParameterStore.commit` makes a part's new version, the run's journal and the tensors kept
with it durable in one step: a process that dies at any instant leaves the store as the last
finished commit left it. All memory for planes comes from one budget; reads and writes go on in
the background and bypass the page cache.

One thread at a time may use a store.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from pipeline.streaming.buffers import Buffer, BufferPool
from pipeline.streaming.cache import PlaneCache
from pipeline.streaming.direct_io import FileMover, page_multiple
from pipeline.streaming.folder import open_folder, reserve_beside
from pipeline.streaming.holdings import SPILLED, Holdings
from pipeline.streaming.journal import Identity, Journal, require_json
from pipeline.streaming.layout import PartLayout, Plane
from pipeline.streaming.manifest import MANIFEST_FILE
from pipeline.streaming.plane_file import FileImage, image_of_tensors, read_image
from pipeline.streaming.reading import read_verified
from pipeline.streaming.shared import Shared
from pipeline.streaming.slots import (
    Key,
    Slots,
    minimum_memory_bytes,
    require_memory,
    store_disk_bytes,
)
from pipeline.streaming.timeline import Timeline
from pipeline.streaming.writing import Commit, Spill, Writer

__all__ = ["ParameterStore", "minimum_memory_bytes", "store_disk_bytes"]


class ParameterStore:
    """Opens a store, or makes one with all the disk that it will take.

    ``memory_bytes`` bounds all of its buffers: in use, prefetched, being written and cached; at
    least :func:`minimum_memory_bytes`. ``journal`` is that of the last commit. Raises
    :class:`StoreInUseError`, :class:`DamagedStoreError`, or :class:`StoreError` for a store of
    another run or a disk too full. What fails in the background is raised by the next call.
    """

    def __init__(
        self,
        folder: Path,
        layouts: dict[str, PartLayout],
        identity: Identity,
        memory_bytes: int,
        timeline: Timeline,
        pin: bool = False,
    ) -> None:
        require_memory(layouts, memory_bytes)
        self.folder = folder
        self._slots, self._parts = Slots(layouts), list(layouts)
        self._lock, manifest = open_folder(folder, self._slots, identity)
        self.journal: Journal = manifest.journal
        self._shared, self._closed = Shared(), False
        cache = self._cache = PlaneCache(BufferPool(memory_bytes, pin))
        try:
            files = self._files = FileMover(folder / MANIFEST_FILE)
        except BaseException:
            self._lock.release()
            raise
        self._writer = Writer(self._shared, cache, files, folder, timeline, self._slots, manifest)
        self._holdings = Holdings(
            self._shared, cache, self._slots, self._writer, files, folder, timeline
        )

    def __enter__(self) -> ParameterStore:
        return self

    def __exit__(self, *failure: object) -> None:
        self.close()

    def missing_parts(self) -> list[str]:
        """Parts that were never committed whole: what an interrupted filling has yet to do."""
        self.wait()
        manifest = self._writer.manifest
        missing = {
            part
            for part, plane in self._slots.images
            if plane != "gradient" and manifest.record(part, plane) is None
        }
        return [part for part in self._parts if part in missing]

    def reserve(self, kept: Mapping[str, int], spilled: Mapping[str, int]) -> None:
        """Reserve the disk of kept sets and spilled tensors, name -> bytes, before work starts.

        Raises :class:`StoreError` if the disk has too little room.
        """
        self.wait()
        in_use = {record.file for record in self._writer.manifest.kept.values()}
        reserve_beside(self.folder, kept, spilled, in_use)

    def prefetch(self, part: str, *planes: Plane) -> None:
        """Read in the background, as soon as memory is free that nobody needs more.

        Nothing happens for what is in memory or was never committed.
        """
        self._holdings.prefetch(self._keys(part, planes))

    def fetch(self, part: str, *planes: Plane, read_only: bool = False) -> dict[str, Tensor]:
        """The tensors of a part's planes by name: views of the store's buffers, until release.

        They may be changed if they are then committed. ``read_only`` forbids that, and in turn
        does not wait until a former commit of the same plane is on the disk. Every fetch is to be
        released, but for those that a commit of the plane ends. Raises KeyError for what was never
        committed, :class:`DamagedStoreError` if a file is not as it was written, and
        :class:`BudgetError` if the memory could never be had.
        """
        entries = self._holdings.acquire(self._keys(part, planes), read_only)
        return {name: tensor for entry in entries for name, tensor in entry.views.items()}

    def release(self, part: str, *planes: Plane) -> None:
        """Done with unchanged planes: they stay in memory while there is room."""
        self._holdings.release(self._keys(part, planes))

    def blank(self, part: str, *planes: Plane) -> dict[str, Tensor]:
        """Zeroed tensors to fill and commit: first values, or gradients. Released, they are lost.

        Raises :class:`BudgetError` if the memory could never be had.
        """
        images = {key: self._slots.images[key] for key in self._keys(part, planes)}
        entries = self._holdings.create(images).values()
        for entry in entries:
            entry.buffer.tensor.zero_()
        return {name: tensor for entry in entries for name, tensor in entry.views.items()}

    def commit(
        self,
        part: str,
        planes: tuple[Plane, ...],
        journal: Journal,
        tensors: Mapping[str, Mapping[str, Tensor] | None] | None = None,
    ) -> None:
        """Take held planes back as the part's new version; durable, with the journal, in order.

        ``tensors`` are named sets kept with the journal, copied now; None drops a set, and one
        that is not named stays. Returns before the disk is done: see :meth:`wait`. Raises
        :class:`BudgetError` if the memory for the copies could never be had.
        """
        require_json(journal)
        kept = {
            name: kept_set for name, kept_set in (tensors or {}).items() if kept_set is not None
        }
        with self._shared.condition:
            self._shared.check()
            entries = {key[1]: self._holdings.held(key) for key in self._keys(part, planes)}
            for plane, entry in entries.items():
                if not entry.changeable:
                    raise ValueError(f"{part} {plane} was fetched read_only: nothing to commit")
            images = {name: image_of_tensors(name, kept_set) for name, kept_set in kept.items()}
            buffers = self._holdings.take({(n, "kept"): image for n, image in images.items()})
        copies: dict[str, tuple[FileImage, Buffer] | None] = dict.fromkeys(tensors or {})
        for (name, image), buffer in zip(images.items(), buffers, strict=True):
            _copy(kept[name], image, buffer)
            copies[name] = image, buffer
        with self._shared.condition:
            self._writer.submit(Commit(part, entries, journal, copies))
        self.journal = journal

    def tensors(self, name: str) -> dict[str, Tensor]:
        """A kept set as the last commit left it, verified, in memory of the caller's own.

        Raises KeyError if there is none.
        """
        self.wait()
        record = self._writer.manifest.kept[name]
        image = read_image(self.folder / record.file)
        buffer = Buffer(max(image.buffer_bytes, page_multiple(record.nbytes)))
        read_verified(self._files, self.folder, image, record, buffer)
        return image.views(buffer.tensor)

    def spill(self, key: str, tensor: Tensor) -> None:
        """Copy a tensor away, to be had back from :meth:`unspill` until the process ends."""
        image = image_of_tensors(key, {key: tensor})
        entry = self._holdings.create({(key, SPILLED): image})[key, SPILLED]
        _copy({key: tensor}, image, entry.buffer)
        with self._shared.condition:
            self._writer.submit(Spill(key, entry))

    def prefetch_spilled(self, key: str) -> None:
        """Read a spilled tensor in the background."""
        self._holdings.prefetch([(key, SPILLED)])

    def unspill(self, key: str) -> Tensor:
        """A spilled tensor, in memory of the caller's own; KeyError if there is none."""
        (entry,) = self._holdings.acquire([(key, SPILLED)], read_only=True)
        tensor = entry.views[key].clone()
        self._holdings.release([(key, SPILLED)])
        return tensor

    def wait(self) -> None:
        """Return when every commit is on the disk."""
        with self._shared.condition:
            self._shared.check()
            while self._writer.queue:
                self._shared.condition.wait()
                self._shared.check()

    def disk_bytes(self) -> int:
        """What the store takes on the disk."""
        return sum(path.stat().st_blocks * 512 for path in self.folder.iterdir())

    def close(self) -> None:
        """Finish what was committed, end the threads and let other processes in.

        Raises what failed in the background, unless a call did already.
        """
        if self._closed:
            return
        self._closed = True
        with self._shared.condition:
            self._shared.closing = True
            self._shared.condition.notify_all()
        self._writer.join()
        self._holdings.reader.join()
        self._files.close()
        self._cache.clear()
        self._cache.pool.close()
        self._lock.release()
        if self._shared.write_failure is not None and not self._shared.told:
            self._shared.check()

    def remove(self) -> None:
        """Close the store and delete its folder."""
        try:
            self.close()
        finally:
            shutil.rmtree(self.folder)

    def _keys(self, part: str, planes: tuple[Plane, ...]) -> list[Key]:
        keys: list[Key] = [(part, plane) for plane in planes]
        for key in keys:
            if key not in self._slots.images:
                raise ValueError(f"{part} {key[1]}: the store has no such plane")
        return keys


def _copy(tensors: Mapping[str, Tensor], image: FileImage, buffer: Buffer) -> None:
    for name, view in image.views(buffer.tensor).items():
        view.copy_(tensors[name])
