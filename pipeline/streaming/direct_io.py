"""Whole files between disk and page-aligned memory, past the page cache, with a checksum.

A file is moved in chunks by a few threads, each of which also takes its chunk's checksum; the
system calls and the checksum let other Python threads run. ``O_DIRECT`` keeps the page cache out
of it. Where the file system refuses that, reads and writes are buffered and their pages dropped.

The checksum of a file is XXH3-128 over the XXH3-128 digests of its chunks.
"""

from __future__ import annotations

import errno
import mmap
import os
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import xxhash

from pipeline.files import naming

PAGE_BYTES = 4096
"""``O_DIRECT`` wants addresses, offsets and lengths in multiples of the device's block."""
CHUNK_BYTES = 8 * 2**20
THREADS = 2
"""Per direction; more brought nothing on the disks tried, one left bandwidth unused."""


class WrongLengthError(Exception):
    """A file is missing or not as long as it should be; the message says how."""


def page_multiple(nbytes: int) -> int:
    """The next multiple of a page."""
    return -(-nbytes // PAGE_BYTES) * PAGE_BYTES


def accepts_direct(path: Path) -> bool:
    """Whether the file system of an existing file takes ``O_DIRECT``, found by trying to read."""
    with naming(path):
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_DIRECT)
            try:
                os.preadv(descriptor, [mmap.mmap(-1, PAGE_BYTES)], 0)
            finally:
                os.close(descriptor)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP):
                raise
            return False
    return True


def reserve(path: Path, nbytes: int) -> None:
    """Give a file its exact length and all its disk, keeping what it holds."""
    with naming(path):
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            if nbytes:
                os.posix_fallocate(descriptor, 0, nbytes)
            os.ftruncate(descriptor, nbytes)
        finally:
            os.close(descriptor)


class FileMover:
    """Reads and writes whole files of the file system on which ``probe`` lies."""

    def __init__(self, probe: Path) -> None:
        self._direct = os.O_DIRECT if accepts_direct(probe) else 0
        self._readers = ThreadPoolExecutor(THREADS, thread_name_prefix="store-read")
        self._writers = ThreadPoolExecutor(THREADS, thread_name_prefix="store-write")

    def write(self, path: Path, memory: memoryview, nbytes: int) -> str:
        """Write the first ``nbytes`` of ``memory`` as the whole file; return its checksum.

        The data is on the disk when this returns. ``memory`` is page-aligned and as long as whole
        pages need; raises :class:`OSError` naming the file.
        """
        with naming(path):
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | self._direct, 0o644)
            try:

                def move(start: int, stop: int) -> bytes:
                    last = page_multiple(stop) if self._direct else stop
                    _write_all(descriptor, memory[start:last], start)
                    return xxhash.xxh3_128_digest(memory[start:stop])

                checksum = self._in_chunks(self._writers, move, nbytes)
                # The last page may have reached beyond, and a former content may have been longer.
                if os.fstat(descriptor).st_size != nbytes:
                    os.ftruncate(descriptor, nbytes)
                os.fdatasync(descriptor)
                self._drop_cached(descriptor)
            finally:
                os.close(descriptor)
        return checksum

    def read(self, path: Path, memory: memoryview, nbytes: int) -> str:
        """Read a whole file of ``nbytes`` into ``memory``; return its checksum.

        Raises :class:`WrongLengthError` if it is missing or of another length, and
        :class:`OSError` naming the file if it cannot be read.
        """
        with naming(path):
            try:
                descriptor = os.open(path, os.O_RDONLY | self._direct)
            except FileNotFoundError:
                raise WrongLengthError("the file is missing") from None
            try:
                if (length := os.fstat(descriptor).st_size) != nbytes:
                    raise WrongLengthError(f"{length} bytes long instead of {nbytes}")

                def move(start: int, stop: int) -> bytes:
                    _read_all(descriptor, memory[start : page_multiple(stop)], start, stop)
                    return xxhash.xxh3_128_digest(memory[start:stop])

                checksum = self._in_chunks(self._readers, move, nbytes)
                self._drop_cached(descriptor)
            finally:
                os.close(descriptor)
        return checksum

    def close(self) -> None:
        """End the threads."""
        self._readers.shutdown()
        self._writers.shutdown()

    def _in_chunks(
        self, threads: ThreadPoolExecutor, move: Callable[[int, int], bytes], nbytes: int
    ) -> str:
        """``move`` every chunk, wait for all even if one fails, and combine their digests."""
        futures = [
            threads.submit(move, start, min(start + CHUNK_BYTES, nbytes))
            for start in range(0, nbytes, CHUNK_BYTES)
        ]
        return xxhash.xxh3_128_hexdigest(b"".join(_results(futures)))

    def _drop_cached(self, descriptor: int) -> None:
        if not self._direct:
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)


def _results(futures: Iterable[Future[bytes]]) -> list[bytes]:
    """The results in order; the memory and the file are nobody's any more when this ends."""
    results, failure = [], None
    for future in futures:
        try:
            results.append(future.result())
        except BaseException as error:
            failure = failure or error
    if failure is not None:
        raise failure
    return results


def _write_all(descriptor: int, memory: memoryview, offset: int) -> None:
    done = 0
    while done < len(memory):
        done += os.pwrite(descriptor, memory[done:], offset + done)


def _read_all(descriptor: int, memory: memoryview, offset: int, stop: int) -> None:
    """Read until ``stop``; the request covers whole pages, of which the last is partly there."""
    done = 0
    while offset + done < stop:
        count = os.preadv(descriptor, [memory[done:]], offset + done)
        if count == 0:
            raise WrongLengthError(f"it ends at byte {offset + done}")
        done += count
