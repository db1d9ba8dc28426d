"""From a program's tables to the engine's state at cycle 0."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from wse.fabric.engine.state import (
    BUCKETS,
    NEVER,
    NO_CYCLE,
    OP_COLUMNS,
    Flag,
    Ints,
    Kind,
    Op,
    Pe,
    Queue,
    Setting,
    State,
    Total,
)
from wse.fabric.machine import Machine
from wse.fabric.tables import (
    Assembled,
    OperandColumn,
    OperandKind,
    RouteColumn,
    TaskColumn,
    VectorColumn,
)

THREADS = 9
SCRATCH_CELLS = 8


def build(program: Assembled, machine: Machine, limit: int, events: int) -> State:
    """The state before the first cycle; the run must end before ``limit``."""
    pes, colours = program.width * program.height, len(program.colours)
    queue_of, queues = _queues(program)
    places = _power_of_two(
        max(machine.router_queue_words, machine.input_queue_words, machine.output_queue_words)
    )
    threads = _thread_slots(program)
    op_first = _op_first(program, threads)
    cells, operands, registers = _cells(program)
    totals = np.zeros(len(Total), np.int64)
    totals[Total.ERROR_CYCLE] = totals[Total.ERROR_PE] = NEVER
    return State(
        settings=_settings(program, machine, limit, events, registers, len(cells)),
        totals=totals,
        instructions=program.instructions,
        vectors=program.vectors,
        colours_of_vector=_colours_of_vectors(program),
        operands=operands,
        tasks=program.tasks,
        code_tasks=program.code_tasks,
        code_of=program.code_of,
        route_of=program.route_of.ravel(),
        routes=program.routes,
        controls=program.controls,
        thread_slot=threads,
        memory_first=program.memory_first,
        register_first=program.register_first,
        queue_of=queue_of,
        queues=queues,
        entries=np.zeros((len(queues), places), np.int64),
        served=np.full((pes, 6), max(colours, 1) - 1, np.int8),
        best=np.full(6, -1, np.int32),
        moves=np.empty(pes * 6 + len(queues) + 1, np.int64),
        pes=_pes(program, op_first),
        flags=_flags(program),
        op_first=op_first,
        ops=_ops(int(op_first[-1])),
        cells=cells,
        floats=cells.view(np.float32),
        integers=cells.view(np.int32),
        where=np.zeros(8, np.int64),
        wake=np.full(2 * pes, NEVER, np.int32),
        links=np.full((2 * pes, 2), -1, np.int32),
        buckets=np.full(BUCKETS, -1, np.int32),
        due=np.zeros(2 * pes, np.int32),
        loads=np.zeros((pes, 6), np.int32),
        events=np.zeros((events, 4), np.int64),
    )


def _power_of_two(number: int) -> int:
    return 1 << (number - 1).bit_length()


def _of_codes(program: Assembled, table: NDArray) -> NDArray:
    """Rows of a table [C, ...] for every PE; zeros where there is no code."""
    padded = np.concatenate([table, np.zeros((1, *table.shape[1:]), table.dtype)])
    return padded[program.code_of]


def _queues(program: Assembled) -> tuple[Ints, Ints]:
    """``queue_of`` and ``queues``."""
    pes, colours = program.width * program.height, len(program.colours)
    exist = np.stack(
        [
            program.route_of >= 0,
            _of_codes(program, program.receives),
            _of_codes(program, program.sends),
        ]
    ).reshape(3, pes * colours)
    queue_of = np.full(exist.shape, -1, np.int32)
    queue_of[exist] = np.arange(exist.sum(), dtype=np.int32)
    kinds, pairs = np.nonzero(exist)
    queues = np.zeros((len(pairs), len(Queue)), np.int32)
    queues[:, Queue.LAST_PUSH] = NO_CYCLE
    queues[:, Queue.PE], queues[:, Queue.COLOUR] = np.divmod(pairs, max(colours, 1))
    routed = kinds == Kind.ROUTER
    routes = program.route_of.ravel()[pairs[routed]]
    queues[routed, Queue.COUNTER] = program.routes[routes, RouteColumn.FILTER_START]
    return queue_of, queues


def _thread_slots(program: Assembled) -> Ints:
    """[C, 9]: the place of each micro-thread in use, and of the main thread, among a PE's ops."""
    slots = np.full((len(program.codes), THREADS), -1, np.int32)
    for number, code in enumerate(program.codes):
        rows = program.instructions[code.first_row : code.first_row + code.row_count]
        used = np.zeros(THREADS, bool)
        used[program.vectors[_vector_rows(rows), VectorColumn.THREAD]] = True
        used[THREADS - 1] = True  # where -1, the synchronous ones, stand too
        slots[number, used] = np.arange(used.sum())
    return slots


