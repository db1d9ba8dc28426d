"""What can go wrong, as a user meets it on the command line: one clear line, and nothing lost."""

from __future__ import annotations

import os
import re
import runpy
import shutil
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from pipeline.corpus.shards import TokenSplit
from pipeline.tracking import prepare

REPOSITORY = Path(__file__).parents[2]
# Threads that wait for each other are slow on cores that something else uses too.
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1"}
BLOCK_BYTES = 4096  # of a small disk
CHECKPOINT_BYTES = 620_000  # of the tiny run, a little more than its two files

Done = subprocess.CompletedProcess[str]
Stage = Callable[..., Done]


@pytest.fixture
def stage(
    overrides: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> Iterator[Stage]:
    """Runs a stage's command line in this process, which has the libraries loaded already."""
    folder = tmp_path / "working_directory"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")  # the command line sets it; this restores it
    torch.set_num_threads(1)

    def run(name: str, *more: str) -> Done:
        monkeypatch.setattr(sys, "argv", [f"pipeline.{name}", *overrides, *more])
        capfd.readouterr()
        code: object = 0
        try:
            with warnings.catch_warnings(action="ignore", category=RuntimeWarning):
                runpy.run_module(f"pipeline.{name}", run_name="__main__")
        except SystemExit as leaving:
            code = leaving.code
        assert isinstance(code, int)
        return Done([], code, *capfd.readouterr())

    yield run
    assert list(folder.iterdir()) == [], "left in the working directory"


@pytest.fixture
def command(overrides: list[str]) -> Callable[..., list[str]]:
    """The command of a process that runs a stage."""
    return lambda name, *more: [sys.executable, "-m", f"pipeline.{name}", *overrides, *more]


def ended(command: list[str]) -> Done:
    """Run a process to its end: what Python says when it leaves counts too."""
    return subprocess.run(
        command, cwd=REPOSITORY, env=ENVIRONMENT, capture_output=True, text=True, timeout=120
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


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """Where the tiny run's results will lie."""
    return tmp_path / "results"


@pytest.fixture
def finished(stage: Stage, results: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The results of the tiny run, tokenized, trained and evaluated."""
    made = tmp_path_factory.getbasetemp() / "finished_tiny_run"
    if not made.exists():
        for name in ("tokenize", "train", "evaluate"):
            assert_success(stage(name))
        shutil.copytree(results, made)
    elif not results.exists():
        shutil.copytree(made, results)
    return results


@pytest.fixture
def texts(books: Path, tmp_path: Path, overrides: list[str]) -> Path:
    """A folder of texts of the tiny run's own, to be damaged."""
    folder = tmp_path / "texts"
    shutil.copytree(books, folder)
    overrides.append(f"data.paths=[{folder}]")
    return folder


# Text and configuration


def empty(folder: Path) -> None:
    for path in folder.iterdir():
        path.write_text("")


def remove_files(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()


def write_latin_1(folder: Path) -> None:
    (folder / "old.txt").write_bytes("déjà vu".encode("latin-1"))


@pytest.mark.parametrize(
    ("damage", "patterns"),
    [
        (shutil.rmtree, [r"data\.paths: no file matches .*texts; give files"]),
        (remove_files, [r"data\.paths: directory .*texts holds no file; give files"]),
        (empty, ["data: there is no text to train a tokenizer on; add text"]),
        (write_latin_1, [r"old\.txt: byte 1 \(0xe9\) is not UTF-8; convert the file"]),
    ],
)
def test_text_that_is_missing_empty_or_not_text(stage, texts, results, damage, patterns):
    assert_success(stage("tokenize"))
    before = contents(results)
    damage(texts)
    assert_one_line(stage("tokenize"), "tokenize", *patterns)
    assert contents(results) == before


@pytest.mark.parametrize(
    ("name", "more", "patterns"),
    [
        ("tokenize", ["tokenizer=file", "tokenizer.path=gone"], [r"tokenizer\.path: gone", "give"]),
        ("evaluate", [], [r"tiny/metrics\.json: no such file", "train it with python -m"]),
        ("train", ["train.lerning_rate=1"], [r"train\.lerning_rate: no such key; did you mean"]),
        ("evaluate", ["model=nano_2m"], ["model/nano_2m: no such choice; model is one of"]),
        ("train", ["train.steps=many"], [r"train\.steps=many: value 'many'.* Integer"]),
    ],
)
def test_what_is_missing_or_unknown_is_named(stage, name, more, patterns):
    assert_one_line(stage(name, *more), name, *patterns)


def test_a_frozen_slice_that_is_missing(stage, overrides):
    overrides.clear()
    done = stage("train", "--frozen", "gone/train.yaml")
    assert_one_line(done, "train", r"gone/train\.yaml: no such file; snakemake writes it")


def test_a_model_directory_that_is_missing(stage, overrides):
    overrides[:] = [override for override in overrides if not override.startswith("model")]
    done = stage("train", "model=hf", "model.path=gone")
    assert_one_line(done, "train", r"gone/config\.json: no such file; give a local model directory")


def test_a_corpus_shorter_than_one_sequence(stage, finished):
    before = contents(finished)
    short = ["data.max_bytes=5000", "data.validation_fraction=0.5", "train.sequence_length=500"]
    done = stage("train", *short, "run=other")
    assert_one_line(done, "train", r"train\.sequence_length: a sequence takes 501 tokens", "add")
    assert before.items() <= contents(finished).items()


def test_a_tokenizer_with_more_tokens_than_the_model(stage, finished):
    before = contents(finished)
    done = stage("train", "model.vocabulary=300", "run=other")
    assert_one_line(done, "train", r"model\.vocabulary: 300 is smaller than .* choose a model")
    assert contents(finished) == before


# Files that were damaged


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-2])


def alter(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def rename_key(path: Path) -> None:
    path.write_text(path.read_text().replace("inputs_sha256", "inputs_sha255"))


@pytest.mark.parametrize(
    ("name", "file", "damage", "pattern"),
    [
        ("train", "train-00000.bin", truncate, r"has \d+ bytes instead of \d+"),
        ("train", "train-00000.bin", alter, "was altered: .*"),
        ("evaluate", "validation-00000.bin", alter, "was altered: .*"),
        ("evaluate", "validation-00000.bin", Path.unlink, "is missing"),
        ("train", "tokenizer.json", alter, "was altered: .*"),
        ("evaluate", "tokenizer.json", alter, "was altered: .*"),
        ("evaluate", "manifest.json", truncate, "cannot be read, truncated or altered .*"),
        ("train", "manifest.json", rename_key, "lacks inputs_sha256"),
    ],
)
def test_a_damaged_corpus_is_named_and_made_anew(stage, finished, name, file, damage, pattern):
    before = contents(finished / "tiny")
    corpus = corpus_of(finished)
    damage(corpus / file)
    remedy = f"delete the folder {corpus} and tokenize again"
    assert_one_line(stage(name), name, f"{file}: {pattern}; {remedy}")
    assert contents(finished / "tiny") == before
    shutil.rmtree(corpus)
    done = stage("train")
    assert_success(done)
    assert "resuming after step 12 of 12" in done.stdout
    assert_success(stage("evaluate"))


@pytest.mark.parametrize(
    ("name", "file", "damage", "pattern"),
    [
        ("evaluate", "metrics.json", truncate, "truncated or altered .*; delete it"),
        ("train", "metrics.json", truncate, "truncated or altered .*; delete it"),
        ("evaluate", "model/tokenizer.json", truncate, "truncated or altered .*; give the command"),
        ("evaluate", "model/model.safetensors", truncate, "cannot be read .*; make it anew"),
        ("evaluate", "model/config.json", Path.unlink, "no such file; give"),
    ],
)
def test_a_damaged_result_is_named_and_made_anew(stage, finished, name, file, damage, pattern):
    model = contents(finished / "tiny/model")
    path = finished / "tiny" / file
    damage(path)
    assert_one_line(stage(name), name, f"{path}: .*{pattern}")
    if "delete it" in pattern:
        path.unlink()
    done = stage("train")
    assert_success(done)
    assert "resuming after step 12 of 12" in done.stdout
    assert_success(stage("evaluate"))
    assert contents(finished / "tiny/model") == model


def test_a_checkpoint_of_another_configuration(stage, finished):
    (ours,) = finished.glob("tiny/checkpoints/*")
    other = ["train.seed=7", "run=other"]
    assert_success(stage("train", *other))
    (theirs,) = finished.glob("other/checkpoints/*")
    shutil.copytree(ours, theirs, dirs_exist_ok=True)
    before = contents(finished)
    done = stage("train", *other)
    assert_one_line(done, "train", "step-00000012: checkpoint of another config.*; move it away")
    assert contents(finished) == before


@pytest.mark.parametrize("name", ["train", "evaluate"])
def test_the_results_of_another_configuration(stage, finished, name):
    before = contents(finished)
    done = stage(name, "train.seed=7")
    assert_one_line(done, name, "tiny.*of another configuration", "run=NAME|train it with")
    assert contents(finished) == before


# Places that cannot be written


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


# Disks that are full


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


def test_a_read_only_disk(stage, texts, disk):
    results = f"results={disk.folder}"
    assert_success(stage("tokenize", results))
    before = contents(disk.folder)
    subprocess.run(["mount", "-o", "remount,ro", str(disk.folder)], check=True)
    done = stage("tokenize", results)
    assert_one_line(done, "tokenize", f"{disk.folder}.*: no permission .read-only", "or choose")
    assert contents(disk.folder) == before


FULL = "no space left to write; what was finished is kept: free some space and give the same"


@pytest.mark.parametrize(
    ("blocks", "file"), [(0, r"tokenizer\.json"), (4, r"(train|validation)-00000\.bin")]
)
def test_a_full_disk_while_tokenizing(command, stage, texts, disk, blocks, file):
    results = f"results={disk.folder}"
    assert_success(stage("tokenize", results))
    before = contents(disk.folder / "corpus")
    (texts / "new.txt").write_text("quite another text " * 500)
    disk.fill(blocks * BLOCK_BYTES)
    assert_one_line(ended(command("tokenize", results)), "tokenize", f"{file}: ", FULL)
    assert contents(disk.folder / "corpus") == before
    disk.free()
    assert_success(stage("tokenize", results))
    split = TokenSplit.open(corpus_of(disk.folder), "train")
    assert split.bytes > 0
    assert contents(disk.folder / "corpus") != before


def test_a_full_disk_at_a_checkpoint(command, stage, disk):
    results = f"results={disk.folder}"
    assert_success(stage("tokenize", results))
    disk.fill(int(2.5 * CHECKPOINT_BYTES))
    done = ended(command("train", results))
    assert_one_line(done, "train", r"step-00000012\.partial/state\.safetensors: ", FULL)
    assert checkpoints_of(disk.folder) == ["step-00000004", "step-00000008"]
    disk.free()
    done = stage("train", results)
    assert_success(done)
    assert "resuming after step 8 of 12" in done.stdout
    assert checkpoints_of(disk.folder) == ["step-00000008", "step-00000012"]


def test_a_full_disk_in_the_history(command, stage, disk):
    results = f"results={disk.folder}"
    assert_success(stage("tokenize", results))
    # The slice takes one block; the history is written at the first checkpoint.
    disk.fill(BLOCK_BYTES)
    done = ended(command("train", results))
    assert_one_line(done, "train", r"history\.jsonl: ", FULL)
    disk.free()
    assert_success(stage("train", results))


def test_a_full_disk_while_the_model_is_written(command, stage, disk):
    results, once = f"results={disk.folder}", "train.checkpoint_every=12"
    assert_success(stage("tokenize", results))
    disk.fill(CHECKPOINT_BYTES + 100_000)
    done = ended(command("train", results, once))
    assert_one_line(done, "train", r"model\.safetensors: ", FULL)
    assert checkpoints_of(disk.folder) == ["step-00000012"]
    assert not list(disk.folder.glob("tiny/*model*"))
    disk.free()
    done = stage("train", results, once)
    assert_success(done)
    assert "resuming after step 12 of 12" in done.stdout
    before = contents(disk.folder / "tiny/model")
    assert "model.safetensors" in before
    disk.fill(100_000)
    done = ended(command("train", results, once))
    assert_one_line(done, "train", r"model\.safetensors: ", FULL)
    assert contents(disk.folder / "tiny/model") == before


@pytest.mark.slow
def test_a_full_disk_while_the_database_is_made(command, stage, disk):
    results, tracked = f"results={disk.folder}", "tracking.enabled=true"
    assert_success(stage("tokenize", results))
    disk.fill(300_000)
    done = ended(command("train", results, tracked))
    assert_one_line(
        done, "train", r"mlflow\.db: cannot log to MLflow \(.*full\)", "tracking.enabled"
    )
    assert not (disk.folder / "mlflow.db").exists()
    disk.free()
    assert_success(stage("train", results, tracked))


@pytest.mark.slow
def test_a_full_disk_below_the_database_does_not_stop_a_training(command, stage, results, disk):
    assert_success(stage("tokenize"))
    prepare(disk.folder)
    (results / "mlflow.db").symlink_to(disk.folder / "mlflow.db")
    more = ["tracking.enabled=true", "train.steps=300", "train.log_every=1"]
    running = started(command("train", *more), "train  2 ")
    disk.fill(0)
    _, error = running.communicate(timeout=60)
    assert running.returncode == 0, error
    assert all(line.startswith("MLflow: ") for line in error.splitlines()), error
    assert "full); training goes on" in error
    assert (results / "tiny/model/model.safetensors").exists()


# Processes that are killed


def kill(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=30)


def test_a_tokenization_that_is_killed(command, stage, texts, results):
    assert_success(stage("tokenize"))
    before = contents(results)
    for number in range(20):
        (texts / f"large{number}.txt").write_text(f"{number} some more words " * 20_000)
    process = started(command("tokenize"), "training a tokenizer")
    corpus = corpus_of(results)
    while not list(corpus.glob(".partial/*.bin")):
        assert process.poll() is None
        time.sleep(0.001)
    kill(process)
    assert before.items() <= contents(results).items()
    assert_success(stage("tokenize"))
    assert TokenSplit.open(corpus, "train").bytes > 4_000_000
    assert not list(corpus.glob(".partial"))


@pytest.mark.slow
def test_a_training_that_is_killed_twice(command, stage, results):
    assert_success(stage("tokenize"))
    more = ["train.steps=400", "train.checkpoint_every=100", "train.log_every=1"]
    kill(started(command("train", *more), "train  210 "))
    assert checkpoints_of(results) == ["step-00000100", "step-00000200"]
    # Killed again before the next checkpoint: the record of the steps before stays whole.
    kill(started(command("train", *more), "train  202 "))
    done = stage("train", *more)
    assert_success(done)
    assert "resuming after step 200 of 400" in done.stdout
    whole = stage("train", *more, "run=whole")
    assert_success(whole)
    ours, theirs = (
        load_file(results / run / "model/model.safetensors") for run in ("tiny", "whole")
    )
    assert all(torch.equal(ours[key], tensor) for key, tensor in theirs.items())
    lines = (results / "tiny/history.jsonl").read_text().splitlines()
    assert sum('"loss"' in line for line in lines) == 400
