"""The files of a store: what other tools see, and what lies on the disk."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors import safe_open

from pipeline.streaming import direct_io
from pipeline.streaming.journal import Journal
from pipeline.streaming.slots import store_disk_bytes
from tests.pipeline.streaming.stores import BOTH, fill, learn, model, open_store, values

DATA_ALIGNMENT = 4096


def records(folder):
    manifest = json.loads((folder / "manifest.json").read_text())
    for part, planes in manifest["parts"].items():
        for plane, record in planes.items():
            yield part, plane, folder / record["file"]


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "store"


def test_planes_are_safetensors_files(folder):
    layouts = model(layers=12)
    with open_store(folder, layouts) as store:
        fill(store)
        learn(store, "layers.3", 1)
        learn(store, "layers.11", 2)
    steps = {"layers.3": "1", "layers.11": "2"}
    for part, plane, path in records(folder):
        with safe_open(path, framework="pt") as file:
            step = steps.get(part, "0")
            assert file.metadata() == {"format": "pt", "part": part, "plane": plane, "step": step}
            specs = {spec.name: spec for spec in layouts[part].planes[plane]}
            assert set(file.keys()) == set(specs)
            for name, spec in specs.items():
                tensor = file.get_tensor(name)
                assert (tensor.dtype, tuple(tensor.shape)) == (spec.dtype, spec.shape)
                assert tensor.float().unique().tolist() == [float(step)]
        header_bytes = int.from_bytes(path.read_bytes()[:8], "little")
        assert (header_bytes + 8) % DATA_ALIGNMENT == 0


def test_the_disk_is_reserved_at_the_start(folder):
    layouts = model(elements=30_000, gradient=True)
    with open_store(folder, layouts) as store:
        slots = sum(path.stat().st_blocks * 512 for path in folder.glob("*.slot.safetensors"))
        assert slots == store_disk_bytes(layouts)
        before = store.disk_bytes()
        fill(store)
        for name in layouts:
            learn(store, name, 1)
            store.blank(name, "gradient")
            store.commit(name, ("gradient",), Journal(1, "backward", name))
        store.wait()
        assert store.disk_bytes() - before < 2 * DATA_ALIGNMENT  # the manifest


def test_equal_layers_share_one_spare_and_gradients_have_none(folder):
    layouts = model(layers=12, elements=30_000, gradient=True)
    total = store_disk_bytes(layouts)
    planes = sum(layout.nbytes(plane) for layout in layouts.values() for plane in layout.planes)
    spares = sum(layouts[p].nbytes(of) for p in ("embedding", "layers.0", "head") for of in BOTH)
    files = 3 * (12 + 2) + 6
    assert planes + spares < total < planes + spares + files * 2 * DATA_ALIGNMENT


def test_kept_sets_and_spills_have_their_disk_reserved(folder):
    with open_store(folder, model(), 10**7) as store:
        before = store.disk_bytes()
        store.reserve({"boundary": 40_000}, {"layers.0": 40_000})
        reserved = store.disk_bytes()
        assert reserved - before >= 3 * 40_000
        fill(store)
        for step in (1, 2, 3):
            kept = {"boundary": {"0": torch.full((10_000,), float(step))}}
            store.fetch("head", *BOTH)
            store.commit("head", BOTH, Journal(step, "backward", "head"), kept)
            store.spill("layers.0", torch.full((10_000,), float(step)))
        assert store.unspill("layers.0").unique().tolist() == [3.0]
        assert store.tensors("boundary")["0"].unique().tolist() == [3.0]
        assert store.disk_bytes() - reserved <= 4 * DATA_ALIGNMENT


def test_kept_sets_stay_until_replaced_or_dropped(folder):
    with open_store(folder, model()) as store:
        fill(store)

        def commit(step, **kept):
            store.fetch("head", *BOTH)
            store.commit("head", BOTH, Journal(step, "backward", "head", {"s": step}), kept)

        commit(1, boundary={"0": torch.ones(2, 3)}, carried={"a": torch.zeros(3).bfloat16()})
        commit(2, boundary={"0": torch.ones(4), "1": torch.tensor(7)})
    with open_store(folder, model()) as store:
        assert store.journal == Journal(2, "backward", "head", {"s": 2})
        assert store.tensors("carried")["a"].dtype is torch.bfloat16
        assert {k: t.tolist() for k, t in store.tensors("boundary").items()} == {
            "0": [1.0] * 4,
            "1": 7,
        }
        fetched = store.fetch("head", *BOTH)
        assert fetched
        store.commit("head", BOTH, Journal(3, "backward", "head"), {"carried": None})
        with pytest.raises(KeyError):
            store.tensors("carried")


def test_a_file_system_without_direct_access_holds_the_same(folder, tmp_path, monkeypatch):
    with open_store(folder, model()) as store:
        fill(store, 3.0)
    monkeypatch.setattr(direct_io, "accepts_direct", lambda path: False)
    with open_store(tmp_path / "buffered", model()) as store:
        fill(store, 3.0)
        assert values(store, "layers.0") == {3.0}
    for path in folder.glob("*.slot.safetensors"):
        assert path.read_bytes() == (tmp_path / "buffered" / path.name).read_bytes()
    with open_store(folder, model()) as store:
        assert values(store, "head") == {3.0}


def test_a_removed_store_leaves_nothing(folder):
    store = open_store(folder, model())
    fill(store)
    store.remove()
    assert not folder.exists()


def test_names_that_are_no_file_names_are_refused(folder):
    with open_store(folder, model()) as store, pytest.raises(ValueError, match="no file name"):
        store.spill("../elsewhere", torch.ones(2))
