"""What a user can do wrong, met on the command line: one clear line, and nothing lost."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pipeline.cli import job_by_hand
from pipeline.config import compose
from pipeline.corpus.shards import TokenSplit
from pipeline.tokenize import run as tokenize

REPOSITORY = Path(__file__).parents[2]
Done = subprocess.CompletedProcess[str]


def command(stage: str, *arguments: str) -> list[str]:
    return [sys.executable, "-m", f"pipeline.{stage}", *arguments]


def stage(name: str, *arguments: str) -> Done:
    return subprocess.run(
        command(name, *arguments),
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def assert_one_line(done: Done, name: str, *patterns: str) -> None:
    """The stage failed with one line on its standard error that holds all ``patterns``."""
    assert done.returncode not in (0, -signal.SIGKILL), done.stdout
    assert "Traceback" not in done.stdout + done.stderr
    lines = done.stderr.splitlines()
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith(f"onewafer {name}: ")
    for pattern in patterns:
        assert re.search(pattern, lines[0]), lines[0]


@pytest.fixture
def results(tmp_path: Path) -> Path:
    return tmp_path / "results"


@pytest.fixture
def corpus(overrides: list[str], results: Path) -> Path:
    """The folder of the tiny run's tokens, made."""
    tokens = job_by_hand(compose(overrides), "tokenize")
    tokenize(tokens)
    return tokens.corpus_directory(tokens.run)


def test_a_missing_path(overrides):
    done = stage("tokenize", *overrides, "data.paths=[nowhere/*.txt]")
    assert_one_line(done, "tokenize", r"data\.paths: no file matches nowhere/\*\.txt; give files")


@pytest.mark.parametrize("files", [0, 3])
def test_an_empty_corpus(overrides, tmp_path, files):
    folder = tmp_path / "empty"
    folder.mkdir()
    for number in range(files):
        (folder / f"{number}.txt").touch()
    done = stage("tokenize", *overrides, f"data.paths=[{folder}]")
    assert_one_line(done, "tokenize", "data", "no text.*add text" if files else "holds no")


def test_bytes_that_are_not_utf8(overrides, tmp_path):
    path = tmp_path / "latin.txt"
    path.write_bytes("déjà vu ".encode("latin-1") * 20)
    done = stage("tokenize", *overrides, f"data.paths=[{path}]")
    assert_one_line(done, "tokenize", r"latin\.txt", "UTF-8", "byte 1")


def test_a_corpus_shorter_than_one_sequence(overrides, tmp_path):
    folder = tmp_path / "short"
    folder.mkdir()
    for number in range(20):
        (folder / f"{number}.txt").write_text(f"{number} words")
    done = stage("train", *overrides, f"data.paths=[{folder}]", "train.sequence_length=500")
    assert_one_line(
        done, "train", r"train\.sequence_length: a sequence takes 501 tokens", "add text"
    )


def test_a_tokenizer_too_large_for_the_model(overrides, corpus):
    done = stage("train", *overrides, "model.vocabulary=300")
    assert_one_line(done, "train", r"model\.vocabulary: 300 is smaller", "choose a model")


def test_an_unknown_key(overrides):
    done = stage("train", *overrides, "train.momentum=1")
    assert_one_line(done, "train", r"train\.momentum: no such key")


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-2])


def alter(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("train-00000.bin", truncate),
        ("train-00000.bin", alter),
        ("train-00000.bin", Path.unlink),
        ("tokenizer.json", alter),
        ("manifest.json", truncate),
    ],
)
def test_a_damaged_corpus_is_named_with_its_remedy(
    overrides, corpus, name: str, damage: Callable[[Path], None]
):
    damage(corpus / name)
    done = stage("train", *overrides)
    assert_one_line(done, "train", name, "delete|remove", "pipeline.tokenize|snakemake")


def test_a_checkpoint_of_another_config(overrides, corpus, results):
    assert stage("train", *overrides).returncode == 0
    (mine,) = (results / "tiny/checkpoints").iterdir()
    kept = {p.name for p in mine.iterdir()}
    newest = max(mine.glob("step-*"))
    meta = json.loads((newest / "checkpoint.json").read_text())
    (newest / "checkpoint.json").write_text(json.dumps(meta | {"run_hash": "0" * 64}))
    done = stage("train", *overrides)
    assert_one_line(done, "train", "checkpoint of another configuration", "move it away")
    assert {p.name for p in mine.iterdir()} == kept
    assert (results / "tiny/model/config.json").exists()


