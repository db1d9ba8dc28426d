"""What a store reads from the disk and what it keeps in memory, within its budget."""

from __future__ import annotations

import re
import threading

import psutil
import pytest
import torch

from pipeline.errors import BudgetError
from pipeline.streaming import direct_io
from pipeline.streaming.journal import Journal
from pipeline.streaming.slots import Slots, minimum_memory_bytes
from pipeline.streaming.timeline import Timeline
from tests.pipeline.streaming.stores import (
    BOTH,
    fill,
    in_time,
    layouts_of,
    learn,
    model,
    open_store,
    part,
    values,
)

LAYERS = [f"layers.{number}" for number in range(6)]


@pytest.fixture
def layers(tmp_path):
    """Six equal layers in a filled store."""
    layouts = layouts_of(*map(part, LAYERS))
    with open_store(tmp_path / "store", layouts) as store:
        fill(store)
    return layouts


def buffer_bytes(layouts, plane):
    return Slots(layouts).images["layers.0", plane].buffer_bytes


def reads(timeline, plane):
    return [s.name for s in timeline.spans if s.lane == "read" and s.name.endswith(plane)]


def until_reads(timeline, count):
    while len(reads(timeline, "")) < count:
        threading.Event().wait(0.001)


@pytest.mark.parametrize("cached", [2, 3, 5])
def test_passes_up_and_down_read_only_what_memory_has_no_room_for(tmp_path, layers, cached):
    timeline = Timeline()
    memory_bytes = cached * buffer_bytes(layers, "weights")
    memory_bytes = max(memory_bytes, minimum_memory_bytes(layers))
    cached = memory_bytes // buffer_bytes(layers, "weights")
    with open_store(tmp_path / "store", layers, memory_bytes, timeline=timeline) as store:
        for order, found in ((LAYERS, 0), (LAYERS[::-1], cached), (LAYERS, cached)):
            timeline.begin_step()
            for name in order:
                assert values(store, name, "weights") == {0.0}
            # Found are those where the pass turned.
            assert reads(timeline, "weights") == [f"{name} weights" for name in order[found:]]


def test_bytes_read_are_counted(tmp_path, layers):
    timeline = Timeline()
    with open_store(tmp_path / "store", layers, timeline=timeline) as store:
        values(store, "layers.0", "weights")
        values(store, "layers.0", "weights")
    assert timeline.bytes_read == Slots(layers).images["layers.0", "weights"].nbytes
    assert timeline.bytes_written == 0


def test_state_makes_room_before_weights_do(tmp_path, layers):
    """A pass down with updates finds the weights that the pass up left in memory."""
    timeline = Timeline()
    weights, state = (buffer_bytes(layers, plane) for plane in BOTH)
    memory_bytes = 6 * weights + 2 * state
    with open_store(tmp_path / "store", layers, memory_bytes, timeline=timeline) as store:
        for name in LAYERS:
            values(store, name, "weights")
        timeline.begin_step()
        for name in LAYERS[::-1]:
            learn(store, name, 1)
            store.wait()
        assert reads(timeline, "weights") == []
        timeline.begin_step()
        for name in LAYERS:
            assert values(store, name, "weights") == {1.0}
        assert reads(timeline, "weights") == []


def test_state_that_comes_round_once_a_step_is_kept_as_far_as_memory_goes(tmp_path, layers):
    timeline = Timeline()
    weights, state = (buffer_bytes(layers, plane) for plane in BOTH)
    memory_bytes = 6 * weights + 4 * state
    with open_store(tmp_path / "store", layers, memory_bytes, timeline=timeline) as store:
        for step in (1, 2, 3):
            timeline.begin_step()
            for name in LAYERS[::-1]:
                learn(store, name, step)
                store.wait()
        assert len(reads(timeline, "state")) <= 3


def test_memory_is_used_again_and_never_more_than_given(tmp_path):
    layouts = model(layers=4, elements=600_000)
    memory_bytes = minimum_memory_bytes(layouts) + 8192
    with open_store(tmp_path / "store", layouts, memory_bytes) as store:
        fill(store)
        before = psutil.Process().memory_info().rss
        for step in range(1, 4):
            for name in layouts:
                store.prefetch(name, *BOTH)
                learn(store, name, step)
        store.wait()
        grown = psutil.Process().memory_info().rss - before
    assert grown < memory_bytes / 2, "buffers were not used again"
    assert psutil.Process().memory_info().rss < before - memory_bytes / 2, "close kept the memory"


def test_prefetched_planes_are_read_behind_the_callers_back(tmp_path, layers):
    timeline = Timeline()
    with open_store(tmp_path / "store", layers, 10**7, timeline=timeline) as store:
        store.prefetch("layers.1", *BOTH)
        in_time(lambda: until_reads(timeline, 2))
        assert values(store, "layers.1") == {0.0}
        assert sorted(reads(timeline, "")) == ["layers.1 state", "layers.1 weights"]


