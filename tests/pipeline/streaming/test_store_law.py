"""What goes into a store comes out: any layouts, any order of calls, the least memory or more."""

from __future__ import annotations

import tempfile
from pathlib import Path
from unittest.mock import patch

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.streaming import direct_io
from pipeline.streaming.journal import Journal
from pipeline.streaming.layout import PartLayout, TensorSpec
from pipeline.streaming.slots import minimum_memory_bytes
from pipeline.streaming.store import ParameterStore
from tests.pipeline.streaming.stores import in_time, open_store

DTYPES = [torch.float32, torch.bfloat16, torch.int16, torch.uint8]
PLANES = ("weights", "state", "gradient")
KEPT_BYTES = 3 * 8192

shapes = st.lists(st.integers(0, 60), min_size=0, max_size=3).map(tuple)
planes = st.lists(st.tuples(st.sampled_from(DTYPES), shapes), max_size=4)


@st.composite
def layouts(draw: st.DrawFn) -> dict[str, PartLayout]:
    """One to five parts; some of them alike, so that they share slots."""
    kinds = draw(st.lists(st.tuples(planes, planes, planes), min_size=1, max_size=2))
    named = {}
    for number, kind in enumerate(draw(st.lists(st.sampled_from(kinds), min_size=1, max_size=5))):
        name = f"layers.{number}"
        named[name] = PartLayout(
            name,
            {
                plane: tuple(
                    TensorSpec(f"{name}.{i}", dtype, shape)
                    for i, (dtype, shape) in enumerate(sorted(specs, key=lambda s: -s[0].itemsize))
                )
                for plane, specs in zip(PLANES, kind, strict=True)
            },
        )
    return named


def noise(like: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Any bits at all, of a type and shape."""
    nbytes = like.numel() * like.element_size()
    bits = torch.randint(0, 256, (nbytes,), dtype=torch.uint8, generator=generator)
    return bits.view(like.dtype).view(like.shape)


def same_bits(one: torch.Tensor, other: torch.Tensor) -> bool:
    one, other = one.contiguous().flatten(), other.contiguous().flatten()
    return torch.equal(one.view(torch.uint8), other.view(torch.uint8))


class Caller:
    """Calls a store, and remembers what must be in it."""

    def __init__(self, store: ParameterStore, seed: int) -> None:
        self.store, self.step = store, 0
        self.generator = torch.Generator().manual_seed(seed)
        self.content: dict[tuple[str, str], list[torch.Tensor]] = {}
        self.spilled: dict[str, torch.Tensor] = {}
        self.boundary: torch.Tensor | None = None

    def check(self, part: str, plane: str) -> None:
        """The tensors are those last committed; the plane stays held."""
        held = list(self.store.fetch(part, plane).values())
        expected = self.content[part, plane]
        assert len(held) == len(expected)
        assert all(same_bits(*pair) for pair in zip(held, expected, strict=True))

    def new_version(self, part: str, *planes: str, blank: bool) -> None:
        take = self.store.blank if blank else self.store.fetch
        for plane in planes:
            tensors = take(part, plane)
            for tensor in tensors.values():
                if blank:
                    assert not tensor.view(torch.uint8).any() if tensor.dim() else True
                tensor.copy_(noise(tensor, self.generator))
            self.content[part, plane] = [tensor.clone() for tensor in tensors.values()]
        self.step += 1
        self.boundary = noise(torch.empty(self.step % 40), self.generator)
        kept = {"boundary": {"0": self.boundary}}
        self.store.commit(part, planes, Journal(self.step, "backward", part), kept)
        self.boundary.clone().zero_()

    def call(self, action: str, part: str) -> None:
        """One of the things that an engine does."""
        if action == "prefetch":
            self.store.prefetch(part, *PLANES)
        elif action == "read":
            for plane in ("weights", "state"):
                self.check(part, plane)
            self.store.release(part, "weights", "state")
        elif action == "gradient":
            self.new_version(part, "gradient", blank=True)
        elif action == "spill":
            self.spilled[part] = noise(torch.empty(50), self.generator)
            self.store.spill(part, self.spilled[part])
        elif action == "unspill" and part in self.spilled:
            self.store.prefetch_spilled(part)
            assert same_bits(self.store.unspill(part), self.spilled[part])
        elif action == "learn":
            self.new_version(part, "weights", "state", blank=False)


ACTIONS = ("prefetch", "read", "gradient", "spill", "unspill", "learn")


@settings(max_examples=30, deadline=None)
@given(layouts(), st.data(), st.integers(0, 40_000), st.integers(0, 2**30))
def test_bytes_in_are_bytes_out(named, data, more_bytes, seed):
    parts = list(named)
    actions = st.lists(st.tuples(st.sampled_from(ACTIONS), st.sampled_from(parts)), max_size=20)
    calls = data.draw(actions)
    memory_bytes = minimum_memory_bytes(named) + KEPT_BYTES + more_bytes
    chunk_bytes = data.draw(st.sampled_from([4096, 12288, direct_io.CHUNK_BYTES]))
    chunks = patch.object(direct_io, "CHUNK_BYTES", chunk_bytes)
    with tempfile.TemporaryDirectory() as folder, chunks:
        in_time(lambda: live(Path(folder) / "store", named, memory_bytes, calls, seed))


def live(folder: Path, named: dict, memory_bytes: int, calls: list, seed: int) -> None:
    """Fill a store, use it, open it anew, and compare."""
    with open_store(folder, named, memory_bytes) as store:
        caller = Caller(store, seed)
        for part in store.missing_parts():
            caller.new_version(part, "weights", "state", blank=True)
        assert store.missing_parts() == []
        for action, part in calls:
            caller.call(action, part)
    with open_store(folder, named, memory_bytes) as store:
        caller.store = store
        assert store.journal.step == caller.step
        assert same_bits(store.tensors("boundary")["0"], caller.boundary)
        for part, plane in caller.content:
            caller.check(part, plane)
            store.release(part, plane)
