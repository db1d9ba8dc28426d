"""Places that cannot be written: one clear line, and nothing lost."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest

from tests.pipeline.commands import assert_one_line, assert_success, contents, ended


@pytest.mark.parametrize("name", ["tokenize", "partition", "train", "evaluate", "report"])
def test_results_where_nobody_may_write(stage, name):
    # Not even root may make a folder in /sys.
    more = ["tracking.sweep=smoke"] if name == "report" else []
    done = stage(name, "results=/sys/onewafer", *more)
    problem = "missing; make it" if name == "report" else "no permission .*; change .* or choose"
    assert_one_line(done, name, f"/sys/onewafer.*: {problem}")


def test_results_in_the_place_of_a_file(stage, tmp_path):
    (tmp_path / "file").write_text("mine")
    done = stage("train", f"results={tmp_path / 'file'}")
    assert_one_line(done, "train", r"/file.*: (not a directory|file exists); .*choose another")
    assert (tmp_path / "file").read_text() == "mine"


def without_privileges(command: list[str]) -> list[str]:
    """A command that the mode of a folder binds even if root gives it."""
    if os.geteuid() != 0:
        return command
    if not shutil.which("setpriv"):
        pytest.skip("root needs setpriv, of util-linux, to do without its privileges")
    return ["setpriv", "--bounding-set=-dac_override", *command]


@pytest.mark.parametrize(
    ("name", "more"),
    [
        ("tokenize", []),
        ("train", []),
        ("evaluate", []),
        ("train", ["run=another", "tracking.enabled=true"]),
    ],
)
def test_results_without_permission_to_write(command, finished, name, more):
    before = contents(finished)
    folders = [finished, *(path for path in finished.rglob("*") if path.is_dir())]
    for folder in folders:
        folder.chmod(0o555)
    try:
        done = ended(without_privileges(command(name, *more)))
    finally:
        for folder in folders:
            folder.chmod(0o755)
    assert_one_line(done, name, f"{finished}.*: no permission", "change its owner or mode")
    assert contents(finished) == before


def test_a_read_only_disk(stage, texts, disk):
    results = f"results={disk.folder}"
    assert_success(stage("tokenize", results))
    before = contents(disk.folder)
    subprocess.run(["mount", "-o", "remount,ro", str(disk.folder)], check=True)
    done = stage("tokenize", results)
    assert_one_line(done, "tokenize", f"{disk.folder}.*: no permission .read-only", "or choose")
    assert contents(disk.folder) == before
