"""What the routers decided moves: wavelets enter and leave queues."""

from __future__ import annotations

from wse.fabric.engine.columns import DROP, RAMP, RAMP_OUT, Lane, Pair, Pe, Queue, Router
from wse.fabric.engine.compiling import compiled, inlined, wide
from wse.fabric.engine.queues import (
    CONTROL_BIT,
    READY_SHIFT,
    WAVELET,
    control_vanishes,
    fail,
    head,
    lane_of,
    pop,
    push,
    queue_of,
)
from wse.fabric.engine.state import NO_CYCLE, Error, Setting, State, Total
from wse.fabric.engine.wheel import schedule
from wse.fabric.tables import RouteColumn


@inlined
def neighbour(pe: int, port: int, width: int) -> int:
    """The PE that a mesh port leads to."""
    if port < 2:
        return pe - width if port == 0 else pe + width
    return pe + 1 if port == 2 else pe - 1


@inlined
def ready_masks(f: State) -> int:
    """The column of ``lanes`` from which on its masks say how many wavelets are ready."""
    return Lane.MASKS + f.numbers[Setting.ROUTER_WORDS]


@inlined
def under_way(f: State, cycle: int) -> int:
    """The column of ``lanes`` of what is sent in ``cycle``: it is ready a hop later."""
    hop = f.numbers[Setting.HOP]
    return Lane.MASKS + 2 * f.numbers[Setting.ROUTER_WORDS] + cycle % hop


@inlined
def count(f: State, lane: int, first: int, more: int, fewer: int) -> None:
    """Count with masks: ``more`` has the stages with one more, ``fewer`` those with one less."""
    up, down, below = more & ~fewer, fewer & ~more, wide(-1)
    last = first + f.numbers[Setting.ROUTER_WORDS] - 1
    for mask in range(first, last + 1):
        here = f.lanes[lane, mask]
        above = f.lanes[lane, mask + 1] if mask < last else wide(0)
        f.lanes[lane, mask] = (here | (up & below)) & (above | ~down)
        below = here


@inlined
def _enter_lane(f: State, lane: int, queue: int, wavelet: int, cycle: int) -> None:
    """A wavelet reaches the first stage of a lane."""
    entered = f.lanes[lane, Lane.ENTERED]
    place = f.lanes[lane, Lane.WAVELETS] + (entered & f.lanes[lane, Lane.PLACES])
    f.wavelets[place] = wavelet
    f.lanes[lane, Lane.ENTERED] = entered + 1
    f.queues[queue, Queue.COUNT] += 1
    count(f, lane, Lane.MASKS, 1, 0)
    f.lanes[lane, under_way(f, cycle)] |= 1
    schedule(f, 2 * f.numbers[Setting.PES] + lane, cycle + f.numbers[Setting.HOP])


@inlined
def enter_router(f: State, queue: int, wavelet: int, cycle: int) -> None:
    """A wavelet reaches a router from a neighbour or its own PE."""
    pe, colour = wide(f.queues[queue, Queue.PE]), wide(f.queues[queue, Queue.COLOUR])
    if f.queues[queue, Queue.LAST_PUSH] == cycle:
        fail(f, cycle, pe, Error.COLLISION, colour)
        return
    ready = cycle + f.numbers[Setting.HOP]
    f.queues[queue, Queue.LAST_PUSH] = cycle
    lane = lane_of(f, queue)
    if lane >= 0:
        _enter_lane(f, lane, queue, wavelet, cycle)
        return
    if f.queues[queue, Queue.COUNT] == 0:
        f.routers[pe, Router.FILLED] |= 1 << colour
        schedule(f, f.numbers[Setting.PES] + pe, ready)
    push(f, queue, wavelet, ready)


@inlined
def _enter_pe(f: State, pe: int, colour: int, queue: int, wavelet: int, cycle: int) -> int:
    """A wavelet goes down the ramp; when it is in the input queue."""
    if control_vanishes(f, pe, colour, wavelet):
        return 0
    ready = cycle + f.numbers[Setting.RAMP]
    if f.queues[queue, Queue.COUNT] == 0:
        schedule(f, pe, ready)
    push(f, queue, wavelet, ready)
    f.pes[pe, Pe.LAST_DELIVERY] = ready
    if f.pes[pe, Pe.FIRST_DELIVERY] == NO_CYCLE:
        f.pes[pe, Pe.FIRST_DELIVERY] = ready
    return ready


