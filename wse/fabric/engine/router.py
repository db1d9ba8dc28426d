"""Routers: what they decide on the state at the beginning of a cycle, and what then moves."""

from __future__ import annotations

import numpy as np

from wse.fabric.engine.compiling import compiled, inlined
from wse.fabric.engine.queues import (
    CONTROL_BIT,
    READY_SHIFT,
    WAVELET,
    control_vanishes,
    fail,
    head,
    pop,
    push,
    queue_of,
)
from wse.fabric.engine.state import (
    BEST,
    NEVER,
    NO_CYCLE,
    Error,
    Node,
    Pair,
    Pe,
    Queue,
    Router,
    Setting,
    State,
    Total,
)
from wse.fabric.engine.wheel import schedule
from wse.fabric.tables import RouteColumn

RAMP = 4
RAMP_OUT = 5
DROP = 6
"""Ports of a move: 0 to 3 the mesh, then the ramp in both directions; or the wavelet vanishes."""


@inlined
def neighbour(pe: int, port: int, width: int) -> int:
    """The PE that a mesh port leads to."""
    if port < 2:
        return pe - width if port == 0 else pe + width
    return pe + 1 if port == 2 else pe - 1


@inlined
def _rests(f: State, cycle: int) -> bool:
    period = f.numbers[Setting.REST]
    return period > 0 and cycle % period == period - 1


@inlined
def _grants(f: State, pe: int, colour: int, queue: int, port: int, entry: int) -> bool:
    """Whether what ``port`` leads to takes the head; if not, it will wake this router."""
    to = np.int64(f.queues[queue, Queue.TO + port])
    if port == RAMP:
        if control_vanishes(f, pe, colour, entry):
            return True
        granted = f.queues[to, Queue.COUNT] < f.numbers[Setting.INPUT_WORDS]
    else:
        room = f.queues[to, Queue.COUNT] < f.numbers[Setting.ROUTER_WORDS]
        granted = room and (f.queues[to, Queue.RECEIVE] >> (port ^ 1)) & 1 != 0
    if not granted:
        f.queues[to, Queue.WAITED] |= 1 << (port ^ 1)
    return granted


@inlined
def _remaining(f: State, pe: int, colour: int, queue: int, entry: int) -> int:
    """The ports that the head has still to pass, 0 if it has none to pass at all."""
    left = np.int64(f.queues[queue, Queue.REMAINING])
    if left != 0:
        return left
    left = np.int64(f.queues[queue, Queue.TRANSMIT])
    if f.queues[queue, Queue.COUNTER] >= 0 and entry & CONTROL_BIT == 0:
        route = queue_of(f, pe, colour, Pair.ROUTE)
        if f.queues[queue, Queue.COUNTER] > f.routes[route, RouteColumn.FILTER_LIMIT]:
            left &= ~(1 << RAMP)
    f.queues[queue, Queue.REMAINING] = left
    return left


@inlined
def _contest(f: State, pe: int, port: int, colour: int, asked: int) -> int:
    """Let a colour ask for a port; 1 if another colour asks too, and one of them loses.

    The first after the colour last served wins.
    """
    if (asked >> port) & 1 == 0:
        f.numbers[BEST + port] = colour
        return 0
    holder, last = f.numbers[BEST + port], f.routers[pe, Router.SERVED + port]
    colours = f.numbers[Setting.COLOURS]
    if (colour - last - 1 + colours) % colours < (holder - last - 1 + colours) % colours:
        f.numbers[BEST + port] = colour
    return 1


@inlined
def _add_move(f: State, queue: int, port: int) -> None:
    f.moves[f.numbers[Total.MOVES]] = (queue << 3) | port
    f.numbers[Total.MOVES] += 1


@inlined
def _serve(f: State, pe: int, port: int, colour: int, queue: int) -> None:
    """A port will pass the head of a queue."""
    _add_move(f, queue, port)
    f.routers[pe, Router.SERVED + port] = colour


@inlined
def _ask_for_ports(f: State, pe: int, cycle: int, rests: bool) -> tuple[int, int]:
    """Every ready head asks for its ports.

    The ports that are to be served, as a mask, and the next cycle in which this router must look.
    """
    later, asked, colour = NEVER, 0, -1
    filled = np.int64(f.routers[pe, Router.FILLED])
    alone = filled & (filled - 1) == 0
    filled <<= 1
    while filled > 1:
        filled, colour = filled >> 1, colour + 1
        if filled & 1 == 0:
            continue
        queue = queue_of(f, pe, colour, Pair.ROUTER)
        entry = head(f, queue)
        if entry >> READY_SHIFT > cycle:
            later = min(later, entry >> READY_SHIFT)
            continue
        left, port = _remaining(f, pe, colour, queue, entry), 0
        if left == 0:
            _add_move(f, queue, DROP)
        while left != 0:
            if left & 1 != 0:
                if rests and port != RAMP:
                    later = cycle + 1
                elif not _grants(f, pe, colour, queue, port, entry):
                    pass
                elif alone:
                    _serve(f, pe, port, colour, queue)
                else:
                    if _contest(f, pe, port, colour, asked) != 0:
                        later = cycle + 1
                    asked |= 1 << port
            left, port = left >> 1, port + 1
    return asked, later


