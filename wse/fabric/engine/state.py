"""What the engine holds: the program's tables, and the state of every queue, router and PE.

P PEs, K colours. Cycles are 32-bit numbers, so that a run ends before cycle 2**30. A queue exists
for each PE and colour that uses it. The tables are few and wide, because every function of the
engine is compiled for all of them; :mod:`wse.fabric.engine.columns` names their columns.
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
