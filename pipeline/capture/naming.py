"""Turns the records of a layer into its operators, each with a name that says where it is.

The vector operators of one call of a module that holds no other and multiplies nothing, such as
a normalization written out in seven steps, are one operator.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import replace

from pipeline.capture.layers import Segment
from pipeline.capture.operators import Product
from pipeline.capture.step import Record
from wse.graph import PRODUCTS, Operator, OperatorKind

# What a module does as a whole, if it does several of these.
_TELLING = (
    OperatorKind.embedding,
    OperatorKind.cross_entropy,
    OperatorKind.softmax,
    OperatorKind.normalization,
    OperatorKind.activation,
    OperatorKind.elementwise,
)


def operators_of(
    segment: Segment, records: Sequence[Record]
) -> tuple[tuple[Operator, ...], tuple[Operator, ...]]:
    """The operators of a layer's forward and of its backward pass."""
    names = _Names(segment)
    multiplying = {record.place.call for record in records if record.kind in PRODUCTS}
    known: dict[Hashable, Operator] = {}
    passes: tuple[list[Operator], list[Operator]] = ([], [])
    for backward in (False, True):
        units: dict[Hashable, list[Record]] = {}
        for record in records:
            if record.backward is backward:
                units.setdefault(_unit(record, multiplying), []).append(record)
        for key, unit in units.items():
            differentiated = known.get(unit[0].forward if key is unit[0] else key)
            operator = _operator(unit, names.of(unit, key is not unit[0], differentiated))
            if backward and key is not unit[0] and differentiated is not None:
                operator = replace(operator, kind=differentiated.kind)
            elif not backward:
                known[key] = operator
            passes[backward].append(operator)
    return tuple(passes[0]), tuple(passes[1])


def _unit(record: Record, multiplying: Iterable[object]) -> Hashable:
    """What a record is one operator with: all of a simple module's call, or itself alone."""
    call = record.place.call
    if record.kind is OperatorKind.unknown or call in multiplying or not call.leaf:
        return record
    return call


def _operator(unit: Sequence[Record], name: str) -> Operator:
    widest = max(unit, key=lambda record: _elements(record))
    kinds = {record.kind for record in unit}
    kind = next((one for one in _TELLING if one in kinds), widest.kind)
    elements = _elements(widest)
    if kind not in PRODUCTS or widest.product is None:
        return Operator(name, kind, elements)
    product = widest.product
    if kind is OperatorKind.weight_gradient:
        product = _transposed(product, widest.forward)
    return Operator(
        name,
        kind,
        elements,
        product.parameters,
        product.count,
        product.rows,
        product.inner,
        product.columns,
        widest.scores.visible if widest.scores and kind is OperatorKind.attention else 1.0,
    )


def _elements(record: Record) -> int:
    """Elements of an operator; of a matrix of scores those that are needed."""
    if record.scores is not None and record.elements == record.scores.elements:
        return round(record.elements * record.scores.visible)
    return record.elements


def _transposed(product: Product, forward: Record | None) -> Product:
    """A weight gradient as inputs x tokens x outputs, however PyTorch multiplies it."""
    if forward is None or forward.product is None or forward.product.volume != product.volume:
        return product
    one = forward.product
    return replace(one, rows=one.inner, inner=one.rows, parameters=0)


class _Names:
    """Names operators by module and work; a second one of a name gets a number."""

    def __init__(self, segment: Segment) -> None:
        self._prefix = segment.call.name if segment.call is not None else ""
        self._taken: dict[str, int] = {}

    def of(self, unit: Sequence[Record], whole: bool, differentiated: Operator | None) -> str:
        """The name of ``unit``, ``whole`` if it is all that a module does."""
        record = unit[0]
        if record.kind is OperatorKind.unknown:
            return record.operator  # counted by this name
        if record.backward and differentiated is not None:
            kind = record.kind.value
            name = f"{differentiated.name}.{kind if kind.endswith('gradient') else 'gradient'}"
        else:
            call = record.place.call
            path = call.name.removeprefix(self._prefix).strip(".")
            alone = path and (whole or (call.leaf and record.kind is OperatorKind.linear))
            name = path if alone else ".".join(filter(None, [path, _work(record)]))
        count = self._taken[name] = self._taken.get(name, 0) + 1
        return name if count == 1 else f"{name}_{count}"


def _work(record: Record) -> str:
    if record.makes_scores:
        return "scores"
    if record.kind is OperatorKind.attention and record.scores is not None:
        return "values"
    if record.kind is OperatorKind.linear:
        return "linear"
    return record.operator.rpartition(".")[2].strip("_")
