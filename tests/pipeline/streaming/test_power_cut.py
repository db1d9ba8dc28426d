"""A power cut loses what was not synced, in any order: the store that is left is good.

The writes of a training are watched. At chosen commits the run's folder is copied as the two
worst cuts would leave it: the new manifest is there, but no byte that was not synced before; and
the former manifest is there, with every byte that was written since. Training goes on from each.
"""

from __future__ import annotations

import os
import random
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pipeline.streaming.manifest import MANIFEST_FILE
from tests.pipeline.streaming.runs import assert_same_end, small

CUTS = 6
SCENARIOS = {
    "update": small("gpt2", "adamw", "train.clip_by=update", "train.micro_batch=4"),
    "norm": small("gptneox", "adafactor", "train.clip_by=norm"),
}


class WatchedDisk:
    """Knows of each file below a folder whether all that was written to it was synced.

    ``copies`` are the copies of the folder that cuts at the commits ``instants`` would leave.
    """

    def __init__(self, folder: Path, copies: Path, instants: set[int]) -> None:
        self.folder, self.copies, self.instants = folder, copies, instants
        self.commits = 0
        self._unsynced: set[str] = set()
        self._synced: set[str] = set()
        self._former: bytes | None = None
        self._lock = threading.Lock()

    @contextmanager
    def watching(self) -> Iterator[WatchedDisk]:
        """While entered, see every system call that the store makes to write."""
        originals = {name: getattr(os, name) for name in ("pwrite", "ftruncate", "posix_fallocate")}
        with pytest.MonkeyPatch.context() as patch:
            for name, original in originals.items():
                patch.setattr(os, name, self._writing(original))
            for name in ("fsync", "fdatasync"):
                patch.setattr(os, name, self._syncing(getattr(os, name)))
            patch.setattr(os, "replace", self._replacing(os.replace))
            yield self

    def _writing(self, original):
        def write(descriptor, *arguments):
            with self._lock:
                self._unsynced.add(self._path(descriptor))
            return original(descriptor, *arguments)

        return write

    def _syncing(self, original):
        def sync(descriptor):
            path = Path(self._path(descriptor))
            if path.is_dir() and (path / MANIFEST_FILE).exists() and self._former is not None:
                # The name that the manifest was given is safe only from here on.
                copy = self._copy("former-manifest")
                manifest = copy / path.relative_to(self.folder) / MANIFEST_FILE
                manifest.write_bytes(self._former)
                self._former = None
            original(descriptor)
            with self._lock:
                self._unsynced.discard(str(path))
                self._synced.add(str(path))

        return sync

    def _replacing(self, original):
        def replace(source, target):
            target = Path(target)
            if target.name != MANIFEST_FILE or self.folder not in target.parents:
                return original(source, target)
            former = target.read_bytes() if target.exists() else None
            with self._lock:
                # It was written through a file object, anew each time.
                assert str(source) in self._synced, "a manifest that was not synced"
                self._synced.remove(str(source))
                lost = set(self._unsynced)
            original(source, target)
            self.commits += 1
            if self.commits in self.instants:
                copy = self._copy("new-manifest")
                for path in lost:
                    if self.folder in Path(path).parents:
                        lose(copy / Path(path).relative_to(self.folder))
                self._former = former
            return None

        return replace

    def _copy(self, name: str) -> Path:
        copy = self.copies / f"{self.commits}-{name}"
        shutil.copytree(self.folder, copy)
        return copy

    @staticmethod
    def _path(descriptor: int) -> str:
        return os.readlink(f"/proc/self/fd/{descriptor}")


def lose(path: Path) -> None:
    """Leave a file of the same length with other content."""
    if path.exists():
        path.write_bytes(b"lost" * (path.stat().st_size // 4 + 1))


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_training_goes_on_from_what_a_power_cut_leaves(trained, tmp_path, scenario):
    run = [*SCENARIOS[scenario], "train.execution=streaming"]
    folder = tmp_path / "results" / "tiny"
    with WatchedDisk(folder, tmp_path / "none", set()).watching() as disk:
        whole = Path(shutil.move(trained(*run), tmp_path / "whole"))
    instants = random.Random(scenario).sample(range(2, disk.commits), CUTS)
    with WatchedDisk(folder, tmp_path / "copies", set(instants)).watching():
        assert_same_end(trained(*run), whole)
    copies = sorted((tmp_path / "copies").iterdir())
    assert len(copies) == 2 * CUTS
    for copy in copies:
        shutil.rmtree(folder)
        shutil.move(copy, folder)
        assert_same_end(trained(*run), whole)
