"""Finds and reads the files of a corpus, so that memory stays flat and errors name the place.

Every failure to read is a :class:`~pipeline.errors.CorpusError` that names the file.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path
from typing import BinaryIO, cast

from pipeline.errors import CorpusError

BLOCK_BYTES = 2**18
"""Longest document, 256 KiB, far more than a sequence; a longer one becomes several. One document
is encoded by one core, so long ones would leave cores idle."""


def find_files(paths: Sequence[str], endings: tuple[str, ...] = ("",)) -> list[Path]:
    """The files that ``paths`` (files, globs, directories) name, each once, in a fixed order.

    Directories are walked for the names with one of ``endings``, hidden ones left out. Raises
    :class:`CorpusError` for a path that names no file.
    """
    if not paths:
        raise CorpusError("data.paths: empty; give files, globs or directories that exist")
    found: dict[Path, None] = {}
    for path in paths:
        matches = [path] if os.path.exists(path) else sorted(glob.glob(path, recursive=True))
        files = [file for match in matches for file in _files_below(Path(match), endings)]
        if not files:
            raise CorpusError(_nothing_found(path, endings))
        found.update(dict.fromkeys(files))
    return list(found)


def _nothing_found(path: str, endings: tuple[str, ...]) -> str:
    """Why ``path`` gave no file."""
    if os.path.isdir(path):
        kind = " or ".join(endings).strip()
        return (
            f"data.paths: directory {path} holds no {kind + ' ' if kind else ''}file; "
            "give files, globs or directories that hold text"
        )
    return f"data.paths: no file matches {path}; give files, globs or directories that exist"


def _files_below(path: Path, endings: tuple[str, ...]) -> Iterator[Path]:
    """``path`` itself if it is a file, else the files below it."""
    if not path.is_dir():
        yield path
        return
    for folder, folders, names in os.walk(path, onerror=_unreadable):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            if name.endswith(endings) and not name.startswith("."):
                yield Path(folder, name)


def _unreadable(error: OSError) -> None:
    """Report a folder that cannot be listed; :func:`os.walk` would pass over it."""
    raise CorpusError(f"{error.filename}: cannot be read: {error.strerror}") from error


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """Open ``path`` for reading, decompressed if it ends in ``.gz`` or ``.zst``.

    What goes wrong while it is open, such as damage in a compressed file, becomes a
    :class:`CorpusError` too.
    """
    try:
        with _open(path) as stream:
            yield stream
    except PermissionError as error:
        raise CorpusError(f"{path}: no permission to read it; change its owner or mode") from error
    except OSError as error:
        reason = error.strerror or error
        raise CorpusError(f"{path}: cannot be read, missing or damaged: {reason}") from error


def _open(path: Path) -> BinaryIO:
    """A buffered stream of the decompressed bytes of ``path``."""
    if path.suffix not in (".gz", ".zst"):
        return path.open("rb")
    # Arrow notices a truncated stream and reads many frames in one file; gzip does, zstandard
    # does neither.
    import pyarrow

    stream = pyarrow.input_stream(str(path), compression="detect")
    return cast(BinaryIO, BufferedReader(stream, BLOCK_BYTES))


def blocks(stream: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """Cut ``stream`` into pieces of at most ``BLOCK_BYTES``, with the offset of each, in bytes.

    Cuts fall behind a line's end or, in a line longer than a block, between two characters.
    """
    offset, held = 0, b""
    while chunk := held + stream.read(BLOCK_BYTES + 1 - len(held)):
        cut = len(chunk) if len(chunk) <= BLOCK_BYTES else _border(chunk)
        yield offset, chunk[:cut]
        offset, held = offset + cut, chunk[cut:]


def _border(chunk: bytes) -> int:
    """Where to cut ``chunk``, at most ``BLOCK_BYTES`` from its start."""
    line_end = chunk.rfind(b"\n", 0, BLOCK_BYTES) + 1
    return line_end or character_border(chunk, BLOCK_BYTES)


def character_border(content: bytes, limit: int) -> int:
    """The last place at or before byte ``limit`` where a UTF-8 character of ``content`` starts."""
    for cut in range(limit, max(limit - 4, 0), -1):
        if cut >= len(content) or content[cut] & 0xC0 != 0x80:
            return min(cut, len(content))
    return limit


def decoded(content: bytes, path: Path, offset: int) -> str:
    """``content`` as text; ``offset`` is its place in the file, in bytes."""
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        place, value = offset + error.start, content[error.start]
        raise CorpusError(
            f"{path}: byte {place} (0x{value:02x}) is not UTF-8; "
            "convert the file to UTF-8 or leave it out of data.paths"
        ) from error
