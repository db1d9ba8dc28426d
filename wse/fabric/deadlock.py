"""What is left to do when nothing moves any more, in words."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from wse.fabric.assembled import Assembled
from wse.fabric.engine.columns import Home, Main, Op, Pair, Pe, Queue
from wse.fabric.engine.state import NO_CYCLE, State

MAXIMUM_LINES = 8
WHERE = ("the router", "the input queue", "the output queue")


def what_waits(program: Assembled, state: State) -> list[str]:
    """Operations, tasks and wavelets that are left, a phrase each; the list is cut short."""
    found = list(islice(_all(program, state), MAXIMUM_LINES + 1))
    if len(found) > MAXIMUM_LINES:
        found[-1] = "and more"
    return found


def where_it_waits(program: Assembled, state: State) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Operations and tasks that wait, and wavelets that are left, at each PE: [height, width]."""
    shape = (program.height, program.width)
    pes = program.width * program.height
    slots = np.flatnonzero(state.ops[:, Op.VECTOR] >= 0)
    waiting = np.bincount(
        np.searchsorted(state.homes[:, Home.OPS_END], slots, side="right"), minlength=pes
    )
    waiting = waiting + (state.pes[:, Pe.MAIN] == Main.WAITING)
    waiting += np.bitwise_count(state.homes[:, Home.ACTIVATED].astype(np.uint64))
    wavelets = np.zeros(pes, np.int64)
    np.add.at(wavelets, state.queues[:, Queue.PE], state.queues[:, Queue.COUNT])
    return waiting.reshape(shape), wavelets.reshape(shape)


def _all(program: Assembled, state: State) -> Iterator[str]:
    yield from _operations(program, state)
    yield from _tasks(program, state)
    yield from _wavelets(program, state)


def _pe(program: Assembled, pe: int) -> str:
    return f"PE ({pe % program.width}, {pe // program.width})"


def _operations(program: Assembled, state: State) -> Iterator[str]:
    for slot in np.flatnonzero(state.ops[:, Op.VECTOR] >= 0):
        pe = int(np.searchsorted(state.homes[:, Home.OPS_END], slot, side="right"))
        done, length = state.ops[slot, Op.DONE], state.ops[slot, Op.LENGTH]
        line = program.lines[state.ops[slot, Op.ROW]]
        yield f"{_pe(program, pe)} waits in {line!r} after {done} of {length} elements"
    for waiting in np.flatnonzero(state.pes[:, Pe.MAIN] == Main.WAITING):
        pe = int(waiting)
        line = program.lines[state.pes[pe, Pe.ROW]]
        yield f"{_pe(program, pe)} waits for a thread or queue in use before {line!r}"


def _tasks(program: Assembled, state: State) -> Iterator[str]:
    for waiting in np.flatnonzero(state.homes[:, Home.ACTIVATED]):
        pe = int(waiting)
        names = program.codes[program.code_of[pe]].task_names
        held = int(state.homes[pe, Home.ACTIVATED])
        tasks = [name for number, name in enumerate(names) if held >> number & 1]
        yield f"{_pe(program, pe)} has activated {', '.join(tasks)}, which cannot run"


def _wavelets(program: Assembled, state: State) -> Iterator[str]:
    for queue in np.flatnonzero(state.queues[:, Queue.COUNT]):
        row = state.queues[queue]
        kind = int(np.nonzero(state.pairs[:, : Pair.ROUTE] == queue)[1][0])
        colour = program.colours[row[Queue.COLOUR]]
        count, pe = row[Queue.COUNT], _pe(program, int(row[Queue.PE]))
        last = (
            ""
            if row[Queue.LAST_PUSH] == NO_CYCLE
            else f", the last from cycle {row[Queue.LAST_PUSH]}"
        )
        yield f"{WHERE[kind]} of {pe} holds {count} wavelets of colour {colour}{last}"
