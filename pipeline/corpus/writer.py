"""Writes token shards: flat arrays in files, complete or absent.

A shard is the bare ids of its tokens, little-endian, without a header; the manifest says the
rest and is written last.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from io import FileIO
from pathlib import Path
from typing import Any

import numpy as np

SHARD_TOKENS = 2**26
"""Tokens in each shard but the last, 67 million: 128 MiB of uint16."""


class ShardWriter:
    """Writes the tokens of one split into ``directory``, ``shard_tokens`` to a file."""

    def __init__(self, directory: Path, split: str, shard_tokens: int = SHARD_TOKENS) -> None:
        """Begin with no tokens; the first shard is opened when there are some."""
        self.directory, self.split, self.shard_tokens = directory, split, shard_tokens
        self.tokens = self.bytes = self.documents = 0
        self._shards: list[dict[str, Any]] = []
        self._file: FileIO | None = None
        self._hash = hashlib.sha256()

    def append(self, tokens: np.ndarray, documents: int, text_bytes: int) -> None:
        """Write ``tokens``, shape (n,), that came from ``documents`` of ``text_bytes`` in all."""
        self.tokens += len(tokens)
        self.documents += documents
        self.bytes += text_bytes
        while len(tokens):
            if self._file is None:
                self._begin()
            room = self.shard_tokens - self._shards[-1]["tokens"]
            self._write(tokens[:room])
            tokens = tokens[room:]
            if self._shards[-1]["tokens"] == self.shard_tokens:
                self._end()

    def close(self) -> dict[str, Any]:
        """Finish the last shard; return the split's part of the manifest."""
        self._end()
        return {
            "tokens": self.tokens,
            "bytes": self.bytes,
            "documents": self.documents,
            "shards": self._shards,
        }

    def _begin(self) -> None:
        name = f"{self.split}-{len(self._shards):05d}.bin"
        # Unbuffered: nothing is left to be written, and to fail, when the file is closed.
        self._file = (self.directory / name).open("wb", buffering=0)
        self._hash = hashlib.sha256()
        self._shards.append({"file": name, "tokens": 0, "sha256": ""})

    def _write(self, tokens: np.ndarray) -> None:
        assert self._file is not None
        content = left = memoryview(tokens.tobytes())
        try:
            while left:
                left = left[self._file.write(left) :]
        except OSError as error:
            error.filename = self._file.name
            raise
        self._hash.update(content)
        self._shards[-1]["tokens"] += len(tokens)

    def _end(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
            self._shards[-1]["sha256"] = self._hash.hexdigest()


@contextmanager
def replaced_together(directory: Path) -> Iterator[Path]:
    """A folder to write a corpus into, which becomes that of ``directory`` if all goes well.

    Until then an older corpus stays as it was; whatever goes wrong, nothing half-finished is
    left. A second process that writes the same corpus waits. Other files are not touched.
    """
    directory.mkdir(parents=True, exist_ok=True)
    with _locked(directory):
        partial = directory / ".partial"
        _remove(partial)
        partial.mkdir()
        try:
            yield partial
            _replace(directory, partial)
        finally:
            _remove(partial)


@contextmanager
def _locked(directory: Path) -> Iterator[None]:
    """Hold a lock that ends with this process, however it ends."""
    handle = os.open(directory, os.O_RDONLY)
    try:
        # Some network file systems have no locks; the corpus is then written without.
        with contextlib.suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _replace(directory: Path, partial: Path) -> None:
    """Move the new files into place: the manifest goes first and comes last."""
    (directory / "manifest.json").unlink(missing_ok=True)
    for old in directory.glob("*.bin"):
        old.unlink()
    for new in sorted(partial.iterdir(), key=lambda path: path.name == "manifest.json"):
        new.replace(directory / new.name)


def _remove(partial: Path) -> None:
    """Remove the folder of an unfinished corpus, if there is one."""
    if partial.exists():
        shutil.rmtree(partial)