def _vector_rows(rows: Ints) -> Ints:
    from wse.fabric.tables import InstructionColumn, Opcode

    return rows[rows[:, InstructionColumn.OPCODE] == Opcode.VECTOR, InstructionColumn.X]


def _op_first(program: Assembled, threads: Ints) -> Ints:
    counts = _of_codes(program, (threads >= 0).sum(axis=1))
    return np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)


def _ops(count: int) -> NDArray[np.int64]:
    ops = np.zeros((count, OP_COLUMNS), np.int64)
    ops[:, Op.VECTOR] = -1
    return ops


def _cells(program: Assembled) -> tuple[NDArray[np.uint32], Ints, int]:
    """All cells; the operands with constants as cells; the first register's cell."""
    operands = program.operands.copy()
    constant = operands[:, :, OperandColumn.KIND] == OperandKind.CONSTANT
    values = operands[constant, OperandColumn.X].view(np.uint32)
    registers = len(program.memory)
    first = registers + len(program.registers)
    operands[constant, OperandColumn.X] = first + np.arange(len(values))
    scratch = np.zeros(SCRATCH_CELLS, np.uint32)
    cells = np.concatenate([program.memory, program.registers, values, scratch])
    return cells, operands, registers


def _colours_of_vectors(program: Assembled) -> Ints:
    """[V, 2]: masks of the colours that a vector operation receives and sends."""
    streams = program.operands[:, :, OperandColumn.KIND] == OperandKind.STREAM
    bits = np.where(streams, 1 << program.operands[:, :, OperandColumn.X], 0)
    masks = np.stack([np.bitwise_or.reduce(bits[:, 1:], axis=1), bits[:, 0]], axis=1)
    return masks.astype(np.int32)


def _pes(program: Assembled, op_first: Ints) -> Ints:
    pes = np.zeros((program.width * program.height, len(Pe)), np.int32)
    counts = _of_codes(program, program.code_tasks)[:, 1]
    pes[:, Pe.LAST_TASK] = np.maximum(counts - 1, 0)
    pes[:, Pe.LAST_THREAD] = np.maximum(np.diff(op_first) - 1, 0)
    pes[:, Pe.FIRST_DELIVERY] = pes[:, Pe.LAST_DELIVERY] = NO_CYCLE
    return pes


def _flags(program: Assembled) -> NDArray[np.int64]:
    flags = np.zeros((len(program.codes), len(Flag)), np.uint64)
    for number, code in enumerate(program.codes):
        tasks = program.tasks[code.first_task : code.first_task + code.task_count]
        bits = np.uint64(1) << np.arange(len(tasks), dtype=np.uint64)
        flags[number, Flag.ACTIVATED] = bits[tasks[:, TaskColumn.ACTIVATED] != 0].sum()
        flags[number, Flag.BLOCKED] = bits[tasks[:, TaskColumn.BLOCKED] != 0].sum()
    return _of_codes(program, flags.view(np.int64))


def _settings(
    program: Assembled, machine: Machine, limit: int, events: int, registers: int, cells: int
) -> NDArray[np.int64]:
    numbers = {
        Setting.HOP: machine.hop_cycles,
        Setting.RAMP: machine.ramp_cycles,
        Setting.REST: machine.link_rest_every,
        Setting.ROUTER_WORDS: machine.router_queue_words,
        Setting.INPUT_WORDS: machine.input_queue_words,
        Setting.OUTPUT_WORDS: machine.output_queue_words,
        Setting.STEPS: machine.vector_steps_per_cycle,
        Setting.LOAD: machine.descriptor_load_cycles,
        Setting.START: machine.vector_start_cycles,
        Setting.FINISH: machine.vector_finish_cycles,
        Setting.SCALAR: machine.scalar_cycles,
        Setting.TAKEN: machine.branch_taken_cycles,
        Setting.NOT_TAKEN: machine.branch_not_taken_cycles,
        Setting.LOOP: machine.loop_cycles,
        Setting.TASK_START: machine.task_start_cycles,
        Setting.WIDTH: program.width,
        Setting.PES: program.width * program.height,
        Setting.COLOURS: len(program.colours),
        Setting.LIMIT: limit,
        Setting.REGISTERS: registers,
        Setting.SCRATCH: cells - SCRATCH_CELLS,
        Setting.EVENTS: events,
    }
    return np.array([numbers[setting] for setting in Setting], np.int64)