@inlined
def _turn_switch(f: State, pe: int, colour: int, queue: int) -> None:
    """A control wavelet has passed."""
    route = queue_of(f, pe, colour, Pair.ROUTE)
    position = wide(f.queues[queue, Queue.POSITION]) + 1
    if position == f.routes[route, RouteColumn.POSITIONS]:
        position = 0 if f.routes[route, RouteColumn.RING] != 0 else position - 1
    f.queues[queue, Queue.POSITION] = position
    f.queues[queue, Queue.RECEIVE] = f.routes[route, RouteColumn.RECEIVE + position]
    f.queues[queue, Queue.TRANSMIT] = f.routes[route, RouteColumn.TRANSMIT + position]


@inlined
def _count_filter(f: State, pe: int, colour: int, queue: int) -> None:
    """A data wavelet has passed a router with a filter."""
    route = queue_of(f, pe, colour, Pair.ROUTE)
    counted = f.queues[queue, Queue.COUNTER] + 1
    f.queues[queue, Queue.COUNTER] = counted % f.routes[route, RouteColumn.FILTER_PERIOD]


@inlined
def wake_waiting(f: State, pe: int, queue: int, cycle: int) -> None:
    """A place became free, or a switch turned: who was refused looks again."""
    pes, waited = f.numbers[Setting.PES], wide(f.queues[queue, Queue.WAITED])
    f.queues[queue, Queue.WAITED] = 0
    for port in range(4):
        if (waited >> port) & 1 != 0:
            other = neighbour(pe, port, f.numbers[Setting.WIDTH])
            colour = wide(f.queues[queue, Queue.COLOUR])
            lane = lane_of(f, queue_of(f, other, colour, Pair.ROUTER))
            schedule(f, pes + (pes + lane if lane >= 0 else other), cycle + 1)
    if (waited >> RAMP) & 1 != 0:
        schedule(f, pes + pe, cycle + 1)


@inlined
def _pass(f: State, pe: int, colour: int, queue: int, wavelet: int, cycle: int) -> None:
    """The head leaves its router."""
    if wavelet & CONTROL_BIT != 0:
        _turn_switch(f, pe, colour, queue)
    elif f.queues[queue, Queue.COUNTER] >= 0:
        _count_filter(f, pe, colour, queue)
    if pop(f, queue) == 0:
        f.routers[pe, Router.FILLED] &= ~(1 << colour)
    else:
        ready = head(f, queue) >> READY_SHIFT
        schedule(f, f.numbers[Setting.PES] + pe, max(cycle + 1, ready))
    if f.queues[queue, Queue.WAITED] != 0:
        wake_waiting(f, pe, queue, cycle)


@inlined
def _leave_pe(f: State, pe: int, colour: int, queue: int, cycle: int) -> None:
    """The head of an output queue leaves for its own router."""
    if pop(f, queue) == 0:
        f.routers[pe, Router.OUTPUT_FILLED] &= ~(1 << colour)
    else:
        ready = head(f, queue) >> READY_SHIFT
        schedule(f, f.numbers[Setting.PES] + pe, max(cycle + 1, ready))
    if f.pes[pe, Pe.WAITS_FOR_ROOM] != 0:
        schedule(f, pe, cycle + 1)


@compiled
def commit(f: State, first: int, end: int, cycle: int) -> None:
    """Phase C: moves that were decided are made."""
    latest = 0
    for number in range(first, end):
        queue, port = f.moves[number] >> 3, f.moves[number] & 7
        pe, colour = wide(f.queues[queue, Queue.PE]), wide(f.queues[queue, Queue.COLOUR])
        wavelet = head(f, queue) & WAVELET
        if port != DROP:
            f.routers[pe, Router.LOADS + port] += 1
            to = wide(f.queues[queue, Queue.TO + min(port, RAMP)])
            if port == RAMP:
                latest = max(latest, _enter_pe(f, pe, colour, to, wavelet, cycle))
            else:
                enter_router(f, to, wavelet, cycle)
                latest = max(latest, cycle + f.numbers[Setting.HOP])
        if port == RAMP_OUT:
            _leave_pe(f, pe, colour, queue, cycle)
        else:
            left = f.queues[queue, Queue.REMAINING] & ~(1 << port)
            f.queues[queue, Queue.REMAINING] = left
            if left == 0:
                _pass(f, pe, colour, queue, wavelet, cycle)
    f.numbers[Total.CYCLES] = max(f.numbers[Total.CYCLES], latest)
