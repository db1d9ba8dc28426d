"""A safetensors file, read and written one tensor at a time, past the system's page cache.

The layout: the header's length in 8 bytes, little-endian; the header, JSON that maps each name to
type, shape and place; the tensors' bytes without gaps. The library of that name maps a file into
memory, where every page that was touched counts as the process's own until the file is closed.
Here no more than the tensor in hand is in memory.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import torch
from torch import Tensor

from pipeline.errors import ModelError
from pipeline.files import naming
from pipeline.streaming.layout import TensorSpec

TYPES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
"""The float types, by their names in the header."""

LARGEST_HEADER_BYTES = 100_000_000  # as in the library: more is taken for damage
ALIGNMENT_BYTES = 8  # of the first tensor
CHUNK_BYTES = 64 * 1024**2  # read before the system's copy is dropped


@dataclass(frozen=True)
class Entry:
    """Type, shape and place of a tensor; ``start`` counts from the beginning of the file."""

    type: str
    shape: tuple[int, ...]
    start: int
    nbytes: int


def read_header(path: Path) -> dict[str, Entry]:
    """The tensors of a file by name; raise :class:`ModelError` if it is missing or damaged."""
    try:
        with path.open("rb") as file:
            entries = _entries(file, os.fstat(file.fileno()).st_size)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        reason = f"it lacks {error}" if isinstance(error, KeyError) else str(error)
        raise ModelError(
            f"{path}: cannot be read as safetensors: {reason}; make it anew"
        ) from error
    return entries


def _entries(file: BinaryIO, file_bytes: int) -> dict[str, Entry]:
    header_bytes = int.from_bytes(file.read(8), "little")
    data = 8 + header_bytes
    if not 2 <= header_bytes <= LARGEST_HEADER_BYTES or data > file_bytes:
        raise ValueError(f"a header of {header_bytes} bytes in a file of {file_bytes}")
    header = json.loads(file.read(header_bytes))
    header.pop("__metadata__", None)
    entries = {name: _entry(name, value, data) for name, value in header.items()}
    end = data
    for name, entry in sorted(entries.items(), key=lambda item: (item[1].start, item[1].nbytes)):
        if entry.start != end:
            raise ValueError(f"tensor {name} begins at byte {entry.start} instead of {end}")
        end += entry.nbytes
    if end != file_bytes:
        raise ValueError(f"it has {file_bytes} bytes, its header speaks of {end}")
    return entries


def _entry(name: str, value: dict[str, Any], data: int) -> Entry:
    begin, end = value["data_offsets"]
    shape = tuple(int(size) for size in value["shape"])
    entry = Entry(value["dtype"], shape, data + begin, end - begin)
    known = TYPES.get(entry.type)
    expected = known.itemsize * torch.Size(shape).numel() if known else entry.nbytes
    if min((entry.nbytes, *shape)) < 0 or entry.nbytes != expected:
        raise ValueError(f"tensor {name} of shape {shape} takes {entry.nbytes} bytes")
    return entry


def read_tensor(path: Path, name: str, entry: Entry) -> Tensor:
    """Read one tensor of a float type into memory of its own."""
    tensor = torch.empty(entry.shape, dtype=TYPES[entry.type])
    left = _bytes_of(tensor)
    with naming(path), path.open("rb", buffering=0) as file:
        file.seek(entry.start)
        while left:
            count = file.readinto(left[:CHUNK_BYTES])
            if not count:
                raise ModelError(
                    f"{path}: tensor {name}: the file ends {len(left)} bytes too early"
                )
            left = left[count:]
            _drop_cache(file, file.tell() - count, count)
    return tensor


class SafetensorsWriter:
    """A file that is being written: the header at once, then the tensors in any order.

    Wider elements lie first, so that each tensor starts at a multiple of its element's size.
    Raises OSError, which names the file.
    """

    def __init__(self, path: Path, specs: Sequence[TensorSpec]) -> None:
        self.path = path
        self._missing = {spec.name: spec for spec in specs}
        self._starts: dict[str, int] = {}
        header = self._header(specs)
        # Unbuffered: what is written is the system's at once, and can be dropped from its cache.
        with naming(path):
            self._file = path.open("wb", buffering=0)
            self._write(memoryview(header), start=0)

    def _header(self, specs: Sequence[TensorSpec]) -> bytes:
        names = {dtype: name for name, dtype in TYPES.items()}
        header: dict[str, Any] = {"__metadata__": {"format": "pt"}}  # transformers asks for it
        offset = 0
        for spec in sorted(specs, key=lambda spec: -spec.dtype.itemsize):
            header[spec.name] = {
                "dtype": names[spec.dtype],
                "shape": list(spec.shape),
                "data_offsets": [offset, offset + spec.nbytes],
            }
            self._starts[spec.name] = offset
            offset += spec.nbytes
        text = json.dumps(header, separators=(",", ":")).encode()
        text += b" " * (-len(text) % ALIGNMENT_BYTES)
        self._starts = {name: 8 + len(text) + start for name, start in self._starts.items()}
        return len(text).to_bytes(8, "little") + text

    @property
    def complete(self) -> bool:
        """Whether every tensor was written."""
        return not self._missing

    def write(self, name: str, tensor: Tensor) -> None:
        """Write one tensor, from any device; raise ValueError if it is not what was announced."""
        spec = self._missing.pop(name)
        if tensor.dtype != spec.dtype or tuple(tensor.shape) != spec.shape:
            raise ValueError(
                f"{name} is {tensor.dtype} of shape {tuple(tensor.shape)}, announced as"
                f" {spec.dtype} of shape {spec.shape}"
            )
        with naming(self.path):
            self._write(_bytes_of(tensor.cpu().contiguous()), self._starts[name])

    def _write(self, left: memoryview, start: int) -> None:
        self._file.seek(start)
        while left:
            left = left[self._file.write(left) :]

    def flush(self) -> None:
        """Have what was written on the disk, and no longer in the page cache."""
        with naming(self.path):
            os.fsync(self._file.fileno())
            _drop_cache(self._file)

    def close(self) -> None:
        """Close the file; it is on the disk only if :meth:`flush` was called before."""
        self._file.close()

    def __enter__(self) -> SafetensorsWriter:
        """Give the writer itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the file."""
        self.close()


def _bytes_of(tensor: Tensor) -> memoryview:
    """The memory of a contiguous tensor."""
    return tensor.detach().reshape(-1).view(torch.uint8).numpy().data


def _drop_cache(file: Any, start: int = 0, count: int = 0) -> None:
    """Drop the page cache's clean pages of ``count`` bytes; 0: to the end of the file."""
    if hasattr(os, "posix_fadvise"):  # not on every system
        os.posix_fadvise(file.fileno(), start, count, os.POSIX_FADV_DONTNEED)
