"""Finds the layers of a model: what comes before its blocks, the blocks, and what comes after.

Blocks are the modules that a model calls one after the other and that attend: those of the
outermost ``nn.ModuleList`` or ``nn.Sequential`` whose calls chain, or where there is none,
submodules of one class.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby, pairwise

from torch import nn

from pipeline.capture.step import Call, Record
from wse.errors import PlanError
from wse.graph import LayerKind


@dataclass(frozen=True)
class Segment:
    """One layer: what a forward pass runs from tick ``start`` to the next; a block has a call."""

    name: str
    kind: LayerKind
    start: int
    call: Call | None = None


def find_segments(
    name: str, module: nn.Module, calls: Sequence[Call], records: Sequence[Record]
) -> list[Segment]:
    """Cut the forward pass of ``module`` into layers, in their order.

    Raises :class:`PlanError` if there is no attention, or no run of blocks that holds it.
    """
    attending = [
        record.place.tick
        for record in records
        if record.makes_scores and record.scores is not None and record.scores.normalized
    ]
    if not attending:
        raise PlanError(
            f"{name}: no attention was found (a softmax of products of two activations); "
            "only transformers can be planned"
        )
    lists = _runs(module, calls, attending, (nn.ModuleList, nn.Sequential))
    runs = (
        [run for run in lists if len(run) > 1]
        or _runs(module, calls, attending, (nn.Module,))
        or lists
    )
    if not runs:
        raise PlanError(
            f"{name}: no layers were found; its blocks must be the modules of an nn.ModuleList or "
            "nn.Sequential, or submodules of one class, called one after the other"
        )
    return list(_segments(sorted(runs, key=lambda run: run[0].start)))


def _segments(runs: list[list[Call]]) -> Iterator[Segment]:
    """What is before the first run and between two is an embedding; after the last the head."""
    end = 0
    for number, run in enumerate(runs, start=1):
        name = "embedding" if number == 1 else f"embedding_{number}"
        yield Segment(name, LayerKind.embedding, end)
        for call in run:
            # What a model does between two blocks belongs to the first.
            yield Segment(call.name, LayerKind.block, call.start, call)
        end = run[-1].stop + 1
    yield Segment("head", LayerKind.head, end)


def _runs(
    module: nn.Module,
    calls: Sequence[Call],
    attending: Sequence[int],
    parents: tuple[type[nn.Module], ...],
) -> list[list[Call]]:
    """The outermost runs of calls of the children of ``parents`` that chain and attend."""
    found: list[list[Call]] = []
    for name, parent in module.named_modules():
        inside = any(_within(name, call.name) for run in found for call in run)
        if inside or not isinstance(parent, parents):
            continue
        for run in _rows(name, parent, calls):
            attends = any(call.start < tick < call.stop for call in run for tick in attending)
            if attends and _chained(run):
                found.append(run)
    return found


def _rows(name: str, parent: nn.Module, calls: Sequence[Call]) -> Iterator[list[Call]]:
    """The calls of a module's children: a list's together, others by neighbours of one class."""
    row: list[Call] = []
    for child, module in parent.named_children():
        path = f"{name}.{child}" if name else child
        own = [call for call in calls if call.name == path]
        row += own or _spans(path, module, calls)
    row.sort(key=lambda call: call.start)
    if isinstance(parent, nn.ModuleList):
        yield row
        return
    for _, alike in groupby(row, key=lambda call: type(call.module)):
        run = list(alike)
        if len(run) > 1:
            yield run


def _spans(name: str, module: nn.Module, calls: Sequence[Call]) -> list[Call]:
    """A list is never called: it runs from its first module's call to what is called after it."""
    inside = [call for call in calls if _within(call.name, name)]
    if not inside or not isinstance(module, nn.ModuleList):
        return []
    last = max(inside, key=lambda call: call.stop)
    stop, outputs = last.stop, last.outputs
    following = next((call for call in calls if call.start > stop), None)
    if following is not None:
        stop, outputs = following.start - 1, following.inputs
    return [replace(inside[0], name=name, module=module, stop=stop, outputs=outputs)]


def _within(name: str, outer: str) -> bool:
    return name == outer or name.startswith(f"{outer}.")


def _chained(run: Sequence[Call]) -> bool:
    """Whether each call ends before the next, which takes what was made since the one began."""
    return all(
        one.stop < other.start and any(value.born > one.start for value in other.inputs)
        for one, other in pairwise(run)
    )
