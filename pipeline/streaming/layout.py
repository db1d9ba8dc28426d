"""What a parameter store holds: parts, their planes, and the tensors of each plane.

A part is the embedding, one layer, or the head. Its weights are read at every pass, its optimizer
state once a step; so they are separate planes, each a file. Where gradients are spooled (clipping
by the global norm) they are a third plane.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from pipeline.choices import ClipBy, Precision
from pipeline.models.decoder import Embedding, Head, Layer
from pipeline.optimizers import state_specs, weight_dtype
from pipeline.schema import ModelConfig, TrainConfig

Plane = Literal["weights", "state", "gradient"]

EMBEDDING, HEAD = "embedding", "head"
TIED = "embedding.tokens.weight"
"""The matrix that a tied head borrows."""


@dataclass(frozen=True)
class TensorSpec:
    """Name, type and shape of a stored tensor."""

    name: str
    dtype: torch.dtype
    shape: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        """Bytes of its elements."""
        return self.dtype.itemsize * torch.Size(self.shape).numel()


@dataclass(frozen=True)
class PartLayout:
    """The planes of one part, each a tuple of tensors in the order they are stored.

    The weights plane names tensors as the decoder does, ``layers.3.feed_forward.up.weight``; the
    state plane adds what of that parameter it is: ``layers.3.feed_forward.up.weight/exp_avg``.
    """

    name: str
    planes: dict[Plane, tuple[TensorSpec, ...]]

    def nbytes(self, plane: Plane) -> int:
        """Bytes of a plane's tensors; 0 if the part has no such plane."""
        return sum(spec.nbytes for spec in self.planes.get(plane, ()))

    @property
    def parameters(self) -> int:
        """How many parameters the part has."""
        return sum(torch.Size(spec.shape).numel() for spec in self.planes["weights"])


def layer_name(number: int) -> str:
    """The name of layer ``number``, from 0."""
    return f"layers.{number}"


def part_names(model: ModelConfig) -> list[str]:
    """The parts in the order in which a forward pass visits them."""
    return [EMBEDDING, *(layer_name(number) for number in range(model.layers)), HEAD]


def part_template(model: ModelConfig, part: str) -> nn.Module:
    """The module of a part, on the meta device: what it computes, without values."""
    with torch.device("meta"):
        if part == EMBEDDING:
            return Embedding(model)
        return Head(model) if part == HEAD else Layer(model)


def parameter_shapes(model: ModelConfig) -> dict[str, dict[str, tuple[int, ...]]]:
    """Part -> full parameter name -> shape, without allocating anything."""
    layer = part_template(model, layer_name(0))
    templates = {
        EMBEDDING: part_template(model, EMBEDDING),
        **{layer_name(number): layer for number in range(model.layers)},
        HEAD: part_template(model, HEAD),
    }
    return {
        part: {f"{part}.{name}": tuple(p.shape) for name, p in template.named_parameters()}
        for part, template in templates.items()
    }


def part_layouts(model: ModelConfig, train: TrainConfig) -> dict[str, PartLayout]:
    """The layout of every part, in the order of a forward pass."""
    layouts = {}
    for part, shapes in parameter_shapes(model).items():
        planes = _planes(shapes, train)
        if gradients_are_spooled(train):
            planes["gradient"] = _gradients(planes["weights"], train)
        layouts[part] = PartLayout(part, planes)
    return layouts


def gradients_are_spooled(train: TrainConfig) -> bool:
    """Whether all gradients must be there before the first update: for the global norm."""
    return train.clip_by is ClipBy.norm and train.gradient_clip is not None


def _planes(
    shapes: dict[str, tuple[int, ...]], train: TrainConfig
) -> dict[Plane, tuple[TensorSpec, ...]]:
    weights = [
        TensorSpec(name, weight_dtype(train.optimizer, train.precision, shape), shape)
        for name, shape in shapes.items()
    ]
    state = [
        TensorSpec(f"{name}/{key}", dtype, state_shape)
        for name, shape in shapes.items()
        for key, (dtype, state_shape) in state_specs(
            train.optimizer, train.precision, shape
        ).items()
    ]
    return {"weights": _aligned(weights), "state": _aligned(state)}


def gradients_are_fp32(train: TrainConfig) -> bool:
    """Whether gradients are fp32: sums over micro-batches are, a single one's is as computed."""
    return train.micro_batch != train.global_batch or train.precision is Precision.fp32


def _gradients(weights: tuple[TensorSpec, ...], train: TrainConfig) -> tuple[TensorSpec, ...]:
    fp32 = gradients_are_fp32(train)
    return _aligned(
        [
            TensorSpec(spec.name, torch.float32 if fp32 else spec.dtype, spec.shape)
            for spec in weights
        ]
    )


def _aligned(specs: list[TensorSpec]) -> tuple[TensorSpec, ...]:
    """Wider elements first, so that every tensor starts at a multiple of its element's size."""
    return tuple(sorted(specs, key=lambda spec: -spec.dtype.itemsize))


def head_is_tied(model: ModelConfig) -> bool:
    """Whether the head borrows the embedding's matrix."""
    return part_template(model, HEAD).projection is None
