"""Our reader and writer of safetensors files against the library's."""

from __future__ import annotations

import ctypes
import math
import mmap
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from pipeline.errors import ModelError
from pipeline.models.safetensors_file import TYPES, SafetensorsWriter, read_header, read_tensor
from pipeline.streaming.layout import TensorSpec

PROPERTY = settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
SHAPES = st.lists(st.integers(1, 5), max_size=3).map(tuple)
SPECS = st.lists(st.tuples(st.sampled_from(list(TYPES.values())), SHAPES), max_size=6)


def drawn(specs: list[tuple[torch.dtype, tuple[int, ...]]]) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return {
        f"tensor {number} \N{SNOWMAN}": torch.randn(shape, generator=generator).to(dtype)
        for number, (dtype, shape) in enumerate(specs)
    }


def write(path: Path, tensors: dict[str, torch.Tensor], order: list[str]) -> None:
    specs = [TensorSpec(name, t.dtype, tuple(t.shape)) for name, t in tensors.items()]
    with SafetensorsWriter(path, specs) as file:
        for name in order:
            file.write(name, tensors[name])
        file.flush()


def assert_equal(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert found[name].dtype is tensor.dtype
        assert torch.equal(found[name], tensor), name


@PROPERTY
@given(specs=SPECS, shuffled=st.randoms(use_true_random=False))
def test_the_library_reads_what_was_written_in_any_order(tmp_path, specs, shuffled) -> None:
    tensors = drawn(specs)
    order = list(tensors)
    shuffled.shuffle(order)
    write(tmp_path / "file", tensors, order)
    assert_equal(load_file(tmp_path / "file"), tensors)
    for entry in read_header(tmp_path / "file").values():
        assert entry.start % TYPES[entry.type].itemsize == 0


@PROPERTY
@given(specs=SPECS)
def test_what_the_library_wrote_is_read(tmp_path, specs) -> None:
    tensors = drawn(specs)
    save_file(tensors, tmp_path / "file", metadata={"format": "pt"})
    entries = read_header(tmp_path / "file")
    found = {name: read_tensor(tmp_path / "file", name, entries[name]) for name in entries}
    assert_equal(found, tensors)


@settings(PROPERTY, max_examples=300)
@given(data=st.data())
def test_a_damaged_header_is_refused_or_means_what_the_library_reads(tmp_path, data) -> None:
    path = tmp_path / "file"
    tensors = drawn([(torch.float32, (2, 3)), (torch.bfloat16, (5,)), (torch.float64, ())])
    save_file(tensors, path)
    content = bytearray(path.read_bytes())
    end = 8 + int.from_bytes(content[:8], "little")
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, end - 1))] = data.draw(
            st.sampled_from(b'0123456789"[]{},')
        )
    path.write_bytes(content)
    try:
        entries = read_header(path)
    except ModelError as error:
        assert str(error).startswith(f"{path}: cannot be read as safetensors: ")  # noqa: PT017
        return
    try:
        theirs = load_file(path)
    except SafetensorError:  # stricter on what is beside the tensors' places, such as types
        return
    for name, entry in entries.items():
        assert entry.shape == tuple(theirs[name].shape)
        if entry.type in TYPES:
            assert torch.equal(
                read_tensor(path, name, entry).nan_to_num(), theirs[name].nan_to_num()
            )


@pytest.mark.parametrize(
    ("header", "words"),
    [
        (b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}}', "begins at byte"),
        (b'{"a":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}}', "takes 8 bytes"),
        (b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}', "its header speaks of"),
        (b'{"a":{"dtype":"F32","data_offsets":[0,8]}}', "it lacks 'shape'"),
        (b"[1]", "cannot be read"),
    ],
)
def test_tensors_that_are_out_of_place_are_named(tmp_path, header: bytes, words: str) -> None:
    path = tmp_path / "file"
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(8))
    with pytest.raises(ModelError, match=words) as refused:
        read_header(path)
    assert str(refused.value).startswith(f"{path}: cannot be read as safetensors: ")


def test_a_file_cut_after_its_header_was_read_is_named(tmp_path) -> None:
    path = tmp_path / "file"
    save_file({"a": torch.ones(4)}, path)
    entries = read_header(path)
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(ModelError, match="file: tensor a: the file ends 5 bytes too early"):
        read_tensor(path, "a", entries["a"])


@pytest.mark.parametrize("tensor", [torch.ones(3), torch.ones(2, dtype=torch.float16)])
def test_a_tensor_that_was_not_announced_so_is_refused(tmp_path, tensor: torch.Tensor) -> None:
    spec = TensorSpec("a", torch.float32, (2,))
    refused = pytest.raises(ValueError, match=r"a is torch\.float\d+ of shape .* announced as")
    with SafetensorsWriter(tmp_path / "file", [spec]) as file, refused:
        file.write("a", tensor)


def cached_bytes(path: Path) -> int:
    """How much of a file the system keeps in its page cache."""
    with path.open("r+b") as file, mmap.mmap(file.fileno(), 0) as mapped:
        states = (ctypes.c_ubyte * math.ceil(len(mapped) / mmap.PAGESIZE))()
        address = ctypes.c_void_p(ctypes.addressof(ctypes.c_char.from_buffer(mapped)))
        if ctypes.CDLL(None).mincore(address, ctypes.c_size_t(len(mapped)), states):
            pytest.skip("mincore: this system does not say what it caches")
        return sum(state & 1 for state in states) * mmap.PAGESIZE


def test_neither_writing_nor_reading_leaves_the_file_in_the_page_cache(tmp_path) -> None:
    tensors = {"a": torch.ones(10_000_000), "b": torch.ones(10_000_000)}
    path = tmp_path / "file"
    save_file(tensors, path)
    if cached_bytes(path) < 70_000_000:
        pytest.skip("this file system caches nothing")
    path.unlink()
    write(path, tensors, list(tensors))
    assert cached_bytes(path) < 8_000_000
    for name, entry in read_header(path).items():
        read_tensor(path, name, entry)
    assert cached_bytes(path) < 8_000_000
