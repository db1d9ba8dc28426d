"""What the engine holds: the program's tables, and the state of every queue, router and PE.

P PEs, K colours. Cycles are 32-bit numbers, so that a run ends before cycle 2**30. A queue exists
for each PE and colour that uses it. The tables are few and wide, because every function of the
engine is compiled for all of them; the enumerations name their columns.
"""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from wse.fabric.tables import VectorColumn

Ints = NDArray[np.int32]
Longs = NDArray[np.int64]
NEVER = 2**31 - 1
NO_CYCLE = -1
RING = 64
"""Cycles of a round, within which events are kept by their cycle."""


class Queue(IntEnum):
    """Columns of ``queues``.

    Of a router's queue: what is still to be served of the head; the switch's position and its
    sets; the filter's counter (-1: no filter, -2 - n: a stage of lane n); who was refused a place,
    a bit for each port.
    ``TO + port`` is the queue behind a port (RAMP: of a router's queue the input queue, of an
    output queue the router's).
    """

    HEAD = 0
    COUNT = 1
    LAST_PUSH = 2
    PE = 3
    COLOUR = 4
    REMAINING = 5
    RECEIVE = 6
    TRANSMIT = 7
    COUNTER = 8
    WAITED = 9
    TO = 10
    POSITION = 15


QUEUE_COLUMNS = 16


class Pair(IntEnum):
    """Columns of ``pairs``, a row for each PE and colour: rows of ``queues``, ``routes``; or -1."""

    ROUTER = 0
    INPUT = 1
    OUTPUT = 2
    ROUTE = 3


RAMP, RAMP_OUT, DROP = 4, 5, 6
"""Ports of a move beyond the mesh's 0 to 3: down and up the ramp, or the wavelet vanishes."""


class Lane(IntEnum):
    """Columns of ``lanes``.

    Its stages are ``STAGES`` rows of ``stages`` from ``FIRST``; wavelets leave the last by
    ``PORT``. ``WAVELETS`` is the first of its ``PLACES`` + 1 places in ``wavelets``; ``ENTERED``
    and ``LEFT`` count what went in and out. Masks of stages: whose heads are ``MOVING`` in this
    cycle; from ``SENT`` on who was sent a wavelet by the stage before, in each cycle of the round
    of number ``ROUND``; from ``MASKS`` on, for each place of a router's queue, where more than so
    many are taken; as many, where more than so many wavelets are ready; and for each cycle of a
    hop, whose wavelet will be ready then.
    """

    STAGES = 0
    FIRST = 1
    PORT = 2
    WAVELETS = 3
    PLACES = 4
    ENTERED = 5
    LEFT = 6
    MOVING = 7
    ROUND = 8
    SENT = 9
    MASKS = SENT + RING


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
    FIRST_DELIVERY = 11
    LAST_DELIVERY = 12
    EVENT = 13  # of the operation from memory, in the timeline
    GOING = 14  # operations with streams in progress, a bit for each of the PE's threads


PE_COLUMNS = 16


class Router(IntEnum):
    """Columns of ``routers``: colours whose router or output queue is not empty, a bit each.

    ``SERVED + port`` is the colour that a port served last, ``LOADS + port`` the wavelets that
    passed it; port 5 is the ramp out of the PE.
    """

    FILLED = 0
    OUTPUT_FILLED = 1
    SERVED = 2
    LOADS = 8


ROUTER_COLUMNS = 16


class Home(IntEnum):
    """Columns of ``homes``: flags of a PE's tasks, a bit each; its code; where its cells begin.

    Its operations with streams are rows [OPS, OPS_END) of ``ops``, a row for each thread in use.
    """

    ACTIVATED = 0
    BLOCKED = 1
    CODE = 2
    MEMORY = 3
    REGISTERS = 4
    OPS = 5
    OPS_END = 6


HOME_COLUMNS = 8


