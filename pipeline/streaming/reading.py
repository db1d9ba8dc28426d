"""Reads planes in the background: what the caller waits for first, then what he will want."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

from pipeline.errors import DamagedStoreError
from pipeline.streaming.buffers import Buffer
from pipeline.streaming.cache import Entry, PlaneCache
from pipeline.streaming.direct_io import FileMover, WrongLengthError
from pipeline.streaming.manifest import FileRecord
from pipeline.streaming.plane_file import FileImage
from pipeline.streaming.shared import Shared
from pipeline.streaming.slots import Key
from pipeline.streaming.timeline import Timeline

Source = Callable[[Key], tuple[FileImage, FileRecord] | None]
"""The file that holds a plane's last durable version, if there is one."""


def read_verified(
    files: FileMover, folder: Path, image: FileImage, record: FileRecord, buffer: Buffer
) -> None:
    """Read a file into ``buffer``; raise :class:`DamagedStoreError` if it is not as written."""
    path = folder / record.file
    try:
        checksum = files.read(path, buffer.bytes, record.nbytes)
        problem = None if checksum == record.checksum else "its checksum is not the one written"
    except WrongLengthError as error:
        problem = str(error)
    if problem is None and buffer.bytes[: image.header_bytes] != image.header(record.step):
        problem = "its header is not that of these tensors"
    if problem is not None:
        raise DamagedStoreError(
            f"{path}: {image.part} {image.plane} of step {record.step} is damaged: {problem}; "
            f"restore the file from a copy, or delete {folder} to start again"
        )


class Reader:
    """One thread that reads a plane at a time into the cache.

    It takes memory for what is prefetched, never waits while it holds some, and steps back while
    the caller waits for memory (``yielding``).
    """

    def __init__(
        self,
        shared: Shared,
        cache: PlaneCache,
        files: FileMover,
        folder: Path,
        timeline: Timeline,
        source: Source,
    ) -> None:
        self.yielding = False
        self._shared, self._cache, self._files = shared, cache, files
        self._folder, self._timeline, self._source = folder, timeline, source
        self._urgent: list[Key] = []
        self._pending: list[Key] = []
        self._thread = threading.Thread(target=self._run, name="store-reader", daemon=True)
        self._thread.start()

    def read_now(self, key: Key, entry: Entry) -> None:
        """Read into an entry that the caller waits for; the lock is held."""
        entry.reading = True
        self._cache.add(key, entry)
        self._urgent.append(key)
        self._shared.condition.notify_all()

    def prefetch(self, key: Key) -> None:
        """Read as soon as there is memory that nobody needs more; the lock is held."""
        if key not in self._pending:
            self._pending.append(key)
            self._shared.condition.notify_all()

    def forget(self, key: Key) -> None:
        """Drop a prefetch that has not begun; the lock is held."""
        if key in self._pending:
            self._pending.remove(key)

    def join(self) -> None:
        """Wait for the thread to end, once the store is closing."""
        self._thread.join()

    def _run(self) -> None:
        while True:
            with self._shared.condition:
                while (key := self._next()) is None:
                    if self._shared.closing:
                        return
                    self._shared.condition.wait()
            self._read(key)

    def _next(self) -> Key | None:
        """The plane to read next, its memory taken."""
        if self._shared.closing:
            return None
        if self._urgent:
            return self._urgent.pop(0)
        for key in [] if self.yielding else list(self._pending):
            source = self._source(key)
            if source is None or self._cache.get(key) is not None:
                self._pending.remove(key)
                continue
            buffer = self._cache.take(source[0].buffer_bytes)
            if buffer is not None:
                self._pending.remove(key)
                self._cache.add(key, Entry(source[0], buffer, reading=True, wanted=True))
                return key
        return None

    def _read(self, key: Key) -> None:
        with self._shared.condition:
            entry, source = self._cache.get(key), self._source(key)
        assert entry is not None, "an entry that is being read stays in the cache"
        failure: BaseException | None = None
        try:
            assert source is not None, "only what is durable leaves the cache"
            image, record = source
            with self._timeline.span("read", f"{key[0]} {key[1]}", record.nbytes):
                read_verified(self._files, self._folder, image, record, entry.buffer)
        except BaseException as error:
            failure = error
        with self._shared.condition:
            entry.reading = False
            if failure is not None:
                self._cache.drop(key)
                self._shared.read_failure = failure
            self._shared.condition.notify_all()
