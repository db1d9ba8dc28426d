"""One plane as the bytes of a safetensors file, so that other tools open what a store holds.

The header is padded with spaces to whole pages; the tensors follow without gaps in the order of
their specs. So a file is read into memory as it is, and every tensor is a view of that memory.
Format: https://github.com/huggingface/safetensors#format
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from pipeline.errors import DamagedStoreError
from pipeline.streaming.direct_io import PAGE_BYTES, page_multiple
from pipeline.streaming.layout import TensorSpec

DTYPE_NAMES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}
_DTYPES = {name: dtype for dtype, name in DTYPE_NAMES.items()}
_LENGTH_BYTES = 8
# Stands for any step when the room for a header is reckoned.
_LONGEST_STEP = 10**18


@dataclass(frozen=True)
class FileImage:
    """The bytes of one safetensors file: ``header_bytes`` of header, whole pages, then tensors."""

    part: str
    plane: str
    specs: tuple[TensorSpec, ...]
    header_bytes: int

    @classmethod
    def of(
        cls, part: str, plane: str, specs: Iterable[TensorSpec], header_bytes: int = 0
    ) -> FileImage:
        """An image whose header takes at least ``header_bytes``, and what it needs."""
        image = cls(part, plane, tuple(specs), header_bytes)
        needed = page_multiple(_LENGTH_BYTES + len(image._description(_LONGEST_STEP)))
        return cls(part, plane, image.specs, max(header_bytes, needed))

    @property
    def data_bytes(self) -> int:
        """Bytes of the tensors."""
        return sum(spec.nbytes for spec in self.specs)

    @property
    def nbytes(self) -> int:
        """Exact length of the file."""
        return self.header_bytes + self.data_bytes

    @property
    def buffer_bytes(self) -> int:
        """Memory that holds the file: whole pages."""
        return page_multiple(self.nbytes)

    def header(self, step: int) -> bytes:
        """The header of the version of ``step``; always ``header_bytes`` long."""
        room = self.header_bytes - _LENGTH_BYTES
        return room.to_bytes(_LENGTH_BYTES, "little") + self._description(step).ljust(room)

    def views(self, memory: Tensor) -> dict[str, Tensor]:
        """The tensors by name, as views of ``memory``: the file's bytes, (buffer_bytes,) uint8."""
        views, offset = {}, self.header_bytes
        for spec in self.specs:
            flat = memory[offset : offset + spec.nbytes].view(spec.dtype)
            views[spec.name] = flat.view(spec.shape)
            offset += spec.nbytes
        return views

    def _description(self, step: int) -> bytes:
        metadata = {"format": "pt", "part": self.part, "plane": self.plane, "step": str(step)}
        entries: dict[str, object] = {"__metadata__": metadata}
        offset = 0
        for spec in self.specs:
            entries[spec.name] = {
                "dtype": DTYPE_NAMES[spec.dtype],
                "shape": list(spec.shape),
                "data_offsets": [offset, offset + spec.nbytes],
            }
            offset += spec.nbytes
        return json.dumps(entries, separators=(",", ":")).encode()


def image_of_tensors(name: str, tensors: Mapping[str, Tensor]) -> FileImage:
    """The image of a set of tensors kept beside the parts; wider elements first, for alignment.

    ``name`` becomes part of a file's name; ValueError if it cannot.
    """
    if not re.fullmatch(r"[\w.-]+", name, re.ASCII):
        raise ValueError(f"{name!r}: no file name; use letters, digits, '.', '_' and '-'")
    ordered = sorted(tensors.items(), key=lambda item: -item[1].dtype.itemsize)
    specs = (TensorSpec(key, tensor.dtype, tuple(tensor.shape)) for key, tensor in ordered)
    return FileImage.of(name, "kept", specs)


def read_image(path: Path) -> FileImage:
    """The image of a kept set as its file's header tells it."""
    try:
        with path.open("rb") as file:
            room = int.from_bytes(file.read(_LENGTH_BYTES), "little")
            if not 0 < room <= path.stat().st_size or (room + _LENGTH_BYTES) % PAGE_BYTES:
                raise ValueError(f"a header of {room} bytes")
            entries = json.loads(file.read(room))
        metadata = entries.pop("__metadata__")
        specs = (
            TensorSpec(name, _DTYPES[entry["dtype"]], tuple(entry["shape"]))
            for name, entry in entries.items()
        )
        return FileImage(metadata["part"], metadata["plane"], tuple(specs), room + _LENGTH_BYTES)
    except FileNotFoundError:
        raise DamagedStoreError(f"{path}: missing") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DamagedStoreError(f"{path}: damaged header, {error!r}") from error