class CodeRow(IntEnum):
    """Columns of ``codes``: its tasks; colours with a control task, a bit each; its threads.

    ``LISTENS`` says whether some task runs by its wavelets.

    ``SLOT + thread`` is the place of a micro-thread (8: the main thread) among a PE's operations.
    """

    FIRST_TASK = 0
    TASKS = 1
    CONTROLS = 2
    LISTENS = 3
    SLOT = 4


class Node(IntEnum):
    """Columns of ``nodes``: the next event; a list of what is due of PEs, routers and lanes."""

    WAKE = 0
    DUE = 1


class Op(IntEnum):
    """Columns of ``ops``, the operations with streams; ``VECTOR`` -1 is a free thread.

    ``NEXT`` is the first cycle in which its pace allows the next step, which is ``SLACK``
    thousandths of a cycle later than it would be if time were not cut into cycles.
    ``INDEX + n`` and ``STRIDE + n`` say where operand n's next element is, in cells; the stride
    of a stream is its queue.
    """

    VECTOR = 0
    BEGIN = 1
    END = 2
    DONE = 3
    LENGTH = 4
    NEXT = 5
    SLACK = 6
    ROW = 7
    INDEX = 8
    STRIDE = 12


OP_COLUMNS = 16


class Setting(IntEnum):
    """Positions in ``numbers``: the machine's numbers and the mesh's."""

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
    SCRATCH = 19  # cell of the first of 2 elements of each of 4 operands
    EVENTS = 20  # how many events are recorded at most


class Total(IntEnum):
    """Positions in ``numbers``: what the whole run counts."""

    CYCLES = 21
    LAST = 22
    SCHEDULED = 23
    MOVES = 24
    ERROR_CYCLE = 25
    ERROR_PE = 26
    ERROR_KIND = 27
    ERROR_DETAIL = 28
    EVENTS = 29
    ROUND = 30  # its first cycle
    CHANGED = 31  # as LAST, completions of operations included


BEST = 32
"""Position in ``numbers`` of a router's decision: the colour for each of 6 ports."""
WHERE = 38
"""Position in ``numbers`` of an operation's operands: 4 cells, then 4 strides."""
NUMBERS = 46
RECEIVED, SENT, PACE, STREAMS = range(len(VectorColumn), len(VectorColumn) + 4)
"""Columns that ``vectors`` has besides: masks of the colours that an operation receives and sends;
thousandths of a cycle from step to step; which operands are streams, as a mask."""


class Error(IntEnum):
    """Kinds of errors during a run; the detail is a colour or a row of instructions."""

    NONE = 0
    COLLISION = 1
    RANGE = 2
    LIMIT = 3


class State(NamedTuple):
    """Everything; the engine's functions change its arrays in place.

    Rows of 64 bytes begin at multiples of 64: each is one line of the processor's cache.
    """

    numbers: Longs
    # The program.
    instructions: Ints
    vectors: Ints
    operands: Ints  # with constants as cells
    tasks: Ints
    routes: Ints
    codes: Ints  # [C, CodeRow]
    # Queues and routers.
    pairs: Ints  # [P * K, Pair]
    queues: Ints  # [Q, QUEUE_COLUMNS]
    entries: Longs  # [Q, places]: ready << 33 | control << 32 | payload
    routers: Ints  # [P, ROUTER_COLUMNS]
    moves: Longs  # queue << 3 | port
    lanes: Longs  # [L, Lane and its masks]
    stages: Ints  # rows of queues
    wavelets: Longs  # control << 32 | payload
    # PEs.
    pes: Ints  # [P, PE_COLUMNS]
    homes: Longs  # [P, HOME_COLUMNS]
    ops: Ints  # [.., OP_COLUMNS]
    floats: NDArray[np.float32]  # cells: memory, registers, constants, scratch
    integers: Ints  # the same bytes
    # Time.
    nodes: Ints  # [2 P + L, Node]: PEs, then routers, then lanes
    ring: NDArray[np.uint32]  # [RING + 1, words of 32 nodes]
    ring_filled: NDArray[np.uint8]  # [RING + 1]
    # The timeline.
    events: Longs  # [.., 4]: PE, row of instructions, begin, end
