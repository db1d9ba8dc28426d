"""What the engine holds: the program's tables, and the state of every queue, router and PE.

P PEs, K colours. Cycles are 32-bit numbers, so that a run ends before cycle 2**30. A queue exists
for each PE and colour that uses it; ``queue_of[kind, pe * K + colour]`` is its row, or -1.
"""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int32]
Longs = NDArray[np.int64]
NEVER = 2**31 - 1
NO_CYCLE = -1
BUCKETS = 1024
"""Cycles that the wheel of events looks ahead; later events stay for another round."""


class Queue(IntEnum):
    """Columns of ``queues``. The last four are the router's: what is still to be served of the
    head, the switch position, the filter's counter."""

    HEAD = 0
    COUNT = 1
    LAST_PUSH = 2
    PE = 3
    COLOUR = 4
    REMAINING = 5
    POSITION = 6
    COUNTER = 7


class Kind(IntEnum):
    """Kinds of queues."""

    ROUTER = 0
    INPUT = 1
    OUTPUT = 2


class Main(IntEnum):
    """States of a main thread."""

    IDLE = 0
    DUE = 1
    STREAM = 2
    WAITING = 3
    HALTED = 4


class Pe(IntEnum):
    """Columns of ``pes``; masks have a bit for each colour."""

    MAIN = 0
    ROW = 1
    DUE = 2
    LAST_TASK = 3
    LAST_THREAD = 4
    MEMORY_BEGIN = 5
    MEMORY_END = 6
    BUSY = 7
    INPUT_USED = 8
    OUTPUT_USED = 9
    WAITS_FOR_ROOM = 10
    ROUTER_FILLED = 11
    OUTPUT_FILLED = 12
    ASLEEP = 13  # something in the router is blocked until another queue moves
    FIRST_DELIVERY = 14
    LAST_DELIVERY = 15


class Flag(IntEnum):
    """Columns of ``flags``: a bit for each task."""

    ACTIVATED = 0
    BLOCKED = 1


class Op(IntEnum):
    """Columns of ``ops``, the operations with streams; ``VECTOR`` -1 is a free thread.

    ``INDEX + n`` and ``STRIDE + n`` say where operand n's next element is, in cells.
    """

    VECTOR = 0
    BEGIN = 1
    END = 2
    DONE = 3
    LENGTH = 4
    NEXT_MILLI = 5
    ROW = 6
    INDEX = 7
    STRIDE = 11


OP_COLUMNS = 15


class Setting(IntEnum):
    """Positions in ``settings``: the machine's numbers and the mesh's."""

    HOP = 0
    RAMP = 1
    REST = 2
    ROUTER_WORDS = 3
    INPUT_WORDS = 4
    OUTPUT_WORDS = 5
    STEPS = 6
    LOAD = 7
    START = 8
    FINISH = 9
    SCALAR = 10
    TAKEN = 11
    NOT_TAKEN = 12
    LOOP = 13
    TASK_START = 14
    WIDTH = 15
    PES = 16
    COLOURS = 17
    LIMIT = 18
    REGISTERS = 19  # cell of the first register
    SCRATCH = 20  # cell of the first of 2 elements of each of 4 operands
    EVENTS = 21  # how many events are recorded at most


class Total(IntEnum):
    """Positions in ``totals``: what the whole run counts."""

    CYCLES = 0
    LAST = 1
    SCHEDULED = 2
    MOVES = 3
    ERROR_CYCLE = 4
    ERROR_PE = 5
    ERROR_KIND = 6
    ERROR_DETAIL = 7
    EVENTS = 8


class Error(IntEnum):
    """Kinds of errors during a run; the detail is a colour or a row of instructions."""

    NONE = 0
    COLLISION = 1
    RANGE = 2
    LIMIT = 3


class State(NamedTuple):
    """Everything; the engine's functions change its arrays in place."""

    settings: Longs
    totals: Longs
    # The program.
    instructions: Ints
    vectors: Ints
    colours_of_vector: Ints  # [V, 2]: colours received and sent, as masks
    operands: Ints  # with constants as cells
    tasks: Ints
    code_tasks: Ints
    code_of: NDArray[np.int16]
    route_of: Ints  # [P * K]
    routes: Ints
    controls: NDArray[np.bool_]
    thread_slot: Ints  # [C, 9]: micro-threads in use, and the main thread
    memory_first: Longs
    register_first: Longs
    # Queues and routers.
    queue_of: Ints  # [3, P * K]
    queues: Ints
    entries: Longs  # [Q, places]: ready << 33 | control << 32 | payload
    served: NDArray[np.int8]  # [P, 6]: colour last served by each port, and by the ramp out
    best: Ints  # [6]: scratch of a router's decision
    moves: Longs  # queue << 3 | port
    # PEs.
    pes: Ints
    flags: Longs
    op_first: Ints  # [P + 1]
    ops: Longs
    cells: NDArray[np.uint32]  # memory, registers, constants, scratch
    floats: NDArray[np.float32]  # the same bytes
    integers: Ints  # the same bytes
    where: Longs  # [8]: scratch: index and stride of 4 operands
    # Time.
    wake: Ints  # [2 P]: next event of each PE, then of each router
    links: Ints  # [2 P, 2]: next and previous in the bucket
    buckets: Ints
    due: Ints  # [2 P]: PEs from the front, routers from the back
    # What is told.
    loads: Ints  # [P, 6]
    events: Longs  # [.., 4]: PE, row of instructions, begin, end
