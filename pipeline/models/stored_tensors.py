"""The tensors in the safetensors files of a Hugging Face directory, sharded or not."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from pipeline.choices import Family
from pipeline.errors import ModelError
from pipeline.models.families import TRAITS
from pipeline.models.safetensors_file import TYPES, Entry, read_header, read_tensor

WEIGHTS_FILE = "model.safetensors"
INDEX_FILE = "model.safetensors.index.json"

# What precedes a name where the head was saved too, and is absent where it was not.
_PREFIXES = {
    Family.gpt2: "transformer.",
    Family.gptj: "transformer.",
    Family.gptneox: "gpt_neox.",
}
# Masks and rotary tables, which older releases of transformers stored.
_BUFFERS = re.compile(r"\.(attn|attention)\.(bias|masked_bias|embed_positions)$|\.inv_freq$")


@dataclass(frozen=True)
class _Stored:
    """One tensor: the file that holds it, its name there, and its type, shape and place."""

    path: Path
    name: str
    entry: Entry


@dataclass(frozen=True)
class StoredTensors:
    """The tensors of a directory, read one at a time, by their names in a whole model."""

    directory: Path
    tensors: dict[str, _Stored]

    @classmethod
    def open(cls, directory: Path, family: Family) -> StoredTensors:
        """Read the headers; raise :class:`ModelError` where a file is missing or damaged."""
        stored = [tensor for path in _weight_files(directory) for tensor in _tensors_in(path)]
        whole_names = _whole_names((tensor.name for tensor in stored), family)
        tensors = {whole_names[t.name]: t for t in stored if t.name in whole_names}
        return cls(directory, tensors)

    def check(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        """Raise :class:`ModelError` unless there are exactly these tensors, all of float type."""
        if missing := [name for name in shapes if name not in self.tensors]:
            raise ModelError(f"{self.directory}: tensor {_first(missing)} is missing")
        if unexpected := [name for name in self.tensors if name not in shapes]:
            raise ModelError(
                f"{self.tensors[unexpected[0]].path}: tensor {_first(unexpected)} is no part of"
                " the model that config.json describes"
            )
        for name, shape in shapes.items():
            self._check_one(self.tensors[name], shape)

    def read(self, name: str) -> Tensor:
        """Read one tensor, in the type it is stored in; raises OSError, which names the file."""
        stored = self.tensors[name]
        return read_tensor(stored.path, stored.name, stored.entry)

    def dtype(self, name: str) -> torch.dtype:
        """The type that a tensor is stored in."""
        return TYPES[self.tensors[name].entry.type]

    @property
    def nbytes(self) -> int:
        """The bytes of all tensors."""
        return sum(stored.entry.nbytes for stored in self.tensors.values())

    def _check_one(self, stored: _Stored, shape: tuple[int, ...]) -> None:
        if stored.entry.shape != shape:
            raise ModelError(
                f"{stored.path}: tensor {stored.name} has shape {stored.entry.shape};"
                f" config.json asks for {shape}"
            )
        if stored.entry.type not in TYPES:
            raise ModelError(
                f"{stored.path}: tensor {stored.name} is of type {stored.entry.type}; supported"
                f" are {', '.join(TYPES)}"
            )


def _weight_files(directory: Path) -> list[Path]:
    """The one file, or those that the index names; the same choice as transformers makes."""
    if (directory / WEIGHTS_FILE).exists():
        return [directory / WEIGHTS_FILE]
    index = directory / INDEX_FILE
    if not index.exists():
        raise ModelError(
            f"{directory}: neither {WEIGHTS_FILE} nor {INDEX_FILE} is there; save the model with"
            " save_pretrained of transformers"
        )
    try:
        weight_map = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        return sorted({directory / file for file in weight_map.values()})
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(f"{index}: cannot be read as an index of weights: {error!r}") from error


def _tensors_in(path: Path) -> list[_Stored]:
    return [_Stored(path, name, entry) for name, entry in read_header(path).items()]


def _whole_names(names: Iterable[str], family: Family) -> dict[str, str]:
    """Each stored name, but for those to be ignored, as a model with its head would have it."""
    names = list(names)
    prefix = _PREFIXES[family]
    bare = not any(name.startswith(prefix) for name in names)
    whole = {}
    for name in names:
        is_head = name.startswith(("lm_head.", "embed_out."))
        if _BUFFERS.search(name) or (is_head and TRAITS[family].tied_head):
            continue
        whole[name] = prefix + name if bare and not is_head else name
        if family is Family.gptneox:  # transformers 5 also says lm_head
            whole[name] = re.sub("^lm_head", "embed_out", whole[name])
    return whole


def _first(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]} (and {len(names) - 1} more)"
