"""One process at a time in a parameter store."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from pipeline.errors import StoreInUseError
from pipeline.files import naming

LOCK_FILE = "lock"


class FolderLock:
    """Held from the start until :meth:`release`, or until the process ends in whatever way."""

    def __init__(self, folder: Path) -> None:
        path = folder / LOCK_FILE
        with naming(path):
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
            try:
                self._take(folder)
            except BaseException:
                self.release()
                raise

    def _take(self, folder: Path) -> None:
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(self._descriptor, 20, 0).decode().strip() or "unknown"
            raise StoreInUseError(
                f"{folder}: in use by process {holder}; wait until it ends, or stop it"
            ) from None
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        """Let other processes in."""
        os.close(self._descriptor)
