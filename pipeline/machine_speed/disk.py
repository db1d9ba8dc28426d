"""Measures the disk under a folder, as a parameter store uses it: past the page cache, checked."""

from __future__ import annotations

import errno
import mmap
import os
import statistics
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import torch
import xxhash

from pipeline.errors import StoreError
from pipeline.files import naming, write_json
from pipeline.machine_speed.speed import DiskSpeed
from pipeline.streaming.manifest import sync_folder

BLOCK_BYTES = 8 << 20
"""Of one transfer: beyond this, disks gain nothing."""
LEAST_BLOCKS, MOST_BLOCKS = 8, 192
COMMITS = 5
BESIDE_SIZE = 1024
"""Side of the matrices multiplied while the disk works."""

Transfer = Literal["read", "write"]


def measure_disk(folder: Path, seconds: float) -> DiskSpeed:
    """Read and write a scratch file of up to 1.5 GiB; a fifth of ``seconds`` for each figure.

    Raises :class:`StoreError` where the folder has no room for it. The file has no name: it is
    gone when the process ends, however it ends.
    """
    each = seconds / 5
    with _scratch_file(folder) as (descriptor, blocks):
        half = blocks // 2
        lower, upper = (0, half), (half, blocks)
        # The first pass also gives the file its blocks on the disk.
        _rates(descriptor, [("write", lower), ("write", upper)], 60.0, passes=1)
        write = sum(_rates(descriptor, [("write", lower), ("write", upper)], each))
        read = sum(_rates(descriptor, [("read", lower), ("read", upper)], each))
        both: Sequence[tuple[Transfer, tuple[int, int]]] = [("read", lower), ("write", upper)]
        read_beside, write_beside = _rates(descriptor, both, each)
        delay = _compute_seconds_per_byte(descriptor, both, each)
    return DiskSpeed(read, write, read_beside, write_beside, *_commit_seconds(folder), delay)


@contextmanager
def _scratch_file(folder: Path) -> Iterator[tuple[int, int]]:
    """Give a file without a name, opened past the page cache where that is possible, its size."""
    folder.mkdir(parents=True, exist_ok=True)
    free = os.statvfs(folder).f_bavail * os.statvfs(folder).f_frsize
    blocks = min(MOST_BLOCKS, free // 4 // BLOCK_BYTES)
    if blocks < LEAST_BLOCKS:
        raise StoreError(
            f"{folder}: {free / 1e6:.0f} MB are free; measuring the disk takes "
            f"{4 * LEAST_BLOCKS * BLOCK_BYTES / 1e6:.0f} MB: free some space, or choose another "
            "folder with results=FOLDER"
        )
    path = folder / f".speed-{os.getpid()}"
    with naming(path):
        descriptor = _open(path)
        path.unlink()
        try:
            os.posix_fallocate(descriptor, 0, blocks * BLOCK_BYTES)
            yield descriptor, blocks
        finally:
            os.close(descriptor)


def _open(path: Path) -> int:
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL
    try:
        return os.open(path, flags | getattr(os, "O_DIRECT", 0), 0o600)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        # Some file systems, such as one in memory, have no way past the cache.
        path.unlink(missing_ok=True)
        return os.open(path, flags, 0o600)


class _Mover(threading.Thread):
    """Reads or writes a range of blocks, round and round, until the time is over."""

    def __init__(
        self,
        descriptor: int,
        transfer: Transfer,
        blocks: tuple[int, int],
        seconds: float,
        passes: int | None,
    ) -> None:
        super().__init__(daemon=True)
        self.descriptor, self.transfer, self.blocks = descriptor, transfer, blocks
        self.seconds, self.passes = seconds, passes
        self.moved_bytes, self.spent_seconds = 0, 0.0
        self.error: OSError | None = None
        self._buffer = mmap.mmap(-1, BLOCK_BYTES)  # at the start of a page, as O_DIRECT asks
        self._buffer.write(os.urandom(BLOCK_BYTES))

    def run(self) -> None:
        """Move blocks; an error is kept for who started this."""
        started = time.perf_counter()
        try:
            done = 0
            while self.passes is None or done < self.passes:
                for block in range(*self.blocks):
                    self._move(block * BLOCK_BYTES)
                    self.spent_seconds = time.perf_counter() - started
                    if self.spent_seconds > self.seconds:
                        return
                done += 1
        except OSError as error:
            self.error = error

    def _move(self, offset: int) -> None:
        if self.transfer == "read":
            os.preadv(self.descriptor, [self._buffer], offset)
        else:
            os.pwrite(self.descriptor, self._buffer, offset)
        xxhash.xxh3_64(self._buffer).intdigest()
        self.moved_bytes += BLOCK_BYTES


def _rates(
    descriptor: int,
    transfers: Sequence[tuple[Transfer, tuple[int, int]]],
    seconds: float,
    passes: int | None = None,
) -> list[float]:
    """Bytes a second of several transfers at once; what was written is on the disk at the end."""
    movers = [_Mover(descriptor, kind, blocks, seconds, passes) for kind, blocks in transfers]
    started = time.perf_counter()
    for mover in movers:
        mover.start()
    for mover in movers:
        mover.join()
        if mover.error is not None:
            raise mover.error
    ended = time.perf_counter()
    os.fdatasync(descriptor)
    # A disk that puts its work off until it is asked to finish it is charged for that.
    syncing = time.perf_counter() - ended
    return [mover.moved_bytes / (ended - started + syncing) for mover in movers]


def _compute_seconds_per_byte(
    descriptor: int, transfers: Sequence[tuple[Transfer, tuple[int, int]]], seconds: float
) -> float:
    """By how much each byte moved delays matrix products that use all cores."""
    matrix = torch.full((BESIDE_SIZE, BESIDE_SIZE), 0.01, dtype=torch.bfloat16)

    def multiplied(limit: float) -> tuple[int, float]:
        started, products = time.perf_counter(), 0
        while time.perf_counter() - started < limit or products == 0:
            matrix @ matrix
            products += 1
        return products, time.perf_counter() - started

    alone, alone_seconds = multiplied(min(seconds, 0.5))
    movers = [_Mover(descriptor, kind, blocks, seconds, None) for kind, blocks in transfers]
    for mover in movers:
        mover.start()
    beside, beside_seconds = multiplied(seconds)
    moved = sum(mover.moved_bytes for mover in movers)
    for mover in movers:
        mover.join()
    lost = beside_seconds - beside * alone_seconds / alone
    return max(0.0, lost) / max(moved, 1)


def _commit_seconds(folder: Path) -> tuple[float, float]:
    """Median times of syncing a small write, and of putting a manifest on the disk in one step."""
    path = folder / f".speed-{os.getpid()}"
    seconds: list[list[float]] = [[], []]
    try:
        for _ in range(COMMITS):
            started = time.perf_counter()
            with path.open("wb") as file:
                file.write(b"x" * 4096)
                file.flush()
                os.fdatasync(file.fileno())
            synced = time.perf_counter()
            write_json(path.with_suffix(".json"), {})
            sync_folder(folder)
            for times, taken in zip(
                seconds, (synced - started, time.perf_counter() - synced), strict=True
            ):
                times.append(taken)
    finally:
        path.unlink(missing_ok=True)
        path.with_suffix(".json").unlink(missing_ok=True)
    return statistics.median(seconds[0]), statistics.median(seconds[1])
