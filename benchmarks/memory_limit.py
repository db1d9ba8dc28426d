"""A limit of memory that the kernel keeps, for a process and all that it starts: a cgroup.

The page cache counts: what a process reads and writes through it is within the limit, and the
kernel drops those pages first. Version 1 (``/sys/fs/cgroup/memory``) and version 2 are known.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from types import TracebackType

VERSION_1 = Path("/sys/fs/cgroup/memory")
VERSION_2 = Path("/sys/fs/cgroup")


class NoMemoryLimit(Exception):
    """This machine, or this user, cannot make one."""


class MemoryLimit:
    """A new group of ``limit_bytes``, without swap; it is removed when the block ends."""

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self._version_1 = (VERSION_1 / "memory.limit_in_bytes").exists()
        root = VERSION_1 if self._version_1 else VERSION_2
        self.folder = root / f"onewafer_benchmark_{os.getpid()}"

    def __enter__(self) -> MemoryLimit:
        """Make the group; raise :class:`NoMemoryLimit` where that is not possible."""
        try:
            if not self._version_1:
                (VERSION_2 / "cgroup.subtree_control").write_text("+memory")
            self.folder.mkdir()
            self._set()
        except OSError as error:
            self._remove()
            raise NoMemoryLimit(
                f"{self.folder}: no memory cgroup can be made here ({error.strerror}); this needs "
                "Linux, root, and a writable /sys/fs/cgroup"
            ) from error
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Remove the group."""
        self._remove()

    def enter(self) -> None:
        """Move the calling process into the group; its memory from now on counts."""
        (self.folder / "cgroup.procs").write_text(str(os.getpid()))

    def peak_bytes(self) -> int:
        """The most that was held at a time, page cache included."""
        name = "memory.max_usage_in_bytes" if self._version_1 else "memory.peak"
        return int((self.folder / name).read_text())

    def _set(self) -> None:
        limit, swap = (
            ("memory.limit_in_bytes", "memory.swappiness")
            if self._version_1
            else ("memory.max", "memory.swap.max")
        )
        (self.folder / limit).write_text(str(self.limit_bytes))
        if (self.folder / swap).exists():  # a kernel without swap may not have it
            (self.folder / swap).write_text("0")

    def _remove(self) -> None:
        for _ in range(50):  # the kernel may take a moment to notice that a process has ended
            try:
                self.folder.rmdir()
            except FileNotFoundError:
                return
            except OSError:
                time.sleep(0.1)
            else:
                return
