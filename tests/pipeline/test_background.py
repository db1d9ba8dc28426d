"""A command ends with its answer; what follows is done all the same, and says what went wrong."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from pipeline.reporting.plan_files import plan_files
from tests.pipeline.commands import ENVIRONMENT, REPOSITORY, ended

SLOW = """
import os, sys, time
from pathlib import Path
from pipeline.background import in_background

def work():
    while not Path("go").exists():
        time.sleep(0.01)
    print("worked")
    print("badly", file=sys.stderr)
    raise SystemExit("never caught by the parent")

in_background(work, Path("logs/work.log"))
print("answered")
"""


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_nobody_waits_for_what_is_in_the_background(tmp_path: Path) -> None:
    environment = ENVIRONMENT | {"PYTHONPATH": str(REPOSITORY)}
    command = [sys.executable, "-c", SLOW]
    # It reads to the end of both streams, so it would wait for a process that held them.
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "answered\n", "")
    (tmp_path / "go").touch()
    log = tmp_path / "logs" / "work.log"
    until(lambda: "badly" in log.read_text())
    assert "worked" in log.read_text()


def test_a_plan_by_hand_is_pictured_and_logged_when_its_command_has_ended(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pipeline.partition", "model=nano_1m", f"results={tmp_path}"]
    done = ended(command)
    assert (done.returncode, done.stderr) == (0, "")
    folder = tmp_path / "nano_1m"
    assert (folder / "partition.json").exists()
    until(lambda: all(path.exists() for path in plan_files(folder)))
    until(lambda: bool(list(tmp_path.glob("mlflow-artifacts/*/artifacts/partition.json"))))
    assert (folder / "logs" / "partition_afterwards.log").read_text() == ""


def test_what_goes_wrong_in_the_background_is_one_line_of_its_log(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").write_text("no database")
    command = [sys.executable, "-m", "pipeline.partition", "model=nano_1m", f"results={tmp_path}"]
    assert ended(command).returncode == 0
    log = tmp_path / "nano_1m" / "logs" / "partition_afterwards.log"
    until(lambda: log.read_text() != "")
    (line,) = log.read_text().splitlines()
    assert line.startswith("onewafer partition: ")
    assert "mlflow.db" in line
