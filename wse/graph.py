"""A training step as data: layers, and the operators that each runs forward and backward.

A graph counts one sequence; a batch is a multiple of it. It comes from the closed forms of
:mod:`wse.transformer`, or from a file: :meth:`Graph.from_json` reads what
``pipeline.capture`` wrote of a PyTorch model, and needs no PyTorch for it.

One multiply-add is two FLOPs, and FLOPs are those of matrix products alone. An operator of
vectors (LayerNorm, softmax, a residual) counts the elements that it reads and writes.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from typing import Any

from wse.errors import PlanError

FORMAT = 1


class OperatorKind(StrEnum):
    """What an operator does, as far as its time on a fabric depends on it.

    The three products of a linear layer differ in what streams and what is summed over: forward
    and input gradient multiply activations with weights, the weight gradient multiplies two
    activations and sums over tokens. ``attention`` is a product of two activations of one head.
    ``unknown`` is what a capture could not place: it is counted, and no time is known for it.
    """

    linear = "linear"
    input_gradient = "input_gradient"
    weight_gradient = "weight_gradient"
    attention = "attention"
    softmax = "softmax"
    normalization = "normalization"
    activation = "activation"
    elementwise = "elementwise"
    embedding = "embedding"
    cross_entropy = "cross_entropy"
    unknown = "unknown"


PRODUCTS = (
    OperatorKind.linear,
    OperatorKind.input_gradient,
    OperatorKind.weight_gradient,
    OperatorKind.attention,
)


@dataclass(frozen=True)
class Operator:
    """One operator on one sequence.

    A product is ``count`` products of (``rows``, ``inner``) with (``inner``, ``columns``), of
    which the share ``visible`` is needed (half of the square under a causal mask). Rows of
    ``linear`` are tokens, inner and columns its input and output features; an
    ``input_gradient`` has them the other way round; of a ``weight_gradient`` the inner dimension
    is tokens. ``elements`` are those written, for other operators than products as well;
    ``parameters`` are those read from the layer's weights.
    """

    name: str
    kind: OperatorKind
    elements: int
    parameters: int = 0
    count: int = 1
    rows: int = 0
    inner: int = 0
    columns: int = 0
    visible: float = 1.0

    @property
    def flops(self) -> float:
        """FLOPs of the matrix products of one sequence."""
        if self.kind not in PRODUCTS:
            return 0.0
        return 2.0 * self.count * self.rows * self.inner * self.columns * self.visible


class LayerKind(StrEnum):
    """What a streamed layer is."""

    embedding = "embedding"
    block = "block"
    head = "head"


@dataclass(frozen=True)
class Layer:
    """One layer as it streams, with how many equal ones follow each other.

    ``input_elements`` is what it receives of one sequence, at the boundary that recomputation
    starts from; ``saved_elements`` what its backward pass needs of its forward, its input
    included; ``widest_elements`` its largest tensor. ``part_elements`` is what the largest part
    that can be computed again by itself needs (the feed-forward of a sequential block, which
    follows its attention); None if the layer has no such parts.
    """

    name: str
    kind: LayerKind
    count: int
    parameters: int
    input_elements: int
    saved_elements: int
    widest_elements: int
    forward: tuple[Operator, ...]
    backward: tuple[Operator, ...]
    part_elements: int | None = None

    @property
    def forward_flops(self) -> float:
        """FLOPs of the forward pass of one sequence through one of the layers."""
        return sum(operator.flops for operator in self.forward)

    @property
    def backward_flops(self) -> float:
        """FLOPs of the backward pass of one sequence through one of the layers."""
        return sum(operator.flops for operator in self.backward)


@dataclass(frozen=True)
class Graph:
    """The step of one sequence of ``sequence_length`` tokens: layers in their forward order.

    ``hidden`` is the width of what passes from block to block.
    """

    name: str
    family: str
    sequence_length: int
    hidden: int
    layers: tuple[Layer, ...]

    @property
    def parameters(self) -> int:
        """Parameters of the model; a table that is tied to the head counts once."""
        return sum(layer.parameters * layer.count for layer in self.layers)

    @property
    def streamed_layers(self) -> int:
        """How many layers stream in a forward pass, the ends included."""
        return sum(layer.count for layer in self.layers)

    @property
    def blocks(self) -> int:
        """How many layers are blocks."""
        return sum(layer.count for layer in self.layers if layer.kind is LayerKind.block)

    @property
    def model_flops_per_token(self) -> float:
        """FLOPs of forward and backward without recomputation, the FLOPs of MFU."""
        flops = sum((x.forward_flops + x.backward_flops) * x.count for x in self.layers)
        return flops / self.sequence_length

    @property
    def unknown(self) -> dict[str, int]:
        """Operators that could not be placed, by name, with how often they occur."""
        found: dict[str, int] = {}
        for layer, operator in self.operators():
            if operator.kind is OperatorKind.unknown:
                found[operator.name] = found.get(operator.name, 0) + layer.count * operator.count
        return found

    def operators(self) -> Iterator[tuple[Layer, Operator]]:
        """Every operator with its layer, forward before backward."""
        for layer in self.layers:
            for operator in (*layer.forward, *layer.backward):
                yield layer, operator

    def to_json(self) -> str:
        """The graph as a file that :meth:`from_json` reads."""
        return json.dumps({"format": FORMAT, **asdict(self)}, indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str, where: str = "graph") -> Graph:
        """Read a graph; raise :class:`PlanError` naming ``where`` and what is wrong in it."""
        try:
            values = json.loads(text)
        except ValueError as error:
            raise PlanError(f"{where}: not JSON ({error})") from None
        if not isinstance(values, dict) or values.pop("format", None) != FORMAT:
            raise PlanError(f"{where}: format is not {FORMAT}; capture the model again")
        try:
            layers = tuple(_layer(value) for value in values.pop("layers"))
            graph = cls(layers=layers, **values)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise PlanError(
                f"{where}: not a graph of a training step, its layers and operators ({error})"
            ) from None
        _check(graph, where)
        return graph


def _layer(values: dict[str, Any]) -> Layer:
    passes = {
        side: tuple(
            Operator(**one | {"kind": OperatorKind(one["kind"])}) for one in values.pop(side)
        )
        for side in ("forward", "backward")
    }
    return Layer(**values | {"kind": LayerKind(values["kind"])} | passes)


def _check(graph: Graph, where: str) -> None:
    """Refuse fields of another type, counts that are no counts, and what has no block."""
    if not graph.layers:
        raise PlanError(f"{where}: layers: there is none; a training step has at least one")
    _check_fields("graph", graph, where)
    for layer in graph.layers:
        _check_fields(f"layers.{layer.name}", layer, where)
        for one in (*layer.forward, *layer.backward):
            _check_fields(f"layers.{layer.name}.{one.name}", one, where)
    names = [layer.name for layer in graph.layers]
    if len(set(names)) < len(names):
        raise PlanError(f"{where}: layers: two have the same name ({', '.join(names)})")
    if not graph.blocks:
        raise PlanError(f"{where}: layers: none is a block, the layer that streams")
    for name in ("sequence_length", "hidden"):
        if getattr(graph, name) < 1:
            raise PlanError(f"{where}: {name}: {getattr(graph, name)} is not a positive number")


_TYPES: dict[str, tuple[type, ...]] = {
    "str": (str,),
    "int": (int,),
    "int | None": (int, type(None)),
    "float": (int, float),
}


def _check_fields(name: str, thing: Graph | Layer | Operator, where: str) -> None:
    for field in fields(thing):
        value, types = getattr(thing, field.name), _TYPES.get(str(field.type))
        if types is None:
            continue
        if not isinstance(value, types) or isinstance(value, bool):
            wanted = "a text" if types == (str,) else "a count"
            raise PlanError(f"{where}: {name}.{field.name}: {value!r} is not {wanted}")
        if isinstance(value, (int, float)) and not 0 <= value < math.inf:
            raise PlanError(f"{where}: {name}.{field.name}: {value} is not a count")
