"""What is said of the machine and of this process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from pipeline import machine


def test_peak_memory_is_that_of_this_process_alone():
    ballast = bytearray(400_000_000)
    ballast[::4096] = b"x" * len(ballast[::4096])
    assert machine.peak_rss_bytes() > len(ballast)
    done = subprocess.run(
        [sys.executable, "-c", "from pipeline import machine; print(machine.peak_rss_bytes())"],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
    )
    assert int(done.stdout) < 200_000_000


def test_the_description_is_complete():
    described = machine.describe()
    assert described["cores"] >= 1
    assert described["memory_bytes"] > 10**8
    assert all(described.values())
    assert machine.versions()["torch"].startswith("2.13.0")
