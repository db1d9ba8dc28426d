"""A store after its process was killed, or its disk ran full: one whole version of everything."""

from __future__ import annotations

import errno
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from pipeline.errors import StoreError
from pipeline.streaming.journal import Journal
from pipeline.streaming.slots import store_disk_bytes
from tests.pipeline.streaming.stores import (
    BOTH,
    fill,
    learn,
    model,
    open_store,
    values,
)
from tests.pipeline.streaming.stores_nursery import layouts, open_it

REPOSITORY = Path(__file__).parents[3]
RANDOM_KILLS = 25
LONGEST_LIFE_SECONDS = 0.12


class Nursery:
    """Children that commit to the store of a folder."""

    def __init__(self, folder: Path) -> None:
        module = "tests.pipeline.streaming.stores_nursery"
        self.process = subprocess.Popen(
            [sys.executable, "-m", module, str(folder)],
            cwd=REPOSITORY,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.answer() == "ready"

    def answer(self) -> str:
        return self.process.stdout.readline().strip()

    def child(self, kill_at: int = 0) -> str:
        """Start a child; its process id, or "ended" if it died before its store was open."""
        self.process.stdin.write(f"{kill_at}\n")
        self.process.stdin.flush()
        return self.answer()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def nursery(folder: Path) -> Iterator[Nursery]:
    nursery = Nursery(folder)
    yield nursery
    nursery.process.stdin.close()
    nursery.process.wait()


def assert_one_version(folder: Path) -> int:
    """All that is in the store is what one sequence of commits left; how many there were."""
    names = list(layouts())
    with open_it(folder) as store:
        journal = store.journal
        if journal.reached is None:
            assert store.missing_parts() == names
            return 0
        reached = names.index(journal.reached)
        done = journal.step * len(names) + reached + 1
        assert store.missing_parts() == names[done:]
        for number, name in enumerate(names[:done]):
            assert values(store, name) == {journal.step - (number > reached)}
        assert store.tensors("boundary")["0"].unique().tolist() == [done - 1]
        return done


def test_killed_at_random_instants(folder, nursery):
    instants = random.Random(0)
    commits = [0]
    # On a machine with other work the children may be killed before they come to commit.
    for kill in range(10 * RANDOM_KILLS):
        if kill >= RANDOM_KILLS and commits[-1] > RANDOM_KILLS / 2:
            break
        child = int(nursery.child())
        time.sleep(instants.uniform(0, LONGEST_LIFE_SECONDS))
        os.kill(child, signal.SIGKILL)
        assert nursery.answer() == "ended"
        commits.append(assert_one_version(folder))
    assert commits == sorted(commits)
    assert commits[-1] > RANDOM_KILLS / 2, "the children never got to commit"


def test_killed_before_every_single_change_of_the_disk(folder, nursery):
    """From making the store to some commits after it."""
    done = 0
    for kill_at in range(1, 200):
        if folder.exists() and done == 0:
            shutil.rmtree(folder)
        if nursery.child(kill_at) != "ended":
            assert nursery.answer() == "ended"
        before, done = done, assert_one_version(folder)
        assert done >= before
        if done > 2 * len(layouts()):
            return
    pytest.fail(f"only {done} commits")


def test_an_interrupted_filling_goes_on(folder):
    with open_store(folder, model()) as store:
        assert store.missing_parts() == list(model())
        for name in ("embedding", "layers.0"):
            for tensor in store.blank(name, *BOTH).values():
                tensor.fill_(5)
            store.commit(name, BOTH, Journal(0, "fill", name))
        store.blank("layers.1", *BOTH)
    with open_store(folder, model()) as store:
        assert store.journal == Journal(0, "fill", "layers.0")
        assert store.missing_parts() == ["layers.1", "layers.2", "layers.3", "head"]
        with pytest.raises(KeyError, match=r"layers\.1 weights was never committed"):
            store.fetch("layers.1", *BOTH)
        fill(store, 6)
        assert store.missing_parts() == []
        found = [values(store, name) for name in model()]
    assert found == [{5.0}, {5.0}, {6.0}, {6.0}, {6.0}, {6.0}]


def test_a_gradient_half_written_is_no_damage(folder):
    layouts = model(gradient=True)
    with open_store(folder, layouts) as store:
        fill(store)
        store.blank("layers.1", "gradient")
        store.commit("layers.1", ("gradient",), Journal(1, "backward", "layers.1"))
    for path in folder.glob("gradient-*"):
        os.truncate(path, path.stat().st_size + 100)
    with open_store(folder, layouts) as store:
        assert values(store, "layers.1") == {0.0}
        assert values(store, "layers.1", "gradient") == {0.0}


def test_a_disk_too_small_is_refused_and_left_as_it_was(disk):
    layouts = model(elements=300_000)
    assert store_disk_bytes(layouts) > 8 * 2**20
    with pytest.raises(StoreError, match=r"needs 0\.0\d\d GB more of disk, and 0\.008 GB are free"):
        open_store(disk.folder / "store", layouts)
    assert list(disk.folder.iterdir()) == []


def test_a_disk_that_fills_up_keeps_what_was_committed(disk):
    layouts, folder = model(elements=60_000), disk.folder / "store"
    with open_store(folder, layouts, 10**7) as store:
        fill(store)
        learn(store, "layers.0", 1)
    disk.fill(0)
    store = open_store(folder, layouts, 10**7)
    store.fetch("layers.1", *BOTH)
    kept = {"boundary": {"0": torch.ones(1000)}}
    store.commit("layers.1", BOTH, Journal(1, "backward", "layers.1"), kept)
    with pytest.raises(OSError, match=f"'{folder}/kept-boundary-0.safetensors'") as raised:
        store.wait()
    assert raised.value.errno == errno.ENOSPC
    store.close()
    disk.free()
    with open_store(folder, layouts) as store:
        assert store.journal == Journal(1, "backward", "layers.0")
        assert values(store, "layers.1") == {0.0}
        learn(store, "layers.1", 1)
        store.wait()
        assert values(store, "layers.1") == {1.0}
