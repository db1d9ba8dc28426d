"""Files are whole or absent, whoever is killed while writing them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from pipeline.files import write_text


def ended_process() -> int:
    """The number of a process that is no more."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_what_a_killed_writer_left_goes_with_the_next_write(tmp_path: Path):
    (tmp_path / f".loss[1].png.{ended_process()}.partial").write_text("half")
    write_text(tmp_path / "loss[1].png", "whole")
    assert [path.name for path in tmp_path.iterdir()] == ["loss[1].png"]
    assert (tmp_path / "loss[1].png").read_text() == "whole"


def test_what_another_process_is_writing_stays(tmp_path: Path):
    others = [f".a.json.{os.getppid()}.partial", f".b.json.{ended_process()}.partial"]
    for name in others:
        (tmp_path / name).write_text("half")
    write_text(tmp_path / "a.json", "whole")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*others, "a.json"])
