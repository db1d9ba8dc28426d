"""A disk without room: said before work starts, or survived in its midst."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.pipeline.commands import assert_one_line, assert_success, started
from tests.pipeline.streaming.runs import assert_same_end, give_speed, small

RUN = small("gptj", "adafactor", "train.execution=streaming", "train.clip_by=update")
LONGER = ["train.steps=60", "train.log_every=1", "train.validate_every=1000"]
FULL = "no space left|disk"


def read_only_copy(disk: Path, tmp_path: Path) -> Path:
    """The unbroken run, out of the way of a disk that is filled."""
    return Path(shutil.copytree(disk / "whole", tmp_path / "whole"))


def test_a_store_that_does_not_fit_is_refused_before_work_starts(stage, disk):
    give_speed(disk.folder)
    results = f"results={disk.folder}"
    assert_success(stage("tokenize", results))
    disk.fill(150_000)
    done = stage("train", results, *RUN)
    assert_one_line(done, "train", FULL, "free", "[kMG]i?B")
    assert "train  1 of" not in done.stdout
    assert not list(disk.folder.glob("tiny/history.jsonl"))
    disk.free()
    assert_success(stage("train", results, *RUN))


@pytest.mark.slow
@pytest.mark.parametrize(
    "leave_bytes",
    [pytest.param(0, marks=pytest.mark.long), 4096, pytest.param(40_000, marks=pytest.mark.long)],
)
def test_a_disk_that_another_program_fills_in_mid_run(command, stage, disk, tmp_path, leave_bytes):
    give_speed(disk.folder)
    results = f"results={disk.folder}"
    assert_success(stage("train", results, *RUN, *LONGER, "run=whole"))
    whole = read_only_copy(disk.folder, tmp_path)
    shutil.rmtree(disk.folder / "whole")
    running = started(command("train", results, *RUN, *LONGER), "train  3 of")
    disk.fill(leave_bytes)
    out, error = running.communicate(timeout=120)
    if running.returncode != 0:
        assert running.returncode == 1, error
        (line,) = error.splitlines()
        assert line.startswith("onewafer train: ")
        assert "no space left to write" in line
        assert str(disk.folder) in line
    else:
        assert leave_bytes > 0, out
    disk.free()
    assert_success(stage("train", results, *RUN, *LONGER))
    assert_same_end(disk.folder / "tiny", whole)
