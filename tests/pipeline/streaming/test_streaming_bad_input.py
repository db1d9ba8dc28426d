"""What can go wrong with a streamed training: one clear line, the store still good, and go on."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.models import huggingface
from pipeline.models.decoder import allocate
from pipeline.models.initialization import initialize
from pipeline.optimizers.update import update
from pipeline.streaming.manifest import Manifest
from tests.pipeline.commands import Stage, assert_one_line, assert_success, contents
from tests.pipeline.conftest import TINY
from tests.pipeline.streaming.processes import KILLED, Launcher
from tests.pipeline.streaming.runs import assert_same_end, give_speed, small

RUN = small(
    "gpt2", "adamw", "train.execution=streaming", "train.precision=bf16", "train.clip_by=update"
)
LONGER = ["train.steps=8", "train.log_every=1"]


@pytest.fixture(scope="module")
def half_done(
    launcher: Launcher, books: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Path]:
    """Results with an unbroken run ``whole`` and a run ``tiny``, killed in mid-run."""
    results = tmp_path_factory.mktemp("half_done") / "results"
    overrides = [*TINY, f"data.paths=[{books}]", f"results={results}", *RUN, *LONGER]
    give_speed(results)
    launcher.finish(*overrides, "run=whole")
    training = launcher.start(*overrides, "run=tiny")
    assert training.until(lambda: "train  3 of 8" in training.out)
    training.send(signal.SIGKILL)
    assert training.wait() == KILLED
    return results, store_of(results)


@pytest.fixture
def results(half_done: tuple[Path, Path], tmp_path: Path, overrides: list[str]) -> Path:
    """A copy of the half done run, which ``stage("train")`` goes on with."""
    shutil.copytree(half_done[0], tmp_path / "results", dirs_exist_ok=True)
    overrides += [*RUN, *LONGER]
    return tmp_path / "results"


def store_of(results: Path, run: str = "tiny") -> Path:
    """The folder of a run's parameter store."""
    (folder,) = results.glob(f"{run}/checkpoints/*/store")
    return folder


def file_of(store: Path, part: str, plane: str) -> Path:
    """The file that holds the newest version of a plane."""
    record = Manifest.load(store).record(part, plane)
    assert record is not None
    return store / record.file


def assert_goes_on(stage: Stage, results: Path) -> None:
    """The same command ends as if nothing had happened."""
    done = stage("train")
    assert_success(done)
    assert "resuming after step" in done.stdout
    assert_same_end(results / "tiny", results / "whole")


def bytes_of(store: Path) -> dict[str, bytes]:
    """All that counts of a store: its manifest and the files that it names."""
    manifest = Manifest.load(store)
    records = [record for planes in manifest.parts.values() for record in planes.values()]
    names = [record.file for record in [*records, *manifest.kept.values()]]
    return {name: (store / name).read_bytes() for name in [*names, "manifest.json"]}


# Files of a store that were damaged


def flip(path: Path, offset: int) -> None:
    content = bytearray(path.read_bytes())
    content[offset] ^= 4
    path.write_bytes(content)


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 2)


