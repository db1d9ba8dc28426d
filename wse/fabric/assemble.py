"""From a program to its tables, and every refusal that is visible before the run."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from wse.fabric.assembled import ArrayPlace, Assembled, CodeTable
from wse.fabric.code import Code
from wse.fabric.code_checks import check_code, check_queues, controlled, received, sent, used
from wse.fabric.errors import CapacityError
from wse.fabric.instructions import Task
from wse.fabric.machine import Machine
from wse.fabric.operands import Register
from wse.fabric.program import Program
from wse.fabric.route_checks import check_routes, route_rows
from wse.fabric.tables import (
    DType,
    InstructionColumn,
    Int32Table,
    Opcode,
    OperandColumn,
    RateClass,
    TaskColumn,
    VectorColumn,
)
from wse.fabric.vectors import VectorOperation, integer_pair, operand_row


def assemble(program: Program, machine: Machine) -> Assembled:
    """The tables of ``program`` for ``machine``; a child of ProgramError if it cannot run it."""
    colours = [colour.name for colour in program.colours]
    if len(colours) > machine.colours:
        raise CapacityError(f"{len(colours)} colours; {machine.name} has {machine.colours}")
    for code in program.codes:
        check_code(code, machine)
    receives, sends, controls = (used(program, kind) for kind in (received, sent, controlled))
    check_queues(program, receives, machine.input_queues, "input")
    check_queues(program, sends, machine.output_queues, "output")
    check_routes(program, receives, machine)
    first_tasks = _firsts([len(code.tasks) for code in program.codes])
    first_rows = _firsts([len(code.rows) for code in program.codes])
    instructions, vectors, operands = _instruction_tables(program, machine)
    memory_first, memory = _cells(program, "arrays")
    register_first, registers = _cells(program, "registers")
    return Assembled(
        width=program.width,
        height=program.height,
        colours=tuple(colours),
        codes=tuple(map(_code_table, program.codes, first_tasks, first_rows)),
        code_of=program.code_of.ravel().copy(),
        route_of=_stacked(program),
        routes=route_rows(program),
        instructions=instructions,
        lines=tuple(line for code in program.codes for line in code.lines),
        vectors=vectors,
        operands=operands,
        tasks=_task_table(program),
        code_tasks=_table(
            [
                [first, len(code.tasks)]
                for first, code in zip(first_tasks, program.codes, strict=True)
            ],
            2,
        ),
        receives=receives,
        sends=sends,
        controls=controls,
        memory_first=memory_first,
        memory=memory,
        register_first=register_first,
        registers=registers,
    )


def _stacked(program: Program) -> Int32Table:
    pes = program.width * program.height
    if not program.colours:
        return np.empty((pes, 0), np.int32)
    return np.ascontiguousarray(np.stack(program.route_of, axis=-1).reshape(pes, -1))


def _firsts(counts: list[int]) -> list[int]:
    return [sum(counts[:number]) for number in range(len(counts))]


def _table(rows: list[list[int]], columns: int) -> Int32Table:
    return np.array(rows, np.int32).reshape(-1, columns)


def _instruction_tables(
    program: Program, machine: Machine
) -> tuple[Int32Table, Int32Table, Int32Table]:
    """Instructions of all codes, one after the other, with their vector operations."""
    rows: list[list[int]] = []
    vectors: list[VectorOperation] = []
    for code in program.codes:
        first_row, first_vector = len(rows), len(vectors)
        for row in code.rows:
            moved = list(row)
            if row[InstructionColumn.TARGET] >= 0:
                moved[InstructionColumn.TARGET] += first_row
            if row[InstructionColumn.OPCODE] == Opcode.VECTOR:
                moved[InstructionColumn.X] += first_vector
            rows.append(moved)
        vectors += code.vectors
    operands = [
        [operand_row(operand, vector.is_float) for operand in vector.operands]
        + [[0] * len(OperandColumn)] * (4 - len(vector.operands))
        for vector in vectors
    ]
    return (
        _table(rows, len(InstructionColumn)),
        _table([_vector_row(vector, machine) for vector in vectors], len(VectorColumn)),
        np.array(operands, np.int32).reshape(-1, 4, len(OperandColumn)),
    )


def _vector_row(vector: VectorOperation, machine: Machine) -> list[int]:
    rates = (
        machine.move,
        machine.arithmetic,
        machine.multiply_add,
        machine.mixed,
        machine.reduction,
    )
    rate = rates[list(RateClass).index(vector.rate_class)]
    length_value, length_register = integer_pair(vector.length)
    several, mapped = vector.rows * vector.planes > 1, vector.mapped
    columns = {
        VectorColumn.OPERATION: vector.operation,
        VectorColumn.RATE_MILLI: rate.width32_milli if vector.wide else rate.width16_milli,
        VectorColumn.THREAD: vector.thread,
        VectorColumn.LOADS: vector.loads,
        VectorColumn.LENGTH_VALUE: length_value,
        VectorColumn.LENGTH_REGISTER: length_register,
        VectorColumn.ACTIVATE: vector.activate,
        VectorColumn.UNBLOCK: vector.unblock,
        VectorColumn.PER_WAVELET: vector.per_wavelet,
        VectorColumn.CONTROL: int(vector.control),
        VectorColumn.IS_FLOAT: int(vector.is_float),
        VectorColumn.SOURCES: len(vector.operands) - 1,
        VectorColumn.ROWS: vector.rows,
        VectorColumn.PLANES: vector.planes,
        VectorColumn.ROW_CYCLES: machine.vector_row_cycles if several and not mapped else 0,
        VectorColumn.MAP_CYCLES: machine.vector_map_cycles if mapped else 0,
        VectorColumn.BANKS: machine.sram_banks,
        VectorColumn.BANK_BYTES: machine.sram_bank_bytes,
        VectorColumn.CONFLICT_MILLI: machine.sram_conflict_milli,
    }
    return [int(columns[column]) for column in VectorColumn]


def _task_table(program: Program) -> Int32Table:
    rows = []
    first_row = 0
    for code in program.codes:
        rows += [_task_row(task, first_row) for task in code.tasks]
        first_row += len(code.rows)
    return _table(rows, len(TaskColumn))


def _task_row(task: Task, first_row: int) -> list[int]:
    columns = {
        TaskColumn.KIND: task.kind,
        TaskColumn.ENTRY: first_row + task.entry,
        TaskColumn.COLOUR: -1 if task.colour is None else task.colour.index,
        TaskColumn.REGISTER: -1 if task.register is None else task.register.index,
        TaskColumn.ACTIVATED: int(task.start),
        TaskColumn.BLOCKED: int(task.blocked),
        TaskColumn.REGISTER_DTYPE: -1 if task.register is None else task.register.dtype,
    }
    return [int(columns[column]) for column in TaskColumn]


def _cells(program: Program, kind: str) -> tuple[NDArray[np.int64], NDArray[np.uint32]]:
    """Where each PE's arrays (or registers) begin, and their initial bits."""
    counts = np.zeros(program.width * program.height, np.int64)
    for code in program.codes:
        counts[code.pes.ravel()] = sum(_length(place) for place, _ in getattr(code, kind).values())
    firsts = np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)])
    cells = np.zeros(firsts[-1], np.uint32)
    for code in program.codes:
        pes = np.flatnonzero(code.pes.ravel())
        for place, values in getattr(code, kind).values():
            first = place.index if isinstance(place, Register) else place.first
            where = firsts[pes, None] + first + np.arange(_length(place))
            cells[where] = to_bits(values[code.pes], place.dtype).reshape(where.shape)
    return firsts, cells


