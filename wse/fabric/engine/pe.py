"""A PE in one cycle: completions, the main thread, the vector unit."""

from __future__ import annotations

import numpy as np

from wse.fabric.engine.compiling import compiled, inlined
from wse.fabric.engine.numbers import cell_of
from wse.fabric.engine.queues import CONTROL_BIT, READY_SHIFT, happened, head, queue_of
from wse.fabric.engine.state import (
    NEVER,
    NO_CYCLE,
    RECEIVED,
    SENT,
    CodeRow,
    Home,
    Main,
    Node,
    Op,
    Pair,
    Pe,
    Queue,
    Setting,
    State,
    Total,
)
from wse.fabric.engine.vector import earliest_step, issue, number, record, step, take
from wse.fabric.engine.wheel import schedule
from wse.fabric.tables import (
    Arithmetic,
    Comparison,
    InstructionColumn,
    Opcode,
    TaskColumn,
    TaskKind,
    VectorColumn,
)


@inlined
def _set_flag(f: State, pe: int, flag: int, task: int, up: bool) -> None:
    if task >= 0:
        bit = 1 << task
        f.homes[pe, flag] = f.homes[pe, flag] | bit if up else f.homes[pe, flag] & ~bit


@inlined
def _complete(f: State, pe: int, slot: int, cycle: int) -> None:
    """An operation with streams is over: its thread and queues are free, its tasks may run."""
    op = f.ops[slot]
    vector = op[Op.VECTOR]
    op[Op.VECTOR] = -1
    f.pes[pe, Pe.INPUT_USED] &= ~f.vectors[vector, RECEIVED]
    f.pes[pe, Pe.OUTPUT_USED] &= ~f.vectors[vector, SENT]
    record(f, pe, op[Op.ROW], op[Op.BEGIN], cycle)
    end = cycle
    if f.vectors[vector, VectorColumn.THREAD] < 0:
        end += f.numbers[Setting.FINISH]
        f.pes[pe, Pe.BUSY] += f.numbers[Setting.FINISH]
        f.pes[pe, Pe.MAIN], f.pes[pe, Pe.DUE] = Main.DUE, end
    f.numbers[Total.CYCLES] = max(f.numbers[Total.CYCLES], end)
    f.numbers[Total.CHANGED] = max(f.numbers[Total.CHANGED], cycle)
    _set_flag(f, pe, Home.ACTIVATED, f.vectors[vector, VectorColumn.ACTIVATE], True)
    _set_flag(f, pe, Home.BLOCKED, f.vectors[vector, VectorColumn.UNBLOCK], False)


@inlined
def _complete_all(f: State, pe: int, cycle: int) -> int:
    """Complete what ends now; how many operations go on."""
    going = 0
    for slot in range(f.homes[pe, Home.OPS], f.homes[pe, Home.OPS_END]):
        if f.ops[slot, Op.VECTOR] < 0:
            continue
        if f.ops[slot, Op.END] == cycle:
            _complete(f, pe, slot, cycle)
            if f.pes[pe, Pe.MAIN] == Main.WAITING:
                f.pes[pe, Pe.MAIN], f.pes[pe, Pe.DUE] = Main.DUE, cycle
        else:
            going += 1
    return going


@inlined
def _arrived(f: State, pe: int, task: int, kind: int) -> int:
    """When the wavelet that lets a data or control task run is there; NEVER if none is coming."""
    colour = f.tasks[task, TaskColumn.COLOUR]
    queue = queue_of(f, pe, colour, Pair.INPUT)
    if f.queues[queue, Queue.COUNT] == 0 or (f.pes[pe, Pe.INPUT_USED] >> colour) & 1 != 0:
        return NEVER
    entry = head(f, queue)
    if (entry & CONTROL_BIT != 0) != (kind == TaskKind.CONTROL):
        return NEVER
    return entry >> READY_SHIFT


@inlined
def _can_run(f: State, pe: int, first: int, task: int) -> int:
    """The cycle from which on a task of the PE's code can run; NEVER, or 0 for at once."""
    if (f.homes[pe, Home.BLOCKED] >> task) & 1 != 0:
        return NEVER
    kind = f.tasks[first + task, TaskColumn.KIND]
    if kind == TaskKind.LOCAL:
        return 0 if (f.homes[pe, Home.ACTIVATED] >> task) & 1 != 0 else NEVER
    return _arrived(f, pe, first + task, kind)


