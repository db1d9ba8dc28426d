"""A program ready to run: its tables, and what each code is called."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wse.fabric.tables import DType, Int32Table


@dataclass(frozen=True)
class ArrayPlace:
    """Where an array or register lies: ``first`` is an element of its PE's memory or registers."""

    name: str
    first: int
    length: int
    dtype: DType


@dataclass(frozen=True)
class CodeTable:
    """What all PEs with one code share.

    Its tasks are ``task_count`` rows of ``tasks`` from ``first_task``, its instructions
    ``row_count`` rows of ``instructions`` from ``first_row``.
    """

    name: str
    first_task: int
    task_count: int
    first_row: int
    row_count: int
    task_names: tuple[str, ...]
    arrays: tuple[ArrayPlace, ...]
    registers: tuple[ArrayPlace, ...]
    memory_elements: int


@dataclass(frozen=True, eq=False)
class Assembled:
    """A program ready to run; P = width * height PEs, K colours, C codes.

    Memory has one 32-bit cell for each element of a PE: the bits of an fp32 (fp16 elements are
    kept as the fp32 of the same value) or of an int32. PE p's cells begin at ``memory_first[p]``,
    its registers at ``register_first[p]``.
    """

    width: int
    height: int
    colours: tuple[str, ...]
    codes: tuple[CodeTable, ...]
    code_of: NDArray[np.int16]  # [P]; -1: no code
    route_of: Int32Table  # [P, K]; row of routes, -1: none
    routes: Int32Table  # [R, ROUTE_COLUMNS]
    instructions: Int32Table  # [I, InstructionColumn]
    lines: tuple[str, ...]  # [I]: an instruction in words, for messages and pictures
    vectors: Int32Table  # [V, VectorColumn]
    operands: Int32Table  # [V, 4, OperandColumn]
    tasks: Int32Table  # [T, TaskColumn]
    code_tasks: Int32Table  # [C, 2]: first_task, task_count
    receives: NDArray[np.bool_]  # [C, K]: the code has an input queue of the colour
    sends: NDArray[np.bool_]  # [C, K]: an output queue
    controls: NDArray[np.bool_]  # [C, K]: a control task
    memory_first: NDArray[np.int64]  # [P + 1]
    memory: NDArray[np.uint32]
    register_first: NDArray[np.int64]  # [P + 1]
    registers: NDArray[np.uint32]
