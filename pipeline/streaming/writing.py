"""Writes commits in the background, in order: data, its sync, then the manifest that points at it.

A process may die between any two instructions here. Data goes only to files that the manifest on
the disk does not name, so the store is then as the last finished commit left it.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pipeline.streaming.buffers import Buffer
from pipeline.streaming.cache import Entry, PlaneCache
from pipeline.streaming.direct_io import FileMover
from pipeline.streaming.journal import Journal
from pipeline.streaming.manifest import FileRecord, Manifest, sync_folder
from pipeline.streaming.plane_file import FileImage
from pipeline.streaming.shared import Shared
from pipeline.streaming.slots import Slots
from pipeline.streaming.timeline import Timeline

KEPT_PREFIX, SPILL_PREFIX = "kept-", "spill-"
SUFFIX = ".safetensors"


@dataclass(frozen=True)
class Commit:
    """One new version of a part's planes, with the journal and the sets kept with it."""

    part: str
    entries: Mapping[str, Entry]
    journal: Journal
    kept: Mapping[str, tuple[FileImage, Buffer] | None]


@dataclass(frozen=True)
class Spill:
    """A tensor that memory has no room for."""

    key: str
    entry: Entry


def kept_files(name: str) -> list[str]:
    """The two files that versions of a kept set take in turn."""
    return [f"{KEPT_PREFIX}{name}-{number}{SUFFIX}" for number in (0, 1)]


def spill_file(key: str) -> str:
    """The file of a spilled tensor."""
    return f"{SPILL_PREFIX}{key}{SUFFIX}"


class Writer:
    """One thread that writes what was submitted, in order; it needs no memory of the budget.

    ``manifest`` is the one on the disk; ``spilled`` are the spilled tensors that are written.
    """

    def __init__(
        self,
        shared: Shared,
        cache: PlaneCache,
        files: FileMover,
        folder: Path,
        timeline: Timeline,
        slots: Slots,
        manifest: Manifest,
    ) -> None:
        self.manifest = manifest
        self.spilled: dict[str, tuple[FileImage, FileRecord]] = {}
        self._shared, self._cache, self._files = shared, cache, files
        self._folder, self._timeline, self._slots = folder, timeline, slots
        self._queue: list[Commit | Spill] = []
        self._thread = threading.Thread(target=self._run, name="store-writer", daemon=True)
        self._thread.start()

    @property
    def queue(self) -> list[Commit | Spill]:
        """What is being written and what waits for it; the lock is held."""
        return self._queue

    def submit(self, job: Commit | Spill) -> None:
        """Take entries from the caller, to write after what was submitted before; with the lock."""
        for entry in job.entries.values() if isinstance(job, Commit) else [job.entry]:
            entry.holds, entry.fresh, entry.changeable, entry.writing = 0, False, False, True
        self._queue.append(job)
        self._shared.condition.notify_all()

    def join(self) -> None:
        """Wait until all is written, or a write failed, once the store is closing."""
        self._thread.join()

    def _run(self) -> None:
        while True:
            with self._shared.condition:
                while not self._queue:
                    if self._shared.closing:
                        return
                    self._shared.condition.wait()
                job = self._queue[0]
            try:
                if isinstance(job, Commit):
                    self._commit(job)
                else:
                    self._spill(job)
            except BaseException as error:
                with self._shared.condition:
                    self._shared.fail_write(error)
                return

    def _commit(self, job: Commit) -> None:
        step = job.journal.step
        planes = {
            plane: self._write(
                entry.image, entry.buffer, self._slots.spare((job.part, plane), self.manifest), step
            )
            for plane, entry in job.entries.items()
        }
        kept = {name: self._write_kept(name, item, step) for name, item in job.kept.items()}
        manifest = self.manifest.committed(job.part, planes, kept, job.journal)
        manifest.save(self._folder)
        with self._shared.condition:
            self.manifest = manifest
            for entry in job.entries.values():
                entry.writing = False
            for item in job.kept.values():
                if item is not None:
                    self._cache.pool.give(item[1])
            self._done()

    def _write_kept(
        self, name: str, item: tuple[FileImage, Buffer] | None, step: int
    ) -> FileRecord | None:
        if item is None:
            return None
        current = self.manifest.kept.get(name)
        file = next(f for f in kept_files(name) if current is None or f != current.file)
        is_new = not (self._folder / file).exists()
        record = self._write(*item, file, step)
        if is_new:
            sync_folder(self._folder)
        return record

    def _spill(self, job: Spill) -> None:
        image = job.entry.image
        record = self._write(image, job.entry.buffer, spill_file(job.key), 0)
        with self._shared.condition:
            self.spilled[job.key] = image, record
            job.entry.writing = False
            self._done()

    def _write(self, image: FileImage, buffer: Buffer, file: str, step: int) -> FileRecord:
        buffer.bytes[: image.header_bytes] = image.header(step)
        with self._timeline.span("write", f"{image.part} {image.plane}", image.nbytes):
            checksum = self._files.write(self._folder / file, buffer.bytes, image.nbytes)
        return FileRecord(file, image.nbytes, checksum, step)

    def _done(self) -> None:
        self._queue.pop(0)
        self._shared.condition.notify_all()