DAMAGES: dict[str, Callable[[Path], None]] = {
    "first byte": lambda path: flip(path, 0),
    "middle byte": lambda path: flip(path, path.stat().st_size // 2),
    "last bytes": lambda path: flip(path, -2),
    "truncated": cut,
    "emptied": lambda path: os.truncate(path, 0),
    "missing": Path.unlink,
}


@pytest.mark.parametrize(
    ("part", "plane", "damage"),
    [
        *(("layers.1", "weights", damage) for damage in DAMAGES),
        ("layers.0", "state", "middle byte"),
        ("layers.2", "state", "missing"),
        ("embedding", "weights", "last bytes"),
        ("head", "weights", "truncated"),
    ],
)
def test_a_damaged_plane_is_named_and_not_trained_on(stage, results, part, plane, damage):
    path = file_of(store_of(results), part, plane)
    good = path.read_bytes()
    DAMAGES[damage](path)
    for _ in range(2):  # nor at a second attempt
        assert_one_line(stage("train"), "train", path.name)
    assert not (results / "tiny/model").exists()
    assert file_of(store_of(results), part, plane) == path
    path.write_bytes(good)
    assert_goes_on(stage, results)


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_manifest_is_named(stage, results, damage):
    path = store_of(results) / "manifest.json"
    DAMAGES[damage](path)
    others = contents(store_of(results))
    del others["lock"]  # says which process had it open last
    assert_one_line(stage("train"), "train", "manifest.json")
    assert others.items() <= contents(store_of(results)).items()


def test_what_a_killed_process_left_unfinished_harms_nothing(stage, results):
    store = store_of(results)
    named = bytes_of(store)
    for path in store.iterdir():
        if path.suffix == ".safetensors" and path.name not in named:
            path.write_bytes(os.urandom(100))
    (store / "manifest.json.partial").write_text('{"half')
    assert_goes_on(stage, results)


# A store of another run, or of another process


@pytest.mark.parametrize(
    "other",
    [
        "train.optimizer=adafactor",
        "model.layers=2",
        "train.precision=fp32",
        "train.clip_by=norm",
        "train.seed=5",
    ],
)
def test_a_store_of_another_run(stage, results, other):
    theirs = store_of(results)
    assert_success(stage("train", other, "run=other", "train.keep=store"))
    (results / "other/metrics.json").unlink()  # it would have nothing left to do
    ours = store_of(results, "other")
    shutil.rmtree(ours)
    shutil.copytree(theirs, ours)
    before = bytes_of(ours)
    done = stage("train", other, "run=other", "train.keep=store")
    assert_one_line(done, "train", "other/checkpoints/.*/store", "another|other")
    assert bytes_of(ours) == before == bytes_of(theirs)


def test_a_store_in_use_by_another_process(stage, results, launcher, overrides):
    longest = ["train.steps=100000", "run=busy"]
    running = launcher.start(*overrides, *longest)
    assert running.until(lambda: "train  2 of 100,000" in running.out)
    done = stage("train", *longest)
    assert_one_line(done, "train", "store", "use", str(running.process))
    reached = running.out.count("\n")
    assert running.until(lambda: running.out.count("\n") > reached + 2)
    running.send(signal.SIGTERM)
    assert running.wait() == 128 + signal.SIGTERM, running.error
    assert_goes_on(stage, results)


def committed_step(run: Path) -> int:
    """The step in which a store's journal stands; 0 before the first."""
    stores = list(run.glob("checkpoints/*/store/manifest.json"))
    return int(json.loads(stores[0].read_text())["journal"]["step"]) if stores else 0


def test_a_store_is_free_again_when_its_process_was_killed(stage, results, launcher, overrides):
    longest = ["train.steps=100000", "run=busy"]
    running = launcher.start(*overrides, *longest)
    assert running.until(lambda: committed_step(results / "busy") > 0)
    running.send(signal.SIGKILL)
    assert running.wait() == KILLED
    again = launcher.start(*overrides, *longest)
    assert again.until(lambda: "\ntrain  " in again.out), again.error
    assert "resuming after step" in again.out
    again.send(signal.SIGTERM)
    assert again.wait() == 128 + signal.SIGTERM, again.error


# Disks that fail


@pytest.mark.parametrize(
    ("call", "times"),
    [("preadv", 0), ("preadv", 7), ("pwrite", 0), ("pwrite", 30), ("fdatasync", 7)],
)
def test_an_error_of_the_disk_in_the_middle_of_a_step(stage, results, call, times):
    original, calls = getattr(os, call), iter(range(10**9))

    def failing(*arguments: object) -> object:
        if next(calls) >= times:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return original(*arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, call, failing)
        done = stage("train")
    assert_one_line(done, "train", r"store/\S+: input/output error", "again|mend")
    assert_goes_on(stage, results)


# A memory or a model that will not do


@pytest.mark.parametrize(
    ("memory", "patterns"),
    [
        ("100MiB", [r"device\.memory", r"100|104", "MiB|GiB|MB|GB"]),
        ("8Gigs", [r"device\.memory", "8Gigs", "8GiB"]),
        ("-8GiB", [r"device\.memory", "-8GiB"]),
        ("0GiB", [r"device\.memory", "0"]),
        ("much", [r"device\.memory", "much"]),
        ("900PiB", [r"device\.memory|memory", "900PiB|PiB|GB|GiB"]),
    ],
)
def test_a_memory_that_is_none_or_too_small(stage, results, memory, patterns):
    before = bytes_of(store_of(results))
    done = stage("train", f"device.memory={memory}")
    assert_one_line(done, "train", *patterns)
    assert bytes_of(store_of(results)) == before


def test_a_budget_smaller_than_a_layer_says_what_would_fit(stage, results):
    large = ["model=gptneox_20b", "model.vocabulary=512", "run=large", "device.memory=2GiB"]
    shape = ["layers=44", "hidden=6144", "heads=64", "feed_forward=24576", "rotary_dimensions=24"]
    done = stage("train", *large, *(f"model.{item}" for item in shape))
    assert_one_line(done, "train", r"device\.memory|memory", r"2(\.0+)? ?GiB|2\.1\d* GB", "GiB|GB")
    assert not list(results.glob("large/checkpoints/*/store/*.safetensors"))


@pytest.mark.parametrize("damage", ["missing", "truncated"])
def test_a_shard_of_the_given_weights_is_missing_or_cut(
    stage, results, job, overrides, tmp_path, damage
):
    model = job("train", *RUN).config.model
    decoder = allocate(model)
    initialize(decoder, seed=3)
    directory = tmp_path / "given"
    huggingface.export(decoder, model, directory, shard_bytes=60_000)
    shards = sorted(directory.glob("model-*.safetensors"))
    assert len(shards) > 2
    overrides[:] = [item for item in overrides if not item.startswith("model")]
    given = ["model=hf", f"model.path={directory}", "run=tuned"]
    good = shards[1].read_bytes()
    DAMAGES[damage](shards[1])
    done = stage("train", *given)
    assert_one_line(done, "train", shards[1].name)
    shards[1].write_bytes(good)
    assert_success(stage("train", *given))
    assert (results / "tuned/model/config.json").exists()


# Nothing trains in silence


def replace_everywhere(patch: pytest.MonkeyPatch, function: object, by: object) -> None:
    """Replace a function under every name by which a module of the pipeline knows it."""
    for name, module in list(sys.modules.items()):
        if name.startswith("pipeline"):
            for attribute, value in list(vars(module).items()):
                if value is function:
                    patch.setattr(module, attribute, by)


@pytest.mark.parametrize("execution", ["streaming", "resident"])
@pytest.mark.parametrize("clip_by", ["norm", "update"])
def test_an_optimizer_that_does_nothing_is_found_out(stage, results, clip_by, execution):
    more = [f"train.clip_by={clip_by}", f"train.execution={execution}", "run=silent"]
    with pytest.MonkeyPatch.context() as patch:
        replace_everywhere(patch, update, lambda *arguments: None)
        done = stage("train", *more)
    assert_one_line(done, "train", "step 1", "same|not change|unchanged", "learning_rate")
    assert not (results / "silent/model").exists()
    # What was not learned then is not taken for learned now.
    done = stage("train", *more)
    if done.returncode == 0:
        whole = stage("train", *more[:2], "run=loud")
        assert_success(whole)
        assert_same_end(results / "silent", results / "loud")
    else:
        assert_one_line(done, "train", "step 1")


def test_a_learning_rate_that_changes_nothing_is_found_out(stage):
    tiny = ["train.learning_rate=1e-60", "train.minimum_learning_rate=0", "run=silent"]
    for _ in range(2):
        done = stage("train", *tiny)
        assert_one_line(done, "train", "step 1", "same|not change|unchanged", "learning_rate")
