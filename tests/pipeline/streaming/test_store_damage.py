"""A store that is damaged, of another run, or in use says so in one line, and hands out nothing."""

from __future__ import annotations

import errno
import json
import os
import re
import subprocess
import sys

import pytest
import torch

from pipeline.errors import DamagedStoreError, StoreError, StoreInUseError
from pipeline.streaming import direct_io
from pipeline.streaming.journal import Identity, Journal
from tests.pipeline.streaming.stores import BOTH, fill, learn, model, open_store, part, values


@pytest.fixture
def folder(tmp_path):
    """A filled store with a kept set."""
    with open_store(tmp_path / "store", model()) as store:
        fill(store)
        store.fetch("head", *BOTH)
        kept = {"boundary": {"0": torch.ones(100)}}
        store.commit("head", BOTH, Journal(1, "backward", "head"), kept)
    return tmp_path / "store"


def file_of(folder, part="layers.1", plane="state"):
    manifest = json.loads((folder / "manifest.json").read_text())
    return folder / manifest["parts"][part][plane]["file"]


def flip(path, position):
    content = bytearray(path.read_bytes())
    content[position] ^= 16
    path.write_bytes(content)


@pytest.mark.parametrize("position", [20, 4096, -1], ids=["header", "first", "last"])
def test_a_flipped_bit_is_named_and_never_handed_out(folder, position):
    path = file_of(folder)
    flip(path, position)
    message = f"{re.escape(str(path))}: layers.1 state of step 0 is damaged: its checksum"
    with open_store(folder, model(), 10**7) as store:
        with pytest.raises(DamagedStoreError, match=message):
            store.fetch("layers.1", *BOTH)
        assert values(store, "layers.1", "weights") == {0.0}
        assert values(store, "layers.2") == {0.0}
        with pytest.raises(DamagedStoreError, match=message):
            store.fetch("layers.1", "state")


def test_damage_found_by_a_prefetch_is_raised(folder):
    flip(file_of(folder), 5000)
    with open_store(folder, model(), 10**7) as store:
        store.prefetch("layers.1", *BOTH)
        with pytest.raises(DamagedStoreError, match=r"layers\.1 state of step 0 is damaged"):
            store.fetch("layers.1", *BOTH)


@pytest.mark.parametrize("change", [-1, 1, 4096, None], ids=["cut", "longer", "page", "missing"])
def test_a_file_of_wrong_length_is_named_when_the_store_opens(folder, change):
    path = file_of(folder)
    length = path.stat().st_size
    if change is None:
        path.unlink()
    else:
        os.truncate(path, length + change)
    found = "is missing" if change is None else f"is {length + change} bytes long"
    message = f"{re.escape(str(path))}: layers.1 state of step 0 {found}, should be {length} bytes"
    with pytest.raises(DamagedStoreError, match=message):
        open_store(folder, model())


@pytest.mark.parametrize("action", ["cut", "remove"])
def test_a_file_damaged_while_the_store_is_open(folder, action):
    with open_store(folder, model()) as store:
        path = file_of(folder)
        os.truncate(path, 5000) if action == "cut" else path.unlink()
        found = "5000 bytes long" if action == "cut" else "the file is missing"
        with pytest.raises(DamagedStoreError, match=f"layers.1 state of step 0 .* {found}"):
            store.fetch("layers.1", *BOTH)


def test_a_file_that_holds_another_part_is_not_taken(folder):
    one, other = file_of(folder, "layers.1"), file_of(folder, "layers.2")
    one.write_bytes(other.read_bytes())
    with open_store(folder, model()) as store, pytest.raises(DamagedStoreError, match="damaged"):
        store.fetch("layers.1", "state")


def test_a_damaged_kept_set_is_named(folder):
    (path,) = folder.glob("kept-boundary-*.safetensors")
    flip(path, -3)
    with open_store(folder, model()) as store:
        with pytest.raises(DamagedStoreError, match=f"{path.name}: boundary kept .* is damaged"):
            store.tensors("boundary")
        path.write_bytes(b"\xff" * 10)
        with pytest.raises(DamagedStoreError, match=f"{path.name}: damaged header"):
            store.tensors("boundary")


