"""Assembles the graph of a step from what was recorded and where its layers are."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from pipeline.capture.layers import Segment
from pipeline.capture.naming import operators_of
from pipeline.capture.record import Recorder
from pipeline.capture.step import Record
from pipeline.capture.values import Value
from wse.graph import Graph, Layer, LayerKind


@dataclass(frozen=True)
class Model:
    """What is known of a model besides its step; ``parameters`` counts elements by name."""

    name: str
    family: str
    sequence_length: int
    input_elements: int
    parameters: Mapping[str, int]


def build(model: Model, recorder: Recorder, segments: Sequence[Segment]) -> Graph:
    """The graph of a recorded step, equal layers that follow each other as one."""
    starts = [segment.start for segment in segments]
    records: list[list[Record]] = [[] for _ in segments]
    for record in recorder.records:
        records[_at(starts, record.place.tick)].append(record)
    inputs = list(_inputs(segments))
    saved = _saved(recorder, segments, starts, inputs)
    counts = _parameters(model.parameters, recorder, segments, starts)
    layers = []
    for number, segment in enumerate(segments):
        forward, backward = operators_of(segment, records[number])
        source = inputs[number]
        received = model.input_elements if source is None else source.elements
        widest = (record.widest for record in records[number] if not record.backward)
        layers.append(
            Layer(
                segment.name,
                segment.kind,
                count=1,
                parameters=counts[number],
                input_elements=received,
                saved_elements=sum(value.elements for value in saved[number]),
                widest_elements=max([received, *widest]),
                forward=forward,
                backward=backward,
            )
        )
    hidden = next(one.call.input_shape[-1] for one in segments if one.call is not None)
    named = tuple(_named_apart(_merged(layers)))
    return Graph(model.name, model.family, model.sequence_length, hidden, named)


def _named_apart(layers: Iterable[Layer]) -> Iterator[Layer]:
    """Layers, those that run again under their name, as shared weights do, with a number."""
    seen: Counter[str] = Counter()
    for layer in layers:
        seen[layer.name] += 1
        times = seen[layer.name]
        yield layer if times == 1 else replace(layer, name=f"{layer.name}, run {times}")


def _at(starts: Sequence[int], tick: int) -> int:
    """Which segment a tick is in."""
    return max(0, bisect_right(starts, tick) - 1)


def _inputs(segments: Sequence[Segment]) -> Iterator[Value | None]:
    """What each layer receives: a block what it is called with, the others what was given last."""
    last: Value | None = None
    for segment in segments:
        if segment.call is None:
            yield last
        else:
            yield segment.call.inputs[0]
            last = segment.call.outputs[0]


def _saved(
    recorder: Recorder,
    segments: Sequence[Segment],
    starts: Sequence[int],
    inputs: Sequence[Value | None],
) -> list[set[Value]]:
    """What each layer keeps for its backward pass: its input, and what was made in it.

    What several layers keep of another, such as a table of rotations, is kept once, by that.
    """
    kept: list[set[Value]] = [set() for _ in segments]
    for tick, value in recorder.saved:
        if not value.weight:
            number = _at(starts, tick)
            kept[number if value is inputs[number] else _at(starts, value.born)].add(value)
    return kept


def _parameters(
    parameters: Mapping[str, int],
    recorder: Recorder,
    segments: Sequence[Segment],
    starts: Sequence[int],
) -> list[int]:
    """Parameters of each layer; one that several use counts where its first product is."""
    counts = [0] * len(segments)
    for name, elements in parameters.items():
        uses = recorder.uses.get(name, [])
        products = [tick for tick, in_product in uses if in_product]
        if uses:
            number = _at(starts, products[0] if products else uses[0][0])
        else:
            number = _home(name, segments)
        counts[number] += elements
    return counts


def _home(name: str, segments: Sequence[Segment]) -> int:
    """The layer of a parameter that no operator uses: its block, or the head."""
    for number, segment in enumerate(segments):
        if segment.call is not None and name.startswith(f"{segment.call.name}."):
            return number
    return len(segments) - 1


def _merged(layers: Sequence[Layer]) -> Iterator[Layer]:
    """Equal blocks that follow each other, as one with their count."""
    for _, alike in groupby(layers, key=lambda layer: replace(layer, name="")):
        run = list(alike)
        first, last = run[0], run[-1]
        name = first.name
        if first.kind is LayerKind.block and len(run) > 1:
            name = f"{first.name}-{last.name.rpartition('.')[2]}"
        yield replace(first, name=name, count=len(run))