@inlined
def _ask_for_ramp_out(f: State, pe: int, cycle: int) -> tuple[int, int]:
    """The same for the output queues of the PE."""
    later, asked, colour = NEVER, 0, -1
    filled = np.int64(f.routers[pe, Router.OUTPUT_FILLED]) << 1
    while filled > 1:
        filled, colour = filled >> 1, colour + 1
        if filled & 1 == 0:
            continue
        queue = queue_of(f, pe, colour, Pair.OUTPUT)
        ready = head(f, queue) >> READY_SHIFT
        to = np.int64(f.queues[queue, Queue.TO + RAMP])
        if ready > cycle:
            later = min(later, ready)
        elif to < 0:
            continue
        elif (
            f.queues[to, Queue.COUNT] >= f.numbers[Setting.ROUTER_WORDS]
            or (f.queues[to, Queue.RECEIVE] >> RAMP) & 1 == 0
        ):
            f.queues[to, Queue.WAITED] |= 1 << RAMP
        else:
            if _contest(f, pe, RAMP_OUT, colour, asked) != 0:
                later = cycle + 1
            asked = 1 << RAMP_OUT
    return asked, later


@compiled
def decide(f: State, first: int, end: int, cycle: int) -> None:
    """Phase A: due routers write down their moves; nothing that another router sees changes."""
    pes, rests = f.numbers[Setting.PES], _rests(f, cycle)
    for number in range(first, end):
        pe = np.int64(f.nodes[pes + number, Node.DUE])
        asked, later = 0, NEVER
        if f.routers[pe, Router.FILLED] != 0:
            asked, later = _ask_for_ports(f, pe, cycle, rests)
        if f.routers[pe, Router.OUTPUT_FILLED] != 0:
            asked_out, later_out = _ask_for_ramp_out(f, pe, cycle)
            asked, later = asked | asked_out, min(later, later_out)
        port = 0
        while asked != 0:
            if asked & 1 != 0:
                colour = f.numbers[BEST + port]
                kind = Pair.OUTPUT if port == RAMP_OUT else Pair.ROUTER
                _serve(f, pe, port, colour, queue_of(f, pe, colour, kind))
            asked, port = asked >> 1, port + 1
        if later != NEVER:
            schedule(f, pes + pe, later)


@inlined
def _enter_router(f: State, queue: int, wavelet: int, cycle: int) -> None:
    """A wavelet reaches a router from a neighbour or its own PE."""
    pe, colour = np.int64(f.queues[queue, Queue.PE]), np.int64(f.queues[queue, Queue.COLOUR])
    if f.queues[queue, Queue.LAST_PUSH] == cycle:
        fail(f, cycle, pe, Error.COLLISION, colour)
        return
    ready = cycle + f.numbers[Setting.HOP]
    f.queues[queue, Queue.LAST_PUSH] = cycle
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
    position = np.int64(f.queues[queue, Queue.POSITION]) + 1
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
def _wake_waiting(f: State, pe: int, queue: int, cycle: int) -> None:
    """A place became free, or a switch turned: who was refused looks again."""
    waited = np.int64(f.queues[queue, Queue.WAITED])
    f.queues[queue, Queue.WAITED] = 0
    for port in range(4):
        if (waited >> port) & 1 != 0:
            other = neighbour(pe, port, f.numbers[Setting.WIDTH])
            schedule(f, f.numbers[Setting.PES] + other, cycle + 1)
    if (waited >> RAMP) & 1 != 0:
        schedule(f, f.numbers[Setting.PES] + pe, cycle + 1)


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
        _wake_waiting(f, pe, queue, cycle)


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
        pe, colour = np.int64(f.queues[queue, Queue.PE]), np.int64(f.queues[queue, Queue.COLOUR])
        wavelet = head(f, queue) & WAVELET
        if port != DROP:
            f.routers[pe, Router.LOADS + port] += 1
            to = np.int64(f.queues[queue, Queue.TO + min(port, RAMP)])
            if port == RAMP:
                latest = max(latest, _enter_pe(f, pe, colour, to, wavelet, cycle))
            else:
                _enter_router(f, to, wavelet, cycle)
                latest = max(latest, cycle + f.numbers[Setting.HOP])
        if port == RAMP_OUT:
            _leave_pe(f, pe, colour, queue, cycle)
        else:
            left = f.queues[queue, Queue.REMAINING] & ~(1 << port)
            f.queues[queue, Queue.REMAINING] = left
            if left == 0:
                _pass(f, pe, colour, queue, wavelet, cycle)
    f.numbers[Total.CYCLES] = max(f.numbers[Total.CYCLES], latest)
