"""A PE in one cycle: completions, the main thread, the vector unit."""

from __future__ import annotations

from wse.fabric.engine.columns import CodeRow, Home, Main, Node, Op, Pe
from wse.fabric.engine.compiling import compiled, inlined, wide
from wse.fabric.engine.queues import (
    happened,
)
from wse.fabric.engine.scalar import execute_scalar
from wse.fabric.engine.state import NEVER, NO_CYCLE, RECEIVED, SENT, Setting, State, Total
from wse.fabric.engine.tasks import can_run, listens, select_task, set_flag
from wse.fabric.engine.vector import earliest_step, issue, record, step
from wse.fabric.engine.wheel import schedule
from wse.fabric.tables import InstructionColumn, Opcode, TaskColumn, TaskKind, VectorColumn


@inlined
def _complete(f: State, pe: int, slot: int, cycle: int) -> None:
    """An operation with streams is over: its thread and queues are free, its tasks may run."""
    op = f.ops[slot]
    vector = op[Op.VECTOR]
    op[Op.VECTOR] = -1
    f.pes[pe, Pe.GOING] &= ~(1 << (slot - f.homes[pe, Home.OPS]))
    f.pes[pe, Pe.INPUT_USED] &= ~f.vectors[vector, RECEIVED]
    f.pes[pe, Pe.OUTPUT_USED] &= ~f.vectors[vector, SENT]
    record(f, pe, op[Op.ROW], op[Op.BEGIN], cycle)
    end = cycle
    if f.vectors[vector, VectorColumn.THREAD] < 0:
        end += f.numbers[Setting.FINISH]
        f.pes[pe, Pe.MAIN], f.pes[pe, Pe.DUE] = Main.DUE, end
    f.numbers[Total.CYCLES] = max(f.numbers[Total.CYCLES], end)
    f.numbers[Total.CHANGED] = max(f.numbers[Total.CHANGED], cycle)
    set_flag(f, pe, Home.ACTIVATED, f.vectors[vector, VectorColumn.ACTIVATE], True)
    set_flag(f, pe, Home.BLOCKED, f.vectors[vector, VectorColumn.UNBLOCK], False)


@inlined
def _complete_all(f: State, pe: int, cycle: int) -> None:
    """Complete what ends now."""
    going, slot = wide(f.pes[pe, Pe.GOING]), f.homes[pe, Home.OPS]
    while going != 0:
        if going & 1 != 0 and f.ops[slot, Op.END] == cycle:
            _complete(f, pe, slot, cycle)
            if f.pes[pe, Pe.MAIN] == Main.WAITING:
                f.pes[pe, Pe.MAIN], f.pes[pe, Pe.DUE] = Main.DUE, cycle
        going, slot = going >> 1, slot + 1


@inlined
def _run_main(f: State, pe: int, cycle: int) -> None:
    """Phase B2.

    As long as no operation with streams is in progress nothing else can touch this PE's memory, so
    that the main thread runs ahead of the cycle until it needs the fabric or its task ends.
    """
    pes = f.pes[pe]
    while True:
        if pes[Pe.MAIN] == Main.IDLE and not select_task(f, pe, cycle):
            return
        now, row = pes[Pe.DUE], pes[Pe.ROW]
        ahead = now > cycle
        if ahead and (pes[Pe.GOING] != 0 or now >= f.numbers[Setting.LIMIT]):
            return
        if pes[Pe.MAIN] != Main.DUE:
            return
        opcode = f.instructions[row, InstructionColumn.OPCODE]
        if opcode == Opcode.END:
            if ahead:
                return
            pes[Pe.MAIN] = Main.IDLE
            happened(f, now)
            continue
        if opcode == Opcode.VECTOR:
            vector = f.instructions[row, InstructionColumn.X]
            if not issue(f, pe, vector, now):
                pes[Pe.MAIN] = Main.WAITING
                return
            pes[Pe.ROW] = row + 1
        else:
            cycles = execute_scalar(f, pe, row)
            pes[Pe.DUE] = now + cycles
            record(f, pe, row, now, now + cycles)
        happened(f, now)
        f.numbers[Total.CYCLES] = max(f.numbers[Total.CYCLES], pes[Pe.DUE])


@inlined
def _make_steps(f: State, pe: int, cycle: int) -> None:
    """Phase B3: the vector unit serves the threads in turn."""
    first, steps = f.homes[pe, Home.OPS], 0
    count, last = f.homes[pe, Home.OPS_END] - first, f.pes[pe, Pe.LAST_THREAD]
    most = f.numbers[Setting.STEPS]
    going = wide(f.pes[pe, Pe.GOING])
    for ahead in range(1, count + 1):
        thread = last + ahead if last + ahead < count else last + ahead - count
        slot = first + thread
        if (going >> thread) & 1 == 0 or f.ops[slot, Op.END] != NO_CYCLE:
            continue
        if earliest_step(f, pe, slot, cycle) <= cycle:
            step(f, pe, slot, cycle)
            f.pes[pe, Pe.LAST_THREAD] = thread
            happened(f, cycle)
            steps += 1
            if steps == most:
                break
    running = f.pes[pe, Pe.MEMORY_BEGIN] <= cycle < f.pes[pe, Pe.MEMORY_END]
    if steps == most and running:
        f.pes[pe, Pe.MEMORY_END] += 1
        f.pes[pe, Pe.DUE] += 1
        if f.pes[pe, Pe.EVENT] < f.numbers[Setting.EVENTS]:
            f.events[f.pes[pe, Pe.EVENT], 3] += 1
        f.numbers[Total.CYCLES] = max(f.numbers[Total.CYCLES], f.pes[pe, Pe.DUE])


@inlined
def _next_visit(f: State, pe: int, cycle: int) -> int:
    """When this PE has something to do of itself; whatever else is asked again in that cycle."""
    at = NEVER
    if f.pes[pe, Pe.MAIN] == Main.DUE:
        at = f.pes[pe, Pe.DUE]
    elif f.pes[pe, Pe.MAIN] == Main.IDLE and listens(f, pe):
        first, count = (
            f.codes[f.homes[pe, Home.CODE], CodeRow.FIRST_TASK],
            f.codes[f.homes[pe, Home.CODE], CodeRow.TASKS],
        )
        for task in range(count):
            if f.tasks[first + task, TaskColumn.KIND] != TaskKind.LOCAL:
                at = min(at, can_run(f, pe, first, task))
    f.pes[pe, Pe.WAITS_FOR_ROOM] = 0
    going, slot = wide(f.pes[pe, Pe.GOING]), f.homes[pe, Home.OPS]
    while going != 0 and at > cycle + 1:
        if going & 1 != 0:
            end = f.ops[slot, Op.END]
            at = min(at, end if end != NO_CYCLE else earliest_step(f, pe, slot, cycle + 1))
        going, slot = going >> 1, slot + 1
    return at


@compiled
def act(f: State, first: int, end: int, cycle: int) -> None:
    """Phase B: due PEs act, each on nothing but its own."""
    for place in range(first, end):
        pe = wide(f.nodes[place, Node.DUE])
        if f.pes[pe, Pe.GOING] != 0:
            _complete_all(f, pe, cycle)
        _run_main(f, pe, cycle)
        if f.pes[pe, Pe.GOING] != 0:
            _make_steps(f, pe, cycle)
        following = _next_visit(f, pe, cycle)
        if following != NEVER:
            schedule(f, pe, following)