def test_a_prefetch_waits_for_memory_and_does_not_drive_out_another(tmp_path, layers):
    timeline = Timeline()
    memory_bytes = minimum_memory_bytes(layers)
    with open_store(tmp_path / "store", layers, memory_bytes, timeline=timeline) as store:
        store.fetch("layers.0", *BOTH)
        for name in LAYERS[1:]:
            store.prefetch(name, *BOTH)
        store.release("layers.0", *BOTH)
        for name in LAYERS[1:]:
            in_time(lambda name=name: values(store, name))
    assert len(reads(timeline, "")) == 2 * len(LAYERS)


def test_a_prefetch_that_was_for_nothing_gives_way(tmp_path, layers):
    timeline = Timeline()
    memory_bytes = minimum_memory_bytes(layers)
    with open_store(tmp_path / "store", layers, memory_bytes, timeline=timeline) as store:
        store.prefetch("layers.1", *BOTH)
        in_time(lambda: until_reads(timeline, 2))
        in_time(lambda: learn(store, "layers.2", 1))


def test_a_reader_need_not_wait_for_the_write_and_a_learner_does(tmp_path, layers, monkeypatch):
    gate, pwrite = threading.Event(), direct_io.os.pwrite

    def gated(*arguments):
        assert gate.wait(60)
        return pwrite(*arguments)

    with open_store(tmp_path / "store", layers, 10**7) as store:
        monkeypatch.setattr(direct_io.os, "pwrite", gated)
        learn(store, "layers.0", 1)
        in_time(lambda: store.fetch("layers.0", "weights", read_only=True))
        learner = threading.Thread(target=learn, args=(store, "layers.0", 2), daemon=True)
        learner.start()
        learner.join(0.2)
        assert learner.is_alive()
        gate.set()
        learner.join(60)
        assert not learner.is_alive()
        assert values(store, "layers.0") == {2.0}


def test_read_only_planes_cannot_be_committed(tmp_path, layers):
    with open_store(tmp_path / "store", layers) as store:
        store.fetch("layers.0", *BOTH, read_only=True)
        with pytest.raises(ValueError, match=r"layers\.0 weights was fetched read_only"):
            store.commit("layers.0", BOTH, Journal(1, "backward", "layers.0"))


def test_too_little_memory_is_refused_at_once(tmp_path, layers):
    memory_bytes = minimum_memory_bytes(layers) - 1
    with pytest.raises(BudgetError, match=r"given [\d.]+ MB .* takes [\d.]+ MB.*device\.memory"):
        open_store(tmp_path / "store", layers, memory_bytes)


def test_memory_that_the_caller_holds_himself_is_not_waited_for(tmp_path, layers):
    with open_store(tmp_path / "store", layers, minimum_memory_bytes(layers)) as store:
        store.fetch("layers.0", *BOTH)

        def too_much():
            with pytest.raises(BudgetError, match=r"layers\.1 weights: .* do not fit beside"):
                store.fetch("layers.1", "weights")

        in_time(too_much)
        store.release("layers.0", *BOTH)
        assert values(store, "layers.1") == {0.0}


def test_a_tied_head_fits_the_least_memory(tmp_path):
    layouts = model(layers=1)
    bias = layouts["head"].planes["weights"][:1]
    layouts["head"] = type(layouts["head"])("head", {"weights": bias, "state": bias})
    memory_bytes = minimum_memory_bytes(layouts)
    with open_store(tmp_path / "store", layouts, memory_bytes) as store:
        fill(store)
        store.fetch("head", *BOTH)
        in_time(lambda: store.fetch("embedding", "weights"))


def test_holds_are_counted(tmp_path, layers):
    with open_store(tmp_path / "store", layers) as store:
        first = store.fetch("layers.0", "weights")
        second = store.fetch("layers.0", "weights")
        store.release("layers.0", "weights")
        assert [t.data_ptr() for t in first.values()] == [t.data_ptr() for t in second.values()]
        store.release("layers.0", "weights")
        with pytest.raises(ValueError, match=re.escape("layers.0 weights is not held")):
            store.release("layers.0", "weights")


def test_planes_fetched_in_inference_mode_can_be_trained(tmp_path, layers):
    with open_store(tmp_path / "store", layers) as store:
        with torch.inference_mode():
            store.fetch("layers.0", "weights")
            store.release("layers.0", "weights")
        weight = store.fetch("layers.0", *BOTH)["layers.0.weight"]
        weight.requires_grad_(True)
        weight.float().sum().backward()
        assert weight.grad is not None
