"""The tables of queues, and of which a PE has for each colour, before the first cycle."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from wse.fabric.assembled import Assembled
from wse.fabric.engine.columns import QUEUE_COLUMNS, Pair, Queue
from wse.fabric.engine.state import NO_CYCLE, Ints
from wse.fabric.tables import STEP, RouteColumn

RAMP_PORT = 4


def of_codes(program: Assembled, table: NDArray) -> NDArray:
    """Rows of a table [C, ...] for every PE; zeros where there is no code."""
    padded = np.concatenate([table, np.zeros((1, *table.shape[1:]), table.dtype)])
    return padded[program.code_of]


def queue_tables(program: Assembled) -> tuple[Ints, Ints]:
    """``pairs`` and ``queues``."""
    pes, colours = program.width * program.height, len(program.colours)
    exist = np.stack(
        [
            program.route_of >= 0,
            of_codes(program, program.receives),
            of_codes(program, program.sends),
        ],
        axis=-1,
    ).reshape(pes * colours, 3)
    pairs = np.zeros((pes * colours, len(Pair)), np.int32)
    pairs[:] = -1
    rows, kinds = np.nonzero(exist)
    pairs[rows, kinds] = np.arange(len(rows))
    pairs[:, Pair.ROUTE] = program.route_of.ravel()
    queues = np.zeros((len(rows), QUEUE_COLUMNS), np.int32)
    queues[:, Queue.LAST_PUSH] = NO_CYCLE
    queues[:, Queue.PE], queues[:, Queue.COLOUR] = np.divmod(rows, max(colours, 1))
    routed = kinds == Pair.ROUTER
    _set_routes(queues, routed, program.routes[pairs[rows[routed], Pair.ROUTE]])
    _set_neighbours(program, pairs, queues, rows)
    queues[:, Queue.TO + RAMP_PORT] = pairs[rows, np.where(routed, Pair.INPUT, Pair.ROUTER)]
    return pairs, queues


def _set_routes(queues: Ints, routed: NDArray[np.bool_], routes: Ints) -> None:
    """The first switch position and the filter of the routers' queues."""
    queues[routed, Queue.RECEIVE] = routes[:, RouteColumn.RECEIVE]
    queues[routed, Queue.TRANSMIT] = routes[:, RouteColumn.TRANSMIT]
    filtered = routes[:, RouteColumn.FILTER_PERIOD] > 0
    queues[routed, Queue.COUNTER] = np.where(filtered, routes[:, RouteColumn.FILTER_START], -1)


def _set_neighbours(program: Assembled, pairs: Ints, queues: Ints, rows: NDArray[np.int64]) -> None:
    """The router queue behind each mesh port; anything where that is off the mesh."""
    colours = max(len(program.colours), 1)
    for port, (dx, dy) in enumerate(STEP):
        queues[:, Queue.TO + port] = pairs[
            (rows + (dx + dy * program.width) * colours) % max(len(pairs), 1), Pair.ROUTER
        ]