@pytest.mark.parametrize("name", ["tokenize", "partition", "train"])
def test_no_write_permission(overrides, name):
    # Nobody may make a folder there, not even root.
    place = "/sys/onewafer"
    done = stage(name, *[o for o in overrides if not o.startswith("results=")], f"results={place}")
    assert_one_line(done, name, place, "no permission|cannot write", "another folder|choose")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[int], Path]]:
    """Makes file systems of so many bytes; skips where this user may not."""
    mounted: list[Path] = []

    def make(size_bytes: int) -> Path:
        folder = tmp_path / f"disk{len(mounted)}"
        folder.mkdir()
        mount = ["mount", "-t", "tmpfs", "-o", f"size={size_bytes}", "tmpfs", str(folder)]
        if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
            pytest.skip("this user may not mount a small file system")
        mounted.append(folder)
        return folder

    yield make
    for folder in mounted:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def on_disk(overrides: list[str], disk: Path) -> list[str]:
    return [*(o for o in overrides if not o.startswith("results=")), f"results={disk}/results"]


def test_a_full_disk_while_tokenizing(overrides, small_disk):
    disk = small_disk(32 * 1024)
    done = stage("tokenize", *on_disk(overrides, disk))
    assert_one_line(done, "tokenize", "no space left to write", str(disk), "free some space")
    assert not list(disk.rglob("manifest.json"))
    subprocess.run(["mount", "-o", "remount,size=16m", str(disk)], check=True)
    assert stage("tokenize", *on_disk(overrides, disk)).returncode == 0


def test_a_full_disk_while_training_keeps_the_last_checkpoint(overrides, small_disk):
    disk = small_disk(16 * 1024 * 1024)
    arguments = [*on_disk(overrides, disk), "train.steps=40", "train.checkpoint_every=10"]
    assert stage("train", *arguments, "train.steps=10", "run=whole").returncode == 0
    held = sum(p.stat().st_blocks * 512 for p in disk.rglob("*") if p.is_file())
    (folder,) = (disk / "results/whole/checkpoints").iterdir()
    checkpoint = sum(p.stat().st_blocks * 512 for p in folder.rglob("*") if p.is_file())
    # Room for one more checkpoint, and not for two.
    size = held + int(1.6 * checkpoint)
    subprocess.run(["mount", "-o", f"remount,size={size}", str(disk)], check=True)
    done = stage("train", *arguments)
    assert_one_line(done, "train", "no space left to write", str(disk), "goes on|same command")
    subprocess.run(["mount", "-o", "remount,size=64m", str(disk)], check=True)
    again = stage("train", *arguments)
    assert again.returncode == 0, again.stderr
    assert "resuming after step" in again.stdout
    assert (disk / "results/whole/model/model.safetensors").exists()


def test_a_full_disk_while_the_model_is_written(overrides, small_disk):
    disk = small_disk(16 * 1024 * 1024)
    arguments = [*on_disk(overrides, disk), "train.checkpoint_every=12"]
    assert stage("train", *arguments).returncode == 0
    model = disk / "results/tiny/model/model.safetensors"
    before = model.read_bytes()
    used = sum(p.stat().st_blocks * 512 for p in disk.rglob("*") if p.is_file())
    subprocess.run(["mount", "-o", f"remount,size={used + 12 * 4096}", str(disk)], check=True)
    done = stage("train", *arguments)
    assert_one_line(done, "train", "no space left to write", str(disk))
    assert model.read_bytes() == before


@pytest.mark.parametrize("name", ["tokenize", "train"])
def test_a_killed_process_loses_nothing_finished(overrides, results, name):
    arguments = [*overrides, "train.steps=2000", "train.checkpoint_every=50", "train.log_every=1"]
    if name == "train":
        assert stage("tokenize", *overrides).returncode == 0
    process = subprocess.Popen(
        command(name, *arguments), cwd=REPOSITORY, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    awaited = "training a tokenizer" if name == "tokenize" else "train  60 "
    for line in process.stdout:
        if line.startswith(awaited):
            break
    os.kill(process.pid, signal.SIGKILL)
    process.communicate(timeout=30)
    done = stage(name, *overrides[:-1], *arguments[len(overrides) :], "run=tiny")
    assert done.returncode == 0, done.stderr
    if name == "train":
        assert "resuming after step 50 of 2000" in done.stdout
    (corpus,) = (results / "corpus").iterdir()
    assert TokenSplit.open(corpus, "train").tokens > 0


def test_the_first_word_after_a_typo_comes_quickly(overrides):
    started = time.monotonic()
    stage("partition", *overrides, "modle=nano_1m")
    assert time.monotonic() - started < 30
