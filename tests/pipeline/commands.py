"""Stages as a user runs them on the command line, and what a test may ask of how they ended."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
# Threads that wait for each other are slow on cores that something else uses too.
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1"}
Done = subprocess.CompletedProcess[str]
Stage = Callable[..., Done]


def ended(command: list[str]) -> Done:
    """Run a process to its end: what Python says when it leaves counts too."""
    return subprocess.run(
        command, cwd=REPOSITORY, env=ENVIRONMENT, capture_output=True, text=True, timeout=300
    )


def started(command: list[str], line: str) -> subprocess.Popen[str]:
    """Start a process and return once it prints a line that starts with ``line``."""
    process = subprocess.Popen(
        command,
        cwd=REPOSITORY,
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    if not any(printed.startswith(line) for printed in process.stdout):
        pytest.fail(process.communicate()[1])
    return process


def kill(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=30)


def assert_one_line(done: Done, name: str, *patterns: str) -> None:
    """The stage failed, with one line on its standard error that holds all ``patterns``."""
    assert done.returncode > 0, done
    assert "Traceback" not in done.stdout
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"onewafer {name}: ")
    for pattern in patterns:
        assert re.search(pattern, line), line


def assert_success(done: Done) -> None:
    assert (done.returncode, done.stderr) == (0, ""), done


def contents(results: Path) -> dict[str, bytes]:
    """The files of ``results``, but for the frozen slices, which every command writes anew."""
    return {
        str(path.relative_to(results)): path.read_bytes()
        for path in results.rglob("*")
        if path.is_file() and path.suffix != ".yaml" and not path.name.endswith(".lock")
    }


def corpus_of(results: Path) -> Path:
    (corpus,) = (results / "corpus").iterdir()
    return corpus


def checkpoints_of(results: Path) -> list[str]:
    """The names of the tiny run's checkpoints, the unfinished ones among them."""
    return sorted(path.name for path in results.glob("tiny/checkpoints/*/step-*"))
