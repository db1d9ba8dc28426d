"""What a step is recorded as: calls of modules, and the operators that ran in them."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import nn

from pipeline.capture.operators import Product
from pipeline.capture.values import Scores, Value
from wse.graph import OperatorKind

# What a fused attention kernel does; scaling and masking are part of its softmax.
_OF_ATTENTION = {OperatorKind.attention, OperatorKind.softmax}
_DROPOUTS = {"aten.native_dropout", "aten.native_dropout_backward", "aten.bernoulli_"}


@dataclass(eq=False)
class Call:
    """One call of a module, from tick ``start`` to tick ``stop``, by its name in the model.

    ``inputs`` and ``outputs`` are the values of the tensors that it was given and gave;
    ``input_shape`` is the shape of the first of them.
    """

    name: str
    module: nn.Module
    start: int
    stop: int = 0
    inputs: list[Value] = field(default_factory=list)
    input_shape: tuple[int, ...] = ()
    outputs: list[Value] = field(default_factory=list)

    @property
    def leaf(self) -> bool:
        """Whether the module holds no other."""
        return next(self.module.children(), None) is None


@dataclass(eq=False)
class Place:
    """Where in the forward pass an operator ran: when, for which module, and in an attention.

    ``records`` are the operators that autograd differentiates together with it.
    """

    call: Call
    tick: int
    fused: bool
    records: list[Record] = field(default_factory=list)


@dataclass(eq=False)
class Record:
    """One operator as it ran; ``place`` of a backward pass is that of what it differentiates.

    ``forward`` is the operator that one of the backward pass differentiates, if it is known.
    ``elements`` are those it goes through, ``widest`` those of the largest tensor it writes that
    stays in memory. ``scores`` are those it makes (``makes_scores``) or works on.
    """

    operator: str
    kind: OperatorKind
    place: Place
    backward: bool
    elements: int
    widest: int
    product: Product | None = None
    forward: Record | None = None
    scores: Scores | None = None
    makes_scores: bool = False


def differentiate(record: Record) -> None:
    """Tie an operator of the backward pass to the one that it differentiates."""
    candidates = record.place.records
    if record.product is None:
        record.forward = next(iter(candidates), None)
    else:
        products = [one for one in candidates if one.product is not None]
        volume = record.product.volume
        same = [one for one in products if one.product and one.product.volume == volume]
        record.forward = next(iter([*same, *products]), None)
        weighted = record.product.weighted
        if record.forward is not None and record.forward.kind is OperatorKind.linear:
            record.kind = OperatorKind.input_gradient if weighted else OperatorKind.weight_gradient
        elif record.kind is OperatorKind.linear:
            record.kind = OperatorKind.input_gradient
    record.scores = None if record.forward is None else record.forward.scores


def belongs_to_attention(record: Record) -> bool:
    """Whether an operator within a fused attention is one of it, or sums up its gradients."""
    return (
        record.kind in _OF_ATTENTION
        or record.operator in _DROPOUTS
        or (record.backward and record.operator == "aten.add")
    )
