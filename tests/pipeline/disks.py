"""A file system so small that a test can fill it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.pipeline.commands import ended

BLOCK_BYTES = 4096  # of a small disk


class Disk:
    """A file system of 8 MB that can be filled."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._ballast = folder / "ballast"

    def fill(self, leave_bytes: int) -> None:
        """Leave room for so many bytes."""
        system = os.statvfs(self.folder)
        size = system.f_bavail * system.f_frsize - leave_bytes
        self._ballast.write_bytes(bytes(size // BLOCK_BYTES * BLOCK_BYTES))

    def free(self) -> None:
        """Make room again."""
        self._ballast.unlink()


@pytest.fixture
def disk(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Disk]:
    """A small disk; only root may mount one, as anyone is in a user namespace of their own."""
    if os.geteuid() != 0:
        run_in_a_namespace(f"{request.node.path}::{request.node.name}")
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(folder)]
    if not shutil.which("mount") or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("mount: a small file system cannot be had here")
    yield Disk(folder)
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def run_in_a_namespace(test: str) -> None:
    """Run a test anew as root of a namespace, and end here as it ended."""
    unshare = ["unshare", "--map-root-user", "--mount"]
    if not shutil.which("unshare") or subprocess.run([*unshare, "true"]).returncode:
        pytest.skip("unshare: neither root nor allowed a namespace to mount a small disk in")
    done = ended([*unshare, sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", test])
    assert done.returncode == 0, done.stdout
    pytest.skip(f"run as root of a namespace instead: {done.stdout.splitlines()[-1]}")
