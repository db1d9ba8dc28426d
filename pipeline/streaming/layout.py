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

from pipeline.models.decoder import Decoder, Embedding, Head, Layer
from pipeline.optimizers import state_specs, weight_dtype
from pipeline.schema import ClipBy, ModelConfig, TrainConfig

Plane = Literal["weights", "state", "gradient"]

EMBEDDING, HEAD = "embedding", "head"


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
    spooled = train.clip_by is ClipBy.norm and train.gradient_clip is not None
    return {
        part: PartLayout(part, _planes(shapes, train, spooled))
        for part, shapes in parameter_shapes(model).items()
    }


def _planes(
    shapes: dict[str, tuple[int, ...]], train: TrainConfig, spooled: bool
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
    planes: dict[Plane, tuple[TensorSpec, ...]] = {
        "weights": _aligned(weights),
        "state": _aligned(state),
    }
    if spooled:
        planes["gradient"] = tuple(
            TensorSpec(spec.name, gradient_dtype(spec.dtype, train), spec.shape)
            for spec in planes["weights"]
        )
    return planes


def gradient_dtype(weight: torch.dtype, train: TrainConfig) -> torch.dtype:
    """Of a parameter's gradient: sums over micro-batches are fp32, a single one is as computed."""
    return weight if train.micro_batch == train.global_batch else torch.float32


def _aligned(specs: list[TensorSpec]) -> tuple[TensorSpec, ...]:
    """Wider elements first, so that every tensor starts at a multiple of its element's size."""
    return tuple(sorted(specs, key=lambda spec: -spec.dtype.itemsize))


def loss_tied(model: ModelConfig) -> bool:
    """Whether the head borrows the embedding's matrix."""
    return part_template(model, HEAD).projection is None
