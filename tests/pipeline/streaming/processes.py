"""Trainings in processes of their own, started cheaply, watched, killed, and what they left."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from tests.pipeline.streaming.launcher import Request

REPOSITORY = Path(__file__).parents[3]
PATIENCE_SECONDS = 120.0

KILLED = -signal.SIGKILL


class Training:
    """A ``python -m pipeline.train`` that a launcher started."""

    def __init__(self, launcher: Launcher, process: int, request: Request) -> None:
        self.process = process
        self.exit_code: int | None = None
        self._launcher, self._request = launcher, request
        self.started = time.monotonic()

    @property
    def out(self) -> str:
        """What it printed so far."""
        return Path(self._request.out).read_text()

    @property
    def error(self) -> str:
        """What it printed on its standard error so far."""
        return Path(self._request.error).read_text()

    def send(self, number: int) -> None:
        """Send a signal; one that has ended by itself stays as it is."""
        # The launcher waits for its child, so the number may be free again, but is not used anew
        # within the moment that this takes.
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.process, number)

    def wait(self) -> int:
        """Wait for its end; minus the number of a signal that killed it, or its exit code."""
        if self.exit_code is None:
            self.exit_code = self._launcher.answer()["exit"]
        return self.exit_code

    def ended(self) -> bool:
        """Whether the process is gone, without waiting for it."""
        try:
            os.kill(self.process, 0)
        except ProcessLookupError:
            return True
        return False

    def until(self, condition: Callable[[], bool], every_seconds: float = 0.0005) -> bool:
        """Wait for a condition; false if the process ended before it held."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not condition():
            if self.ended():
                return condition()
            assert time.monotonic() < deadline, f"nothing happened:\n{self.out}\n{self.error}"
            time.sleep(every_seconds)
        return True

    def seconds(self) -> float:
        """Since its start."""
        return time.monotonic() - self.started


class Launcher:
    """The process that forks trainings, one at a time."""

    def __init__(self, folder: Path, threads: int = 1) -> None:
        self._folder, self._count = folder, 0
        self._last: Training | None = None
        counts = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": str(threads)}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.pipeline.streaming.launcher"],
            cwd=REPOSITORY,
            env=os.environ | counts,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.answer()["ready"]

    def start(self, *arguments: str, kill_at: int | None = None, count: bool = False) -> Training:
        """Start ``python -m pipeline.train`` with arguments; see :class:`Request`."""
        self._end_last()
        self._count += 1
        name = str(self._folder / f"{self._count:04d}")
        changes = f"{name}.changes" if count else None
        request = Request(list(arguments), f"{name}.out", f"{name}.error", kill_at, changes)
        for path in (request.out, request.error):
            Path(path).touch()
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(asdict(request)) + "\n")
        self._process.stdin.flush()
        self._last = Training(self, self.answer()["process"], request)
        return self._last

    def finish(self, *arguments: str) -> Training:
        """Run a training to its end, which must be a good one."""
        training = self.start(*arguments)
        assert training.wait() == 0, training.error
        assert training.error == ""
        return training

    def changes(self, *arguments: str) -> int:
        """Run a training to its end; how often it changed what files there are."""
        training = self.start(*arguments, count=True)
        assert training.wait() == 0, training.error
        return int((self._folder / f"{self._count:04d}.changes").read_text())

    def answer(self) -> dict[str, int]:
        """The next line of the launcher's."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "the launcher has ended"
        return json.loads(line)

    def _end_last(self) -> None:
        """A failed test may leave its training at work, which no other would wait for."""
        if self._last is not None and self._last.exit_code is None:
            self._last.send(signal.SIGKILL)
            self._last.wait()

    def close(self) -> None:
        """End the launcher, and what it started."""
        self._end_last()
        self._process.terminate()
        self._process.communicate()