@inlined
def _start_task(f: State, pe: int, task: int, cycle: int) -> None:
    """A local task is no longer activated; another takes its wavelet."""
    first = f.codes[f.homes[pe, Home.CODE], CodeRow.FIRST_TASK]
    row = f.tasks[first + task]
    if row[TaskColumn.KIND] == TaskKind.LOCAL:
        _set_flag(f, pe, Home.ACTIVATED, task, False)
    else:
        payload = take(f, pe, row[TaskColumn.COLOUR], cycle)
        if row[TaskColumn.REGISTER] >= 0:
            at = f.homes[pe, Home.REGISTERS] + row[TaskColumn.REGISTER]
            f.integers[at] = cell_of(payload, row[TaskColumn.REGISTER_DTYPE])
    start = f.numbers[Setting.TASK_START]
    f.pes[pe, Pe.LAST_TASK], f.pes[pe, Pe.ROW] = task, row[TaskColumn.ENTRY]
    f.pes[pe, Pe.MAIN], f.pes[pe, Pe.DUE] = Main.DUE, cycle + start
    f.pes[pe, Pe.BUSY] += start
    f.numbers[Total.CYCLES] = max(f.numbers[Total.CYCLES], cycle + start)


@inlined
def _select_task(f: State, pe: int, cycle: int) -> bool:
    """Start the next task that can run; whether there was one."""
    first, count = (
        f.codes[f.homes[pe, Home.CODE], CodeRow.FIRST_TASK],
        f.codes[f.homes[pe, Home.CODE], CodeRow.TASKS],
    )
    last = f.pes[pe, Pe.LAST_TASK]
    for ahead in range(1, count + 1):
        task = (last + ahead) % count
        if _can_run(f, pe, first, task) <= cycle:
            happened(f, cycle)
            _start_task(f, pe, task, cycle)
            return True
    return False


