"""From a program's tables to the engine's state at cycle 0."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from wse.fabric.assembled import Assembled
from wse.fabric.engine.columns import (
    HOME_COLUMNS,
    OP_COLUMNS,
    PE_COLUMNS,
    RING,
    ROUTER_COLUMNS,
    CodeRow,
    Home,
    Node,
    Op,
    Pe,
    Router,
)
from wse.fabric.engine.lane_tables import find_lanes
from wse.fabric.engine.queue_tables import of_codes, queue_tables
from wse.fabric.engine.state import NEVER, NO_CYCLE, NUMBERS, Ints, Longs, Setting, State, Total
from wse.fabric.machine import Machine
from wse.fabric.tables import (
    InstructionColumn,
    Opcode,
    OperandColumn,
    OperandKind,
    TaskColumn,
    TaskKind,
    VectorColumn,
)

THREADS = 9
SCRATCH_CELLS = 8
LINE_BYTES = 64


def build(program: Assembled, machine: Machine, limit: int, events: int) -> State:
    """The state before the first cycle; the run must end before ``limit``."""
    pes = program.width * program.height
    pairs, queues = queue_tables(program)
    lanes, stages, wavelets = find_lanes(program, machine, pairs, queues)
    places = _power_of_two(
        max(machine.router_queue_words, machine.input_queue_words, machine.output_queue_words)
    )
    codes = _codes(program)
    homes = _homes(program, codes)
    cells, operands = _cells(program)
    nodes = np.full((2 * pes + len(lanes), len(Node)), -1, np.int32)
    nodes[:, Node.WAKE] = NEVER
    state = State(
        numbers=_numbers(program, machine, limit, events, len(cells)),
        instructions=program.instructions,
        vectors=_vectors(program),
        operands=operands,
        tasks=program.tasks,
        routes=program.routes,
        codes=codes,
        pairs=pairs,
        queues=queues,
        entries=np.zeros((len(queues), places), np.int64),
        routers=_routers(program),
        moves=np.empty(pes * 6 + len(queues), np.int64),
        lanes=lanes,
        stages=stages,
        wavelets=wavelets,
        pes=_pes(program, homes),
        homes=homes,
        ops=_ops(int(homes[-1, Home.OPS_END])),
        floats=cells.view(np.float32),
        integers=cells.view(np.int32),
        nodes=nodes,
        ring=np.zeros((RING + 1, (len(nodes) + 31) // 32), np.uint32),
        ring_filled=np.zeros(RING + 1, np.uint8),
        events=np.zeros((events, 4), np.int64),
    )
    return _together(state)


def _power_of_two(number: int) -> int:
    return 1 << (number - 1).bit_length()


def _together(state: State) -> State:
    """The same tables in one block of memory, each from a multiple of 64 bytes on.

    numpy asks for large pages for large blocks, without which a mesh of some thousand PEs waits
    for page tables most of the time.
    """
    tables = {name: table for name, table in state._asdict().items() if name != "floats"}
    firsts = np.cumsum([0] + [-(-table.nbytes // LINE_BYTES) for table in tables.values()])
    block = np.zeros((int(firsts[-1]) + 1) * LINE_BYTES, np.uint8)
    block = block[-block.ctypes.data % LINE_BYTES :]
    for (name, table), first in zip(tables.items(), firsts * LINE_BYTES, strict=False):
        moved = block[first : first + table.nbytes].view(table.dtype).reshape(table.shape)
        moved[...] = table
        tables[name] = moved
    return State(**tables, floats=tables["integers"].view(np.float32))


def _codes(program: Assembled) -> Ints:
    """``codes``, [C, SLOT + 9]."""
    codes = np.full((len(program.codes), CodeRow.SLOT + THREADS), -1, np.int32)
    bits = 1 << np.arange(len(program.colours))
    codes[:, CodeRow.CONTROLS] = (program.controls * bits).sum(axis=1)
    for number, code in enumerate(program.codes):
        codes[number, CodeRow.FIRST_TASK] = code.first_task
        codes[number, CodeRow.TASKS] = code.task_count
        tasks = program.tasks[code.first_task : code.first_task + code.task_count]
        codes[number, CodeRow.LISTENS] = (tasks[:, TaskColumn.KIND] != TaskKind.LOCAL).any()
        rows = program.instructions[code.first_row : code.first_row + code.row_count]
        rows = rows[rows[:, InstructionColumn.OPCODE] == Opcode.VECTOR]
        used = np.zeros(THREADS, bool)
        used[program.vectors[rows[:, InstructionColumn.X], VectorColumn.THREAD]] = True
        used[THREADS - 1] = True  # thread -1, the main one, is the last
        codes[number, CodeRow.SLOT :][used] = np.arange(used.sum())
    return codes


def _homes(program: Assembled, codes: Ints) -> Longs:
    homes = np.zeros((program.width * program.height, HOME_COLUMNS), np.int64)
    homes[:, [Home.ACTIVATED, Home.BLOCKED]] = of_codes(program, _flags(program))
    homes[:, Home.CODE] = program.code_of
    homes[:, Home.MEMORY] = program.memory_first[:-1]
    homes[:, Home.REGISTERS] = len(program.memory) + program.register_first[:-1]
    homes[:, Home.OPS_END] = np.cumsum(
        of_codes(program, (codes[:, CodeRow.SLOT :] >= 0).sum(axis=1))
    )
    homes[1:, Home.OPS] = homes[:-1, Home.OPS_END]
    return homes


def _flags(program: Assembled) -> Longs:
    """[C, 2]: activated and blocked tasks, a bit each."""
    flags = np.zeros((len(program.codes), 2), np.uint64)
    for number, code in enumerate(program.codes):
        tasks = program.tasks[code.first_task : code.first_task + code.task_count]
        bits = np.uint64(1) << np.arange(len(tasks), dtype=np.uint64)
        flags[number, 0] = bits[tasks[:, TaskColumn.ACTIVATED] != 0].sum()
        flags[number, 1] = bits[tasks[:, TaskColumn.BLOCKED] != 0].sum()
    return flags.view(np.int64)


def _ops(count: int) -> Ints:
    ops = np.zeros((count, OP_COLUMNS), np.int32)
    ops[:, Op.VECTOR] = -1
    return ops


def _cells(program: Assembled) -> tuple[NDArray[np.uint32], Ints]:
    """All cells, and the operands with constants as cells."""
    operands = program.operands.copy()
    constant = operands[:, :, OperandColumn.KIND] == OperandKind.CONSTANT
    values = operands[constant, OperandColumn.X].view(np.uint32)
    first = len(program.memory) + len(program.registers)
    operands[constant, OperandColumn.X] = first + np.arange(len(values))
    scratch = np.zeros(SCRATCH_CELLS, np.uint32)
    return np.concatenate([program.memory, program.registers, values, scratch]), operands


def _vectors(program: Assembled) -> Ints:
    """``vectors`` with the columns RECEIVED, SENT, PACE and STREAMS."""
    streams = program.operands[:, :, OperandColumn.KIND] == OperandKind.STREAM
    masks = (streams << np.arange(4)).sum(axis=1, keepdims=True).astype(np.int32)
    return np.hstack([program.vectors, _colours_of_vectors(program), _paces(program), masks])


def _colours_of_vectors(program: Assembled) -> Ints:
    """[V, 2]: masks of the colours that a vector operation receives and sends."""
    streams = program.operands[:, :, OperandColumn.KIND] == OperandKind.STREAM
    bits = np.where(streams, 1 << program.operands[:, :, OperandColumn.X] % 32, 0)
    masks = np.stack([np.bitwise_or.reduce(bits[:, 1:], axis=1), bits[:, 0]], axis=1)
    return masks.astype(np.int32)


def _paces(program: Assembled) -> Ints:
    """[V, 1]: thousandths of a cycle from one step of an operation to the next."""
    elements = program.vectors[:, VectorColumn.PER_WAVELET].astype(np.int64)
    paces = np.maximum(1000, elements * 1_000_000 // program.vectors[:, VectorColumn.RATE_MILLI])
    return paces.astype(np.int32)[:, None]


def _pes(program: Assembled, homes: Longs) -> Ints:
    pes = np.zeros((program.width * program.height, PE_COLUMNS), np.int32)
    tasks = np.array([code.task_count for code in program.codes], np.int32)
    pes[:, Pe.LAST_TASK] = np.maximum(of_codes(program, tasks) - 1, 0)
    threads = homes[:, Home.OPS_END] - homes[:, Home.OPS]
    pes[:, Pe.LAST_THREAD] = np.maximum(threads - 1, 0)
    pes[:, Pe.FIRST_DELIVERY] = pes[:, Pe.LAST_DELIVERY] = NO_CYCLE
    return pes


def _routers(program: Assembled) -> Ints:
    routers = np.zeros((program.width * program.height, ROUTER_COLUMNS), np.int32)
    routers[:, Router.SERVED : Router.LOADS] = max(len(program.colours), 1) - 1
    return routers


def _numbers(
    program: Assembled, machine: Machine, limit: int, events: int, cells: int
) -> NDArray[np.int64]:
    numbers = np.zeros(NUMBERS, np.int64)
    numbers[: Total.CYCLES] = [
        machine.hop_cycles,
        machine.ramp_cycles,
        machine.link_rest_every,
        machine.router_queue_words,
        machine.input_queue_words,
        machine.output_queue_words,
        machine.vector_steps_per_cycle,
        machine.descriptor_load_cycles,
        machine.vector_start_cycles,
        machine.vector_finish_cycles,
        machine.scalar_cycles,
        machine.branch_taken_cycles,
        machine.branch_not_taken_cycles,
        machine.loop_cycles,
        machine.task_start_cycles,
        program.width,
        program.width * program.height,
        len(program.colours),
        limit,
        cells - SCRATCH_CELLS,
        events,
    ]
    assert len(Setting) == Total.CYCLES
    numbers[Total.ERROR_CYCLE] = numbers[Total.ERROR_PE] = NEVER
    return numbers
