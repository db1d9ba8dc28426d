"""Tasks of a PE: which can run, and what starting one does."""

from __future__ import annotations

from wse.fabric.engine.columns import CodeRow, Home, Main, Pair, Pe, Queue
from wse.fabric.engine.compiling import inlined
from wse.fabric.engine.numbers import cell_of
from wse.fabric.engine.queues import (
    CONTROL_BIT,
    READY_SHIFT,
    happened,
    head,
    queue_of,
)
from wse.fabric.engine.state import NEVER, Setting, State, Total
from wse.fabric.engine.vector import take
from wse.fabric.tables import TaskColumn, TaskKind


@inlined
def set_flag(f: State, pe: int, flag: int, task: int, up: bool) -> None:
    """Raise or lower a flag of a task; -1 is no task."""
    if task >= 0:
        bit = 1 << task
        f.homes[pe, flag] = f.homes[pe, flag] | bit if up else f.homes[pe, flag] & ~bit


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
def can_run(f: State, pe: int, first: int, task: int) -> int:
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
        set_flag(f, pe, Home.ACTIVATED, task, False)
    else:
        queue = queue_of(f, pe, row[TaskColumn.COLOUR], Pair.INPUT)
        payload = take(f, pe, queue, cycle)
        if row[TaskColumn.REGISTER] >= 0:
            at = f.homes[pe, Home.REGISTERS] + row[TaskColumn.REGISTER]
            f.integers[at] = cell_of(payload, row[TaskColumn.REGISTER_DTYPE])
    start = f.numbers[Setting.TASK_START]
    f.pes[pe, Pe.LAST_TASK], f.pes[pe, Pe.ROW] = task, row[TaskColumn.ENTRY]
    f.pes[pe, Pe.MAIN], f.pes[pe, Pe.DUE] = Main.DUE, cycle + start
    f.numbers[Total.CYCLES] = max(f.numbers[Total.CYCLES], cycle + start)


@inlined
def listens(f: State, pe: int) -> bool:
    """Whether a wavelet can start a task of the PE."""
    return f.codes[f.homes[pe, Home.CODE], CodeRow.LISTENS] != 0


@inlined
def select_task(f: State, pe: int, cycle: int) -> bool:
    """Start the next task that can run; whether there was one."""
    if f.homes[pe, Home.ACTIVATED] & ~f.homes[pe, Home.BLOCKED] == 0 and not listens(f, pe):
        return False
    code = f.homes[pe, Home.CODE]
    first, count = f.codes[code, CodeRow.FIRST_TASK], f.codes[code, CodeRow.TASKS]
    last = f.pes[pe, Pe.LAST_TASK]
    for ahead in range(1, count + 1):
        task = last + ahead if last + ahead < count else last + ahead - count
        if can_run(f, pe, first, task) <= cycle:
            happened(f, cycle)
            _start_task(f, pe, task, cycle)
            return True
    return False
