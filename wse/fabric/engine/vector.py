"""Vector operations: where their operands are, when they issue, and the steps of streams."""

from __future__ import annotations

from wse.fabric.engine.arithmetic import compute
from wse.fabric.engine.columns import CodeRow, Home, Main, Op, Pair, Pe, Queue, Router
from wse.fabric.engine.compiling import inlined, wide
from wse.fabric.engine.memory import issue_memory
from wse.fabric.engine.numbers import LOW_WORD, cell_of, wire_of
from wse.fabric.engine.queues import CONTROL_BIT, READY_SHIFT, fail, head, pop, push, queue_of
from wse.fabric.engine.state import (
    NEVER,
    NO_CYCLE,
    PACE,
    RECEIVED,
    SENT,
    STREAMS,
    WHERE,
    Error,
    Setting,
    State,
    Total,
)
from wse.fabric.engine.wheel import schedule
from wse.fabric.tables import OperandColumn, OperandKind, VectorColumn

MAIN_THREAD = 8


@inlined
def number(f: State, pe: int, value: int, register: int) -> int:
    """A number of the program: ``value``, plus an integer register if ``register`` is not -1."""
    if register < 0:
        return value
    return value + f.integers[f.homes[pe, Home.REGISTERS] + register]


@inlined
def record(f: State, pe: int, row: int, begin: int, end: int) -> None:
    """Keep an event for the timeline, as long as there is room."""
    count = f.numbers[Total.EVENTS]
    if count < f.numbers[Setting.EVENTS]:
        f.events[count, 0], f.events[count, 1] = pe, row
        f.events[count, 2], f.events[count, 3] = begin, end
    f.numbers[Total.EVENTS] = count + 1


@inlined
def _outside(f: State, vector: int, operand: int, first: int, stride: int, count: int) -> bool:
    """Whether a memory vector of ``count`` elements, in all its rows, leaves its array."""
    columns = f.operands[vector, operand]
    low, high = first, first
    by_row = columns[OperandColumn.ROW_STRIDE] * (f.vectors[vector, VectorColumn.ROWS] - 1)
    by_plane = columns[OperandColumn.PLANE_STRIDE] * (f.vectors[vector, VectorColumn.PLANES] - 1)
    for span in (stride * (count - 1), by_row, by_plane):
        low, high = low + min(span, 0), high + max(span, 0)
    return low < columns[OperandColumn.FIRST] or high >= columns[OperandColumn.END]


@inlined
def _locate(f: State, pe: int, vector: int, count: int) -> bool:
    """Write each operand's first cell and stride into ``where``; whether all are in range."""
    for operand in range(4):
        columns = f.operands[vector, operand]
        kind, index, stride = columns[OperandColumn.KIND], columns[OperandColumn.X], 0
        if kind == OperandKind.MEMORY:
            index = number(
                f, pe, columns[OperandColumn.OFFSET_VALUE], columns[OperandColumn.OFFSET_REGISTER]
            )
            stride = number(
                f, pe, columns[OperandColumn.STRIDE_VALUE], columns[OperandColumn.STRIDE_REGISTER]
            )
            if count > 0 and _outside(f, vector, operand, index, stride, count):
                return False
            index += f.homes[pe, Home.MEMORY]
        elif kind == OperandKind.REGISTER:
            index += f.homes[pe, Home.REGISTERS]
        elif kind != OperandKind.CONSTANT:
            index, stride = f.numbers[Setting.SCRATCH] + 2 * operand, 1
        f.numbers[WHERE + operand], f.numbers[WHERE + 4 + operand] = index, stride
    return True


