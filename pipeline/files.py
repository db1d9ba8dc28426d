"""Files that are whole or absent: written beside their final name, then renamed."""

from __future__ import annotations

import glob
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Have an error of the system name ``path``: a write that finds the disk full names no file."""
    try:
        yield
    except OSError as error:
        error.filename = str(path)
        raise


def write_text(path: Path, text: str) -> None:
    """Replace ``path`` by ``text`` in one step, making its folder."""
    write_bytes(path, text.encode())


def write_json(path: Path, value: Any) -> None:
    """Replace ``path`` by ``value`` as indented JSON in one step."""
    write_text(path, json.dumps(value, indent=1) + "\n")


def write_bytes(path: Path, content: bytes) -> None:
    """Replace ``path`` by ``content`` in one step, on the disk when this returns."""
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_what_the_killed_left(path)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with naming(path):
            with partial.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _remove_what_the_killed_left(path: Path) -> None:
    """A process that is killed while it writes leaves what it has of the file."""
    prefix, suffix = f".{path.name}.", ".partial"
    for left in path.parent.glob(f"{glob.escape(prefix)}*{suffix}"):
        process = left.name.removeprefix(prefix).removesuffix(suffix)
        if process.isdecimal() and not _is_running(int(process)):
            left.unlink(missing_ok=True)


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True