def test_a_lost_manifest_is_not_a_new_store(folder):
    (folder / "manifest.json").unlink()
    with pytest.raises(DamagedStoreError, match=r"manifest\.json: missing, although \d+ files"):
        open_store(folder, model())


@pytest.mark.parametrize(
    "damage",
    [lambda text: text[: len(text) // 2], lambda text: text.replace('"step": 1', '"step": 2', 1)],
    ids=["cut", "altered"],
)
def test_a_damaged_manifest_is_named(folder, damage):
    path = folder / "manifest.json"
    path.write_text(damage(path.read_text()))
    with pytest.raises(DamagedStoreError, match=r"manifest\.json: damaged"):
        open_store(folder, model())


def test_a_store_of_another_run_says_of_which(folder):
    other = Identity("ffff", {"model": "nano_1m", "optimizer": "adafactor"})
    message = r"\(model nano_1m, optimizer adamw\): optimizer adamw, this run has adafactor; use"
    with pytest.raises(StoreError, match=message):
        open_store(folder, model(), identity=other)
    with open_store(folder, model()) as store:
        assert store.missing_parts() == []


def test_a_store_of_another_layout_is_refused(folder):
    layouts = {**model(), "layers.1": part("layers.1", 6000)}
    with pytest.raises(StoreError, match=r"layers\.1 weights takes \d+ bytes.*delete the folder"):
        open_store(folder, layouts)


def test_a_store_in_use_names_the_process(folder):
    code = (
        "import sys, pathlib; from pipeline.streaming.lock import FolderLock;"
        "lock = FolderLock(pathlib.Path(sys.argv[1])); print('locked', flush=True); input()"
    )
    command = [sys.executable, "-c", code, str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout.readline() == b"locked\n"
        with pytest.raises(StoreInUseError, match=f"{folder}: in use by process {other.pid};"):
            open_store(folder, model())
        other.kill()
    with open_store(folder, model()) as store:
        assert store.missing_parts() == []


def test_an_error_of_the_disk_names_the_file_and_the_next_read_may_succeed(folder, monkeypatch):
    path = file_of(folder)
    with open_store(folder, model()) as store:
        with monkeypatch.context() as patch:
            patch.setattr(direct_io.os, "preadv", failing)
            with pytest.raises(OSError, match=f"Input/output error: '{path}'"):
                store.fetch("layers.1", "state")
        assert values(store, "layers.1") == {0.0}


def test_after_a_failed_write_nothing_is_committed(folder, monkeypatch):
    store = open_store(folder, model(), 10**7)
    learn(store, "layers.0", 2)
    store.wait()
    with monkeypatch.context() as patch:
        patch.setattr(direct_io.os, "pwrite", failing)
        learn(store, "layers.1", 2)
        with pytest.raises(OSError, match=r"Input/output error: '.*\.slot\.safetensors'"):
            store.wait()
    for call in (store.wait, store.missing_parts, lambda: store.fetch("layers.2", *BOTH)):
        with pytest.raises(OSError, match="Input/output error"):
            call()
    store.close()
    with open_store(folder, model()) as store:
        assert store.journal == Journal(2, "backward", "layers.0")
        assert values(store, "layers.0") == {2.0}
        assert values(store, "layers.1") == {0.0}


def test_a_failure_that_nobody_was_told_of_is_raised_by_close(folder, monkeypatch):
    store = open_store(folder, model(), 10**7)
    with monkeypatch.context() as patch:
        patch.setattr(direct_io.os, "pwrite", failing)
        learn(store, "layers.1", 2)
        with pytest.raises(OSError, match="Input/output error"):
            store.close()
    open_store(folder, model()).close()


def failing(*arguments):
    raise OSError(errno.EIO, os.strerror(errno.EIO))