@inlined
def _issue_stream(f: State, pe: int, vector: int, slot: int, count: int, begin: int) -> None:
    """An operation with streams occupies its thread and its queues."""
    f.pes[pe, Pe.INPUT_USED] |= f.vectors[vector, RECEIVED]
    f.pes[pe, Pe.OUTPUT_USED] |= f.vectors[vector, SENT]
    f.pes[pe, Pe.GOING] |= 1 << (slot - f.homes[pe, Home.OPS])
    op = f.ops[slot]
    op[Op.VECTOR], op[Op.ROW], op[Op.BEGIN] = vector, f.pes[pe, Pe.ROW], begin
    op[Op.DONE], op[Op.LENGTH], op[Op.NEXT], op[Op.SLACK] = 0, count, begin, 0
    op[Op.END] = NO_CYCLE if count > 0 else begin
    for operand in range(4):
        op[Op.INDEX + operand] = f.numbers[WHERE + operand]
        op[Op.STRIDE + operand] = f.numbers[WHERE + 4 + operand]
        if (f.vectors[vector, STREAMS] >> operand) & 1 != 0:
            colour = f.operands[vector, operand, OperandColumn.X]
            kind = Pair.OUTPUT if operand == 0 else Pair.INPUT
            op[Op.STRIDE + operand] = queue_of(f, pe, colour, kind)
    if f.vectors[vector, VectorColumn.THREAD] < 0:
        f.pes[pe, Pe.MAIN] = Main.STREAM
    f.pes[pe, Pe.DUE] = begin


@inlined
def issue(f: State, pe: int, vector: int, now: int) -> bool:
    """Issue an operation, unless something that it needs is in use."""
    streams = f.vectors[vector, VectorColumn.PER_WAVELET] > 0
    slot = 0
    if streams:
        thread = f.vectors[vector, VectorColumn.THREAD]
        thread = MAIN_THREAD if thread < 0 else thread
        slot = f.homes[pe, Home.OPS] + f.codes[f.homes[pe, Home.CODE], CodeRow.SLOT + thread]
        inputs = f.pes[pe, Pe.INPUT_USED] & f.vectors[vector, RECEIVED]
        outputs = f.pes[pe, Pe.OUTPUT_USED] & f.vectors[vector, SENT]
        if f.ops[slot, Op.VECTOR] >= 0 or inputs != 0 or outputs != 0:
            return False
    count = number(
        f,
        pe,
        f.vectors[vector, VectorColumn.LENGTH_VALUE],
        f.vectors[vector, VectorColumn.LENGTH_REGISTER],
    )
    count = max(count, 0)
    if not _locate(f, pe, vector, count):
        fail(f, now, pe, Error.RANGE, f.pes[pe, Pe.ROW])
        f.pes[pe, Pe.MAIN] = Main.HALTED
        return True
    setup = f.vectors[vector, VectorColumn.LOADS] * f.numbers[Setting.LOAD]
    setup += f.numbers[Setting.START]
    if streams:
        _issue_stream(f, pe, vector, slot, count, now + setup)
    else:
        issue_memory(f, pe, vector, count, now + setup)
        f.pes[pe, Pe.EVENT] = f.numbers[Total.EVENTS]
        record(f, pe, f.pes[pe, Pe.ROW], now + setup, f.pes[pe, Pe.MEMORY_END])
    return True


@inlined
def earliest_step(f: State, pe: int, slot: int, cycle: int) -> int:
    """The earliest cycle from ``cycle`` on in which an operation can make a step.

    NEVER if it waits for a wavelet or for room, which will wake the PE.
    """
    op = f.ops[slot]
    at, streams = max(cycle, op[Op.NEXT]), f.vectors[op[Op.VECTOR], STREAMS]
    if streams & 1 != 0:
        queue = wide(op[Op.STRIDE])
        if f.queues[queue, Queue.COUNT] >= f.numbers[Setting.OUTPUT_WORDS]:
            f.pes[pe, Pe.WAITS_FOR_ROOM] = 1
            return NEVER
    for operand in range(1, 4):
        if (streams >> operand) & 1 != 0:
            queue = wide(op[Op.STRIDE + operand])
            if f.queues[queue, Queue.COUNT] == 0 or head(f, queue) & CONTROL_BIT != 0:
                return NEVER
            at = max(at, head(f, queue) >> READY_SHIFT)
    return at