def _length(place: object) -> int:
    return getattr(place, "length", 1)


def to_bits(values: NDArray, dtype: DType) -> NDArray[np.uint32]:
    """The memory cells of ``values`` rounded to ``dtype``: bits of fp32 or int32."""
    wide = np.float32 if dtype.is_float else np.int32
    return np.asarray(values).astype(dtype.numpy).astype(wide).view(np.uint32)


def from_bits(cells: NDArray[np.uint32], dtype: DType) -> NDArray:
    """The values of memory cells, as ``dtype``'s numpy type."""
    wide = np.float32 if dtype.is_float else np.int32
    return cells.view(wide).astype(dtype.numpy)


def _code_table(code: Code, first_task: int, first_row: int) -> CodeTable:
    arrays = tuple(
        ArrayPlace(array.name, array.first, array.length, array.dtype)
        for array, _ in code.arrays.values()
    )
    registers = tuple(
        ArrayPlace(register.name, register.index, 1, register.dtype)
        for register, _ in code.registers.values()
    )
    return CodeTable(
        name=code.name,
        first_task=first_task,
        task_count=len(code.tasks),
        first_row=first_row,
        row_count=len(code.rows),
        task_names=tuple(task.name for task in code.tasks),
        arrays=arrays,
        registers=registers,
        memory_elements=sum(place.length for place in arrays),
    )