@inlined
def _calculate(arithmetic: int, a: int, b: int) -> int:
    if arithmetic == Arithmetic.ADD:
        return a + b
    if arithmetic == Arithmetic.SUBTRACT:
        return a - b
    if arithmetic == Arithmetic.MULTIPLY:
        return a * b
    return a - b * (a // b) if b != 0 else 0


@inlined
def _holds(comparison: int, a: int, b: int) -> bool:
    if comparison == Comparison.LESS:
        return a < b
    if comparison == Comparison.LESS_EQUAL:
        return a <= b
    if comparison == Comparison.EQUAL:
        return a == b
    if comparison == Comparison.NOT_EQUAL:
        return a != b
    if comparison == Comparison.GREATER_EQUAL:
        return a >= b
    return a > b


@inlined
def _scalar(f: State, pe: int, row: int) -> int:
    """Execute an instruction that is no END and no VECTOR: the cycles that it takes."""
    columns = f.instructions[row]
    opcode, x = columns[InstructionColumn.OPCODE], columns[InstructionColumn.X]
    a = number(f, pe, columns[InstructionColumn.A_VALUE], columns[InstructionColumn.A_REGISTER])
    b = number(f, pe, columns[InstructionColumn.B_VALUE], columns[InstructionColumn.B_REGISTER])
    f.pes[pe, Pe.ROW] = row + 1
    registers = f.homes[pe, Home.REGISTERS]
    if opcode == Opcode.WORK:
        return max(a, 0)
    if opcode == Opcode.LOOP:
        f.integers[registers + x] += 1
        if f.integers[registers + x] < a:
            f.pes[pe, Pe.ROW] = columns[InstructionColumn.TARGET]
        return f.numbers[Setting.LOOP]
    if opcode == Opcode.BRANCH:
        if not _holds(columns[InstructionColumn.Y], a, b):
            return f.numbers[Setting.NOT_TAKEN]
        f.pes[pe, Pe.ROW] = columns[InstructionColumn.TARGET]
        return f.numbers[Setting.TAKEN]
    if opcode == Opcode.SET:
        f.integers[registers + x] = _calculate(columns[InstructionColumn.Y], a, b)
    elif opcode == Opcode.ACTIVATE:
        _set_flag(f, pe, Home.ACTIVATED, x, True)
    else:
        _set_flag(f, pe, Home.BLOCKED, x, opcode == Opcode.BLOCK)
    return f.numbers[Setting.SCALAR]


@inlined
def _run_main(f: State, pe: int, cycle: int, going: int) -> int:
    """Phase B2; the number of operations with streams after it.

    As long as no such operation is in progress nothing else can touch this PE's memory, so
    that the main thread runs ahead of the cycle until it needs the fabric or its task ends.
    """
    pes = f.pes[pe]
    while True:
        if pes[Pe.MAIN] == Main.IDLE and not _select_task(f, pe, cycle):
            return going
        now, row = pes[Pe.DUE], pes[Pe.ROW]
        ahead = now > cycle
        if ahead and now >= f.numbers[Setting.LIMIT]:
            return going
        if pes[Pe.MAIN] != Main.DUE or (ahead and going > 0):
            return going
        opcode = f.instructions[row, InstructionColumn.OPCODE]
        if opcode == Opcode.END:
            if ahead:
                return going
            pes[Pe.MAIN] = Main.IDLE
            happened(f, now)
            continue
        if opcode == Opcode.VECTOR:
            vector = f.instructions[row, InstructionColumn.X]
            if not issue(f, pe, vector, now):
                pes[Pe.MAIN] = Main.WAITING
                return going
            pes[Pe.ROW] = row + 1
            going += f.vectors[vector, VectorColumn.PER_WAVELET] > 0
        else:
            cycles = _scalar(f, pe, row)
            pes[Pe.DUE] = now + cycles
            pes[Pe.BUSY] += cycles
            record(f, pe, row, now, now + cycles)
        happened(f, now)
        f.numbers[Total.CYCLES] = max(f.numbers[Total.CYCLES], pes[Pe.DUE])


@inlined
def _make_steps(f: State, pe: int, cycle: int) -> None:
    """Phase B3: the vector unit serves the threads in turn."""
    first, steps = f.homes[pe, Home.OPS], 0
    count, last = f.homes[pe, Home.OPS_END] - first, f.pes[pe, Pe.LAST_THREAD]
    most = f.numbers[Setting.STEPS]
    for ahead in range(1, count + 1):
        thread = (last + ahead) % count
        slot = first + thread
        if f.ops[slot, Op.VECTOR] < 0 or f.ops[slot, Op.END] != NO_CYCLE:
            continue
        if steps < most and earliest_step(f, pe, slot, cycle) <= cycle:
            step(f, pe, slot, cycle)
            f.pes[pe, Pe.LAST_THREAD] = thread
            happened(f, cycle)
            steps += 1
    running = f.pes[pe, Pe.MEMORY_BEGIN] <= cycle < f.pes[pe, Pe.MEMORY_END]
    if steps == most and running:
        f.pes[pe, Pe.MEMORY_END] += 1
        f.pes[pe, Pe.DUE] += 1
        f.numbers[Total.CYCLES] = max(f.numbers[Total.CYCLES], f.pes[pe, Pe.DUE])


@inlined
def _next_visit(f: State, pe: int, cycle: int) -> int:
    """When this PE has something to do of itself."""
    at = NEVER
    if f.pes[pe, Pe.MAIN] == Main.DUE:
        at = f.pes[pe, Pe.DUE]
    elif f.pes[pe, Pe.MAIN] == Main.IDLE:
        first, count = (
            f.codes[f.homes[pe, Home.CODE], CodeRow.FIRST_TASK],
            f.codes[f.homes[pe, Home.CODE], CodeRow.TASKS],
        )
        for task in range(count):
            if f.tasks[first + task, TaskColumn.KIND] != TaskKind.LOCAL:
                at = min(at, _can_run(f, pe, first, task))
    f.pes[pe, Pe.WAITS_FOR_ROOM] = 0
    for slot in range(f.homes[pe, Home.OPS], f.homes[pe, Home.OPS_END]):
        if f.ops[slot, Op.VECTOR] >= 0:
            end = f.ops[slot, Op.END]
            at = min(at, end if end != NO_CYCLE else earliest_step(f, pe, slot, cycle + 1))
    return at


@compiled
def act(f: State, first: int, end: int, cycle: int) -> None:
    """Phase B: due PEs act, each on nothing but its own."""
    for place in range(first, end):
        pe = np.int64(f.nodes[place, Node.DUE])
        going = _complete_all(f, pe, cycle)
        going = _run_main(f, pe, cycle, going)
        if going > 0:
            _make_steps(f, pe, cycle)
        following = _next_visit(f, pe, cycle)
        if following != NEVER:
            schedule(f, pe, following)