@inlined
def take(f: State, pe: int, queue: int, cycle: int) -> int:
    """Take the head of an input queue: its payload."""
    payload = head(f, queue) & LOW_WORD
    pop(f, queue)
    if f.queues[queue, Queue.WAITED] != 0:
        f.queues[queue, Queue.WAITED] = 0
        schedule(f, f.numbers[Setting.PES] + pe, cycle + 1)
    return payload


@inlined
def _receive(
    f: State, pe: int, vector: int, operand: int, queue: int, elements: int, cycle: int
) -> None:
    """Put the elements of the next wavelet into the operand's scratch."""
    payload, dtype = take(f, pe, queue, cycle), f.operands[vector, operand, OperandColumn.DTYPE]
    at = f.numbers[Setting.SCRATCH] + 2 * operand
    f.integers[at] = cell_of(payload, dtype)
    if elements == 2:
        f.integers[at + 1] = cell_of(payload >> 16, dtype)


@inlined
def _send(f: State, pe: int, vector: int, queue: int, elements: int, cycle: int) -> None:
    """Put the elements in scratch into the output queue, as one wavelet."""
    dtype = f.operands[vector, 0, OperandColumn.DTYPE]
    scratch = f.numbers[Setting.SCRATCH]
    wavelet = wire_of(f.integers[scratch], dtype)
    if elements == 2:
        wavelet |= wire_of(f.integers[scratch + 1], dtype) << 16
    if f.vectors[vector, VectorColumn.CONTROL] != 0:
        wavelet |= CONTROL_BIT
    ready = cycle + 1 + f.numbers[Setting.RAMP] - f.numbers[Setting.HOP]
    if f.queues[queue, Queue.COUNT] == 0:
        f.routers[pe, Router.OUTPUT_FILLED] |= 1 << f.queues[queue, Queue.COLOUR]
        # The router has decided for this cycle already; it looks in the next one at the earliest.
        schedule(f, f.numbers[Setting.PES] + pe, max(ready, cycle + 1))
    push(f, queue, wavelet, ready)
    f.numbers[Total.CYCLES] = max(f.numbers[Total.CYCLES], ready)


@inlined
def step(f: State, pe: int, slot: int, cycle: int) -> None:
    """One wavelet of each stream: take, compute, send."""
    op = f.ops[slot]
    vector = op[Op.VECTOR]
    streams = f.vectors[vector, STREAMS]
    elements = min(f.vectors[vector, VectorColumn.PER_WAVELET], op[Op.LENGTH] - op[Op.DONE])
    for operand in range(4):
        index, stride = op[Op.INDEX + operand], op[Op.STRIDE + operand]
        if (streams >> operand) & 1 == 0:
            op[Op.INDEX + operand] = index + elements * stride
        elif operand > 0:
            _receive(f, pe, vector, operand, wide(stride), elements, cycle)
        if (streams >> operand) & 1 != 0:
            stride = 1
        f.numbers[WHERE + operand], f.numbers[WHERE + 4 + operand] = index, stride
    compute(f, vector, elements)
    if streams & 1 != 0:
        _send(f, pe, vector, wide(op[Op.STRIDE]), elements, cycle)
    op[Op.DONE] += elements
    # A late step loses what it is late by, down to the last fraction of a cycle.
    pause = f.vectors[vector, PACE] - (op[Op.SLACK] if op[Op.NEXT] == cycle else 999)
    cycles = (pause + 999) // 1000
    op[Op.NEXT], op[Op.SLACK] = cycle + cycles, 1000 * cycles - pause
    if op[Op.DONE] == op[Op.LENGTH]:
        op[Op.END] = cycle + 1
    f.pes[pe, Pe.BUSY] += 1
