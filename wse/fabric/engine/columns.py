"""The columns of the engine's tables, by name."""

from __future__ import annotations

from enum import IntEnum

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
