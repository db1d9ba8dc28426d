"""The lanes of a program: found before the run, written back into the other tables after it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from wse.fabric.assembled import Assembled
from wse.fabric.engine.columns import RING, Lane, Pair, Queue, Router
from wse.fabric.engine.state import Ints, Longs, State
from wse.fabric.machine import Machine
from wse.fabric.tables import PORTS, ROUTE_COLUMNS, RouteColumn

LONGEST = 62
"""Stages of a lane at most: bits of a mask."""
SHORTEST = 4
"""Fewer are as quick router by router."""
MESH_PORTS = PORTS - 1


def find_lanes(
    program: Assembled, machine: Machine, pairs: Ints, queues: Ints
) -> tuple[Longs, Ints, Longs]:
    """``lanes``, ``stages`` and ``wavelets``; marks the stages in ``queues``."""
    words, hop = machine.router_queue_words, machine.hop_cycles
    stages, sizes = _cut(_lines(_onward(program, pairs, queues)))
    ring = 2 ** np.ceil(np.log2(np.maximum(sizes * words, 1))).astype(np.int64)
    lanes = np.zeros((len(sizes), Lane.MASKS + 2 * words + hop), np.int64)
    lanes[:, Lane.STAGES] = sizes
    lanes[:, Lane.FIRST] = np.cumsum(sizes) - sizes
    lasts = stages[np.cumsum(sizes) - 1]
    lanes[:, Lane.PORT] = _port(queues[lasts, Queue.TRANSMIT])
    lanes[:, Lane.WAVELETS] = np.cumsum(ring) - ring
    lanes[:, Lane.PLACES] = ring - 1
    queues[stages, Queue.COUNTER] = -2 - np.repeat(np.arange(len(sizes)), sizes)
    return lanes, stages.astype(np.int32), np.zeros(int(ring.sum()), np.int64)


def write_back(state: State, machine: Machine) -> None:
    """Into ``queues`` what each stage of a lane holds, into ``routers`` what passed it."""
    lanes, stages = state.lanes, state.stages
    lane = np.repeat(np.arange(len(lanes)), lanes[:, Lane.STAGES])
    bit = np.arange(len(stages)) - lanes[lane, Lane.FIRST]
    taken = lanes[lane, Lane.MASKS : Lane.MASKS + machine.router_queue_words]
    counts = ((taken >> bit[:, None]) & 1).sum(axis=1)
    before = np.concatenate([[0], np.cumsum(counts)])
    up_to_here = before[1:] - before[lanes[lane, Lane.FIRST]]
    port = _port(state.queues[stages, Queue.TRANSMIT])
    state.queues[stages, Queue.COUNT] = counts
    _note_last(state, stages, lane, bit, counts > 0)
    pes = state.queues[stages, Queue.PE]
    state.routers[pes, Router.LOADS + port] += (lanes[lane, Lane.ENTERED] - up_to_here).astype(
        np.int32
    )


def _note_last(
    state: State, stages: Ints, lane: NDArray[np.int64], bit: NDArray[np.int64], held: NDArray
) -> None:
    """Of stages that hold wavelets: the cycle in which each was sent the last, in this round."""
    queue, lane, bit = stages[held], lane[held], bit[held]
    begin = state.lanes[lane, Lane.ROUND] * RING
    for cycle in range(RING):
        sent = (state.lanes[lane, Lane.SENT + cycle] >> bit) & 1 != 0
        state.queues[queue[sent], Queue.LAST_PUSH] = (begin + cycle)[sent]


def _port(sets: NDArray) -> NDArray[np.int64]:
    """The port of sets of one direction."""
    return np.log2(np.maximum(sets, 1)).astype(np.int64)


def _onward(program: Assembled, pairs: Ints, queues: Ints) -> Ints:
    """Of each queue that may be a stage the queue that it hands on to; of the others -1."""
    # The last row, -1, is no route.
    routes = np.concatenate([program.routes, np.zeros((1, ROUTE_COLUMNS), np.int32)])
    receive, transmit = routes[:, RouteColumn.RECEIVE], routes[:, RouteColumn.TRANSMIT]
    sides = [1 << port for port in range(MESH_PORTS)]
    hands_on = (routes[:, RouteColumn.POSITIONS] == 1) & (routes[:, RouteColumn.FILTER_PERIOD] == 0)
    hands_on &= np.isin(receive, sides) & np.isin(transmit, sides)
    goes_out = np.bitwise_or.reduce(routes[:, RouteColumn.TRANSMIT :], axis=1)
    onward = np.full(len(queues), -1, np.int32)
    for port in range(MESH_PORTS):
        uses = (goes_out >> port & 1 != 0)[program.route_of]
        alone = uses & (uses.sum(axis=1, keepdims=True) == 1)
        alone &= (hands_on & (transmit == 1 << port))[program.route_of]
        of = pairs[alone.ravel(), Pair.ROUTER]
        onward[of] = queues[of, Queue.TO + port]
    return onward


def _lines(onward: Ints) -> list[NDArray[np.int64]]:
    """Step by step along all lines at once: rows (line, step, queue). Circles have no begin."""
    begins = onward >= 0
    begins[onward[onward >= 0]] = False
    queue: NDArray[np.int64] = np.flatnonzero(begins)
    line = np.arange(len(queue))
    found: list[NDArray[np.int64]] = []
    while len(queue):
        found.append(np.stack([line, np.full(len(queue), len(found)), queue]))
        queue = onward[queue].astype(np.int64)
        inside = onward[queue] >= 0
        line, queue = line[inside], queue[inside]
    return found


def _cut(found: list[NDArray[np.int64]]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Lanes of at most ``LONGEST`` stages, one after the other, and how many each has."""
    if not found:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    line, step, queue = np.concatenate(found, axis=1)
    order = np.lexsort([step, line])
    pieces = np.stack([line, step // LONGEST], axis=1)[order]
    _, lane, sizes = np.unique(pieces, axis=0, return_inverse=True, return_counts=True)
    long_enough = sizes >= SHORTEST
    return queue[order][long_enough[lane.ravel()]], sizes[long_enough]
