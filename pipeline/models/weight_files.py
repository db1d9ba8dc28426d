"""The safetensors files of a Hugging Face directory, written one part of the model at a time.

Which tensors there are, and so what each file holds, follows from the model's shape before the
first part comes.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path

import torch
from torch import Tensor

from pipeline.files import write_text
from pipeline.models.safetensors_file import SafetensorsWriter
from pipeline.models.stored_tensors import INDEX_FILE, WEIGHTS_FILE
from pipeline.models.tensor_names import Rule, rules
from pipeline.schema import ModelConfig
from pipeline.streaming.layout import TensorSpec, parameter_shapes

Part = tuple[str, Mapping[str, Tensor]]
"""A part's name and its parameters by their full names."""


def stored_shapes(model: ModelConfig) -> dict[str, dict[str, dict[str, tuple[int, ...]]]]:
    """Part -> our parameter -> stored tensor -> shape, without allocating anything."""
    rule_of = {rule.ours: rule for rule in rules(model)}
    return {
        part: {
            ours: {
                theirs: tuple(stored.shape)
                for theirs, stored in stored_as(
                    rule_of[ours], torch.empty(shape, device="meta"), model
                )
            }
            for ours, shape in shapes.items()
        }
        for part, shapes in parameter_shapes(model).items()
    }


def stored_as(rule: Rule, ours: Tensor, model: ModelConfig) -> Iterable[tuple[str, Tensor]]:
    """Name and value of each tensor that our parameter is stored as."""
    return zip(rule.theirs, rule.conversion.store(ours, model.heads), strict=True)


def write_parts(
    parts: Iterable[Part], model: ModelConfig, directory: Path, shard_bytes: int
) -> torch.dtype:
    """Write the weights of all ``parts``, in any order, in files of at most ``shard_bytes``.

    Matrices keep the type that those of the first part have, vectors are fp32. Returns the type
    of the matrices. Raises ValueError unless each parameter comes once, all matrices are of one
    type, and the first part has one (the head of a GPT-2 has none).
    """
    with ExitStack() as stack:
        writer: _Weights | None = None
        for part, tensors in parts:
            if writer is None:
                writer = _Weights(model, directory, _matrix_type(part, tensors), shard_bytes)
                stack.callback(writer.close)
            writer.write(tensors)
            del tensors  # before the next part comes
        if writer is None:
            raise ValueError(f"{model.name}: there is no part to write")
        writer.finish()
        return writer.matrices


def _matrix_type(part: str, tensors: Mapping[str, Tensor]) -> torch.dtype:
    types = {tensor.dtype for tensor in tensors.values() if tensor.ndim > 1}
    if len(types) != 1:
        raise ValueError(f"{part}: matrices of one type should come first, not of {types or None}")
    return types.pop()


class _Weights:
    """The files of one model: what belongs where, and those that are being written."""

    def __init__(
        self, model: ModelConfig, directory: Path, matrices: torch.dtype, shard_bytes: int
    ) -> None:
        self.model, self.directory, self.matrices = model, directory, matrices
        self.rules = {rule.ours: rule for rule in rules(model)}
        self.shards = _sharded(_specs(model, matrices), shard_bytes)
        self.shard_of = {
            spec.name: number for number, shard in enumerate(self.shards) for spec in shard
        }
        self.open: dict[int, SafetensorsWriter] = {}
        self.written: set[str] = set()

    def write(self, tensors: Mapping[str, Tensor]) -> None:
        """Write one part's parameters, and have them on the disk."""
        for ours, tensor in tensors.items():
            if ours in self.written:
                raise ValueError(f"{ours} is written twice")
            if ours not in self.rules:
                raise ValueError(f"{ours} is no parameter of {self.model.name}")
            self.written.add(ours)
            # Vectors are few; optimizers keep them in fp32, which costs nothing to keep.
            tensor = tensor.detach().float() if tensor.ndim == 1 else tensor.detach()
            for theirs, stored in stored_as(self.rules[ours], tensor, self.model):
                self._file(self.shard_of[theirs]).write(theirs, stored)
        for number, file in list(self.open.items()):
            file.flush()
            if file.complete:
                self.open.pop(number).close()

    def close(self) -> None:
        """Close what is still open."""
        for file in self.open.values():
            file.close()

    def _file(self, number: int) -> SafetensorsWriter:
        if number not in self.open:
            path = self.directory / self._file_name(number)
            self.open[number] = SafetensorsWriter(path, self.shards[number])
        return self.open[number]

    def _file_name(self, number: int) -> str:
        if len(self.shards) == 1:
            return WEIGHTS_FILE
        return f"model-{number + 1:05d}-of-{len(self.shards):05d}.safetensors"

    def finish(self) -> None:
        """Write the index of several files; raise ValueError if a parameter never came."""
        if missing := sorted(self.rules.keys() - self.written):
            raise ValueError(f"{self.model.name}: {missing[0]} was in no part")
        if len(self.shards) > 1:
            total = sum(spec.nbytes for shard in self.shards for spec in shard)
            files = {name: self._file_name(number) for name, number in self.shard_of.items()}
            index = {"metadata": {"total_size": total}, "weight_map": files}
            text = json.dumps(index, indent=2, sort_keys=True) + "\n"
            write_text(self.directory / INDEX_FILE, text)


def _specs(model: ModelConfig, matrices: torch.dtype) -> list[list[TensorSpec]]:
    """The stored tensors of each of our parameters, in the order of a forward pass."""
    return [
        [
            TensorSpec(name, matrices if len(shape) > 1 else torch.float32, shape)
            for name, shape in stored.items()
        ]
        for part in stored_shapes(model).values()
        for stored in part.values()
    ]


def _sharded(parameters: list[list[TensorSpec]], shard_bytes: int) -> list[list[TensorSpec]]:
    """Split the parameters, in order, into as few files as ``shard_bytes`` allows."""
    shards: list[list[TensorSpec]] = []
    free = 0
    for specs in parameters:
        size = sum(spec.nbytes for spec in specs)
        if not shards or size > free:
            shards.append([])
            free = shard_bytes
        shards[-1] += specs
        free -= size
    return shards
