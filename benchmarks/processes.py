"""Runs one side of a comparison in a process of its own, and watches it from outside."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.memory_limit import MemoryLimit

ROOT = Path(__file__).resolve().parents[1]
DROP_CACHES = Path("/proc/sys/vm/drop_caches")


class Failed(Exception):
    """A side ended without a measurement; the message is its last word."""


@dataclass
class Finished:
    """What a process printed, and the disk traffic that it had caused when it printed a line.

    ``traffic`` holds a pair of bytes read and written for each line of ``lines``, as the kernel
    counts them: reads from the disk, not from the page cache, and pages that were made dirty.
    ``group_peak_bytes`` is the most that a memory limit's group held, page cache included.
    """

    lines: list[str] = field(default_factory=list)
    traffic: list[tuple[int, int]] = field(default_factory=list)
    group_peak_bytes: int | None = None


def end_on_termination() -> None:
    """Let SIGTERM end this process like Ctrl-C: with its children, groups and files removed."""
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))


def settle() -> bool:
    """Write out what is dirty and empty the page cache; False where that is not permitted.

    A side must not find in memory what the one before it read or wrote.
    """
    os.sync()
    try:
        DROP_CACHES.write_text("3")
    except OSError:
        return False
    return True


def run(
    command: Sequence[str],
    timeout_seconds: float,
    limit_bytes: int | None = None,
    environment: Mapping[str, str] | None = None,
) -> Finished:
    """Run ``command`` from the repository's root to its end, within a memory limit if one is given.

    Raises :class:`Failed` if it ends badly or takes too long; it is killed then.
    """
    if limit_bytes is None:
        return _run(command, timeout_seconds, environment, enter=None)
    with MemoryLimit(limit_bytes) as limit:
        finished = _run(command, timeout_seconds, environment, limit.enter)
        finished.group_peak_bytes = limit.peak_bytes()
        return finished


def _run(
    command: Sequence[str],
    timeout_seconds: float,
    environment: Mapping[str, str] | None,
    enter: Callable[[], None] | None,
) -> Finished:
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env={**os.environ, **(environment or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        preexec_fn=enter,
        start_new_session=True,
    )
    late = threading.Event()

    def stop() -> None:
        late.set()
        os.killpg(process.pid, signal.SIGKILL)

    timer = threading.Timer(timeout_seconds, stop)
    timer.start()
    finished = Finished()
    try:
        assert process.stdout is not None
        for line in process.stdout:
            finished.lines.append(line.rstrip("\n"))
            finished.traffic.append(_traffic(process.pid))
        code = process.wait()
    except BaseException:
        stop()
        process.wait()
        raise
    finally:
        timer.cancel()
    if late.is_set():
        raise Failed(f"killed: it took more than {timeout_seconds:.0f} s")
    if code:
        raise Failed(_reason(code, finished.lines))
    return finished


def _traffic(pid: int) -> tuple[int, int]:
    try:
        lines = Path(f"/proc/{pid}/io").read_text().splitlines()
    except OSError:  # it has ended
        return 0, 0
    counts = {key: int(value) for key, value in (line.split(": ") for line in lines)}
    return counts["read_bytes"], counts["write_bytes"]


def _reason(code: int, lines: list[str]) -> str:
    if code == -signal.SIGKILL:
        return "killed: no memory was left within the limit"
    said = [line for line in lines if line.strip()]
    return f"exit code {code}: {said[-1] if said else 'it said nothing'}"
