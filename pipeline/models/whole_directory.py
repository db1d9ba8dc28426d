"""A directory that appears complete or not at all."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def appearing_whole(directory: Path) -> Iterator[Path]:
    """Give a folder beside ``directory`` to write in; it takes its place once it is complete."""
    partial = directory.with_name(f".{directory.name}.partial")
    replaced = directory.with_name(f".{directory.name}.replaced")
    _settle(directory, partial, replaced)  # after a run that was killed
    partial.mkdir(parents=True)
    try:
        yield partial
        if directory.exists():
            directory.rename(replaced)
        partial.rename(directory)
    finally:
        _settle(directory, partial, replaced)


def _settle(directory: Path, partial: Path, replaced: Path) -> None:
    """Leave ``directory`` alone; an earlier one comes back if nothing has taken its place."""
    if replaced.exists() and not directory.exists():
        replaced.rename(directory)
    for folder in (partial, replaced):
        shutil.rmtree(folder, ignore_errors=True)
