"""What PEs did when, as a Chrome trace: open it at https://ui.perfetto.dev.

A trace knows seconds, the fabric cycles: a microsecond of the trace stands for one cycle. Each PE
has a line for its main thread and one for each micro-thread that it used.
"""

from __future__ import annotations

from collections import defaultdict

import numpy as np
from numpy.typing import NDArray

from wse.fabric.assembled import Assembled
from wse.fabric.tables import InstructionColumn, Opcode, VectorColumn
from wse.trace import Bar, chrome_trace

SECONDS_A_CYCLE = 1e-6
MOST_PES = 64
MOST_EVENTS = 20_000
"""About 3 MB."""
MAIN_THREAD = -1


def timeline(title: str, program: Assembled, events: NDArray[np.int64]) -> str:
    """The text of the trace.

    ``events`` [E, 4]: PE, row of instructions, begin and end in cycles. Of many PEs an even sample
    is shown, of very many events the first; the trace's notes say how many there were.
    """
    shown = sampled_pes(program.width, program.height)
    kept = events[np.isin(events[:, 0], shown)]
    kept = kept[np.argsort(kept[:, 2], kind="stable")][:MOST_EVENTS]
    bars: defaultdict[tuple[int, int], list[Bar]] = defaultdict(list)
    for pe, row, begin, end in kept.tolist():
        bars[pe, thread_of(program, row)].append(_bar(program.lines[row], begin, end))
    threads = [(_name(program, *key), bars[key]) for key in sorted(bars)]
    notes = {
        "one_microsecond_is": "1 cycle",
        "pes": program.width * program.height,
        "pes_shown": len(shown),
        "events": len(events),
        "events_shown": len(kept),
    }
    return chrome_trace(f"{title}, simulated", "simulated", threads, notes)


def sampled_pes(width: int, height: int) -> NDArray[np.int64]:
    """Numbers of at most :data:`MOST_PES` PEs, evenly spread over the mesh."""
    every = 1
    while -(-width // every) * -(-height // every) > MOST_PES:
        every += 1
    columns, rows = np.arange(0, width, every), np.arange(0, height, every)
    return (rows[:, None] * width + columns).ravel()


def thread_of(program: Assembled, row: int) -> int:
    """The micro-thread that an instruction's work is done on, or the main thread."""
    instruction = program.instructions[row]
    if instruction[InstructionColumn.OPCODE] != Opcode.VECTOR:
        return MAIN_THREAD
    return int(program.vectors[instruction[InstructionColumn.X], VectorColumn.THREAD])


def _name(program: Assembled, pe: int, thread: int) -> str:
    place = f"PE ({pe % program.width}, {pe // program.width})"
    return place if thread == MAIN_THREAD else f"{place} micro-thread {thread}"


def _bar(line: str, begin: int, end: int) -> Bar:
    task, _, instruction = line.partition(": ")
    arguments = {"task": task, "begin_cycle": begin, "cycles": end - begin}
    return Bar(instruction, task, SECONDS_A_CYCLE * begin, SECONDS_A_CYCLE * end, arguments)
