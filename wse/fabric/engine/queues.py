"""The one kind of queue: bounded, first in, first out, every wavelet with its ``ready`` cycle."""

from __future__ import annotations

from wse.fabric.engine.columns import CodeRow, Home, Queue
from wse.fabric.engine.compiling import inlined, wide
from wse.fabric.engine.state import Setting, State, Total

READY_SHIFT = 33
CONTROL_BIT = 1 << 32
WAVELET = (1 << 33) - 1


@inlined
def queue_of(f: State, pe: int, colour: int, kind: int) -> int:
    """The row of a PE's queue of a colour, or -1."""
    return wide(f.pairs[pe * f.numbers[Setting.COLOURS] + colour, kind])


@inlined
def head(f: State, queue: int) -> int:
    """The first entry of a queue that is not empty."""
    return f.entries[queue, f.queues[queue, Queue.HEAD]]


@inlined
def push(f: State, queue: int, wavelet: int, ready: int) -> None:
    """Add a wavelet (payload and control bit); the caller saw that there is room."""
    places = f.entries.shape[1]
    count = f.queues[queue, Queue.COUNT]
    f.entries[queue, (f.queues[queue, Queue.HEAD] + count) & (places - 1)] = (
        ready << READY_SHIFT
    ) | wavelet
    f.queues[queue, Queue.COUNT] = count + 1


@inlined
def pop(f: State, queue: int) -> int:
    """Remove the head; how many wavelets are left."""
    places = f.entries.shape[1]
    f.queues[queue, Queue.HEAD] = (f.queues[queue, Queue.HEAD] + 1) & (places - 1)
    f.queues[queue, Queue.COUNT] -= 1
    return f.queues[queue, Queue.COUNT]


@inlined
def lane_of(f: State, queue: int) -> int:
    """The lane that a router's queue is a stage of; below 0 if it is none."""
    return -2 - wide(f.queues[queue, Queue.COUNTER])


@inlined
def happened(f: State, cycle: int) -> None:
    """Something was selected, executed, stepped or moved in ``cycle``."""
    f.numbers[Total.LAST] = max(f.numbers[Total.LAST], cycle)


@inlined
def control_vanishes(f: State, pe: int, colour: int, wavelet: int) -> bool:
    """Whether a wavelet at the ramp is a control wavelet that no task of the code takes."""
    if wavelet & CONTROL_BIT == 0:
        return False
    return (f.codes[f.homes[pe, Home.CODE], CodeRow.CONTROLS] >> colour) & 1 == 0


@inlined
def fail(f: State, cycle: int, pe: int, kind: int, detail: int) -> None:
    """Record an error, if it is the first of the run: the earliest, of the lowest PE and colour."""
    at, lowest = f.numbers[Total.ERROR_CYCLE], f.numbers[Total.ERROR_PE]
    same = cycle == at and pe == lowest and kind == f.numbers[Total.ERROR_KIND]
    before = same and detail < f.numbers[Total.ERROR_DETAIL]
    if cycle < at or (cycle == at and pe < lowest) or before:
        f.numbers[Total.ERROR_CYCLE], f.numbers[Total.ERROR_PE] = cycle, pe
        f.numbers[Total.ERROR_KIND], f.numbers[Total.ERROR_DETAIL] = kind, detail
