"""Routers: what they decide on the state at the beginning of a cycle, and what then moves."""

from __future__ import annotations

import numpy as np

from wse.fabric.engine.compiling import compiled, inlined
from wse.fabric.engine.queues import CONTROL_BIT, READY_SHIFT, WAVELET, head, pop, push, queue_of
from wse.fabric.engine.state import (
    BEST,
    NEVER,
    NO_CYCLE,
    CodeRow,
    Error,
    Home,
    Node,
    Pair,
    Pe,
    Queue,
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
def fail(f: State, cycle: int, pe: int, kind: int, detail: int) -> None:
    """Record an error, if it is the first of the run: the earliest, then of the lowest PE."""
    at, lowest = f.numbers[Total.ERROR_CYCLE], f.numbers[Total.ERROR_PE]
    if cycle < at or (cycle == at and pe < lowest):
        f.numbers[Total.ERROR_CYCLE], f.numbers[Total.ERROR_PE] = cycle, pe
        f.numbers[Total.ERROR_KIND], f.numbers[Total.ERROR_DETAIL] = kind, detail


@inlined
def neighbour(f: State, pe: int, port: int) -> int:
    """The PE that a mesh port leads to."""
    if port < 2:
        width = f.numbers[Setting.WIDTH]
        return pe - width if port == 0 else pe + width
    return pe + 1 if port == 2 else pe - 1


@inlined
def _route_set(f: State, pe: int, colour: int, queue: int, column: int) -> int:
    """A router queue's receive or transmit set at its switch's position."""
    route = queue_of(f, pe, colour, Pair.ROUTE)
    return np.int64(f.routes[route, column + f.queues[queue, Queue.POSITION]])


@inlined
def _rests(f: State, cycle: int) -> bool:
    period = f.numbers[Setting.REST]
    return period > 0 and cycle % period == period - 1


@inlined
def _has_room(f: State, queue: int, setting: int) -> bool:
    return f.queues[queue, Queue.COUNT] < f.numbers[setting]


@inlined
def _control_vanishes(f: State, pe: int, colour: int, entry: int) -> bool:
    return (
        entry & CONTROL_BIT != 0
        and (f.codes[f.homes[pe, Home.CODE], CodeRow.CONTROLS] >> colour) & 1 == 0
    )


@inlined
def _grants(f: State, pe: int, colour: int, port: int, entry: int) -> bool:
    """Whether what ``port`` leads to takes a wavelet of the colour in this cycle."""
    if port == RAMP:
        if _control_vanishes(f, pe, colour, entry):
            return True
        return _has_room(f, queue_of(f, pe, colour, Pair.INPUT), Setting.INPUT_WORDS)
    other = neighbour(f, pe, port)
    queue = queue_of(f, other, colour, Pair.ROUTER)
    if not _has_room(f, queue, Setting.ROUTER_WORDS):
        return False
    return (_route_set(f, other, colour, queue, RouteColumn.RECEIVE) >> (port ^ 1)) & 1 != 0


@inlined
def _remaining(f: State, pe: int, colour: int, queue: int, entry: int) -> int:
    """The ports that the head has still to pass, 0 if it has none to pass at all."""
    left = np.int64(f.queues[queue, Queue.REMAINING])
    if left != 0:
        return left
    left = _route_set(f, pe, colour, queue, RouteColumn.TRANSMIT)
    route = queue_of(f, pe, colour, Pair.ROUTE)
    filtered = f.routes[route, RouteColumn.FILTER_PERIOD] > 0 and entry & CONTROL_BIT == 0
    if filtered and f.queues[queue, Queue.COUNTER] > f.routes[route, RouteColumn.FILTER_LIMIT]:
        left &= ~(1 << RAMP)
    f.queues[queue, Queue.REMAINING] = left
    return left


@inlined
def _contest(f: State, pe: int, port: int, colour: int) -> bool:
    """Let a colour ask for a port; whether the port was free so far.

    The first after the colour last served wins.
    """
    holder = f.numbers[BEST + port]
    if holder < 0:
        f.numbers[BEST + port] = colour
        return True
    colours, last = f.numbers[Setting.COLOURS], f.pes[pe, Pe.SERVED + port]
    if (colour - last - 1 + colours) % colours < (holder - last - 1 + colours) % colours:
        f.numbers[BEST + port] = colour
    return False


@inlined
def _add_move(f: State, queue: int, port: int) -> None:
    f.moves[f.numbers[Total.MOVES]] = (queue << 3) | port
    f.numbers[Total.MOVES] += 1


@inlined
def _ask_for_ports(f: State, pe: int, cycle: int) -> int:
    """Every ready head asks for its ports; the next cycle in which this router must look."""
    colours, later, rests = f.numbers[Setting.COLOURS], NEVER, _rests(f, cycle)
    filled = f.pes[pe, Pe.ROUTER_FILLED]
    for colour in range(colours):
        if (filled >> colour) & 1 == 0:
            continue
        queue = queue_of(f, pe, colour, Pair.ROUTER)
        entry = head(f, queue)
        if entry >> READY_SHIFT > cycle:
            later = min(later, entry >> READY_SHIFT)
            continue
        left = _remaining(f, pe, colour, queue, entry)
        if left == 0:
            _add_move(f, queue, DROP)
        for port in range(5):
            if (left >> port) & 1 == 0:
                continue
            if rests and port != RAMP:
                later = cycle + 1
            elif not _grants(f, pe, colour, port, entry):
                f.pes[pe, Pe.ASLEEP] = 1
            elif not _contest(f, pe, port, colour):
                later = cycle + 1
    return later


@inlined
def _ask_for_ramp_out(f: State, pe: int, cycle: int) -> int:
    """The same for the output queues of the PE."""
    colours, later = f.numbers[Setting.COLOURS], NEVER
    filled = f.pes[pe, Pe.OUTPUT_FILLED]
    for colour in range(colours):
        if (filled >> colour) & 1 == 0:
            continue
        entry = head(f, queue_of(f, pe, colour, Pair.OUTPUT))
        queue = queue_of(f, pe, colour, Pair.ROUTER)
        if entry >> READY_SHIFT > cycle:
            later = min(later, entry >> READY_SHIFT)
        elif (
            queue < 0
            or not _has_room(f, queue, Setting.ROUTER_WORDS)
            or (_route_set(f, pe, colour, queue, RouteColumn.RECEIVE) >> RAMP) & 1 == 0
        ):
            f.pes[pe, Pe.ASLEEP] = 1
        elif not _contest(f, pe, RAMP_OUT, colour):
            later = cycle + 1
    return later


@compiled
def decide(f: State, router_count: int, cycle: int) -> None:
    """Phase A: the due routers write down their moves; nothing that another router sees changes."""
    pes, colours, last = f.numbers[Setting.PES], f.numbers[Setting.COLOURS], f.nodes.shape[0] - 1
    f.numbers[Total.MOVES] = 0
    for number in range(router_count):
        pe = np.int64(f.nodes[last - number, Node.DUE]) - pes
        f.pes[pe, Pe.ASLEEP] = 0
        later = NEVER
        f.numbers[BEST : BEST + 6] = -1
        if f.pes[pe, Pe.ROUTER_FILLED] != 0:
            later = _ask_for_ports(f, pe, cycle)
        if f.pes[pe, Pe.OUTPUT_FILLED] != 0:
            later = min(later, _ask_for_ramp_out(f, pe, cycle))
        for port in range(6):
            colour = f.numbers[BEST + port]
            if colour >= 0:
                kind = Pair.OUTPUT if port == RAMP_OUT else Pair.ROUTER
                _add_move(f, queue_of(f, pe, colour, kind), port)
                f.pes[pe, Pe.SERVED + port] = colour
        if later != NEVER:
            schedule(f, pes + pe, later)


@inlined
def _enter_router(f: State, pe: int, colour: int, wavelet: int, cycle: int) -> None:
    """A wavelet reaches a router from a neighbour or its own PE."""
    queue = queue_of(f, pe, colour, Pair.ROUTER)
    if f.queues[queue, Queue.LAST_PUSH] == cycle:
        fail(f, cycle, pe, Error.COLLISION, colour)
        return
    ready = cycle + f.numbers[Setting.HOP]
    f.queues[queue, Queue.LAST_PUSH] = cycle
    if f.queues[queue, Queue.COUNT] == 0:
        f.pes[pe, Pe.ROUTER_FILLED] |= 1 << colour
        schedule(f, f.numbers[Setting.PES] + pe, ready)
    push(f, queue, wavelet, ready)


@inlined
def _enter_pe(f: State, pe: int, colour: int, wavelet: int, cycle: int) -> None:
    """A wavelet goes down the ramp."""
    if _control_vanishes(f, pe, colour, wavelet):
        return
    queue = queue_of(f, pe, colour, Pair.INPUT)
    ready = cycle + f.numbers[Setting.RAMP]
    if f.queues[queue, Queue.COUNT] == 0:
        schedule(f, pe, ready)
    push(f, queue, wavelet, ready)
    f.pes[pe, Pe.LAST_DELIVERY] = ready
    if f.pes[pe, Pe.FIRST_DELIVERY] == NO_CYCLE:
        f.pes[pe, Pe.FIRST_DELIVERY] = ready


@inlined
def wake_router(f: State, pe: int, cycle: int) -> None:
    """A place became free: look again if something was blocked."""
    if f.pes[pe, Pe.ASLEEP] != 0:
        schedule(f, f.numbers[Setting.PES] + pe, cycle + 1)


@inlined
def _pass(f: State, pe: int, colour: int, queue: int, wavelet: int, cycle: int) -> None:
    """The head leaves its router: switch and filter move on, and who waited looks again."""
    route = queue_of(f, pe, colour, Pair.ROUTE)
    if wavelet & CONTROL_BIT != 0:
        following = f.queues[queue, Queue.POSITION] + 1
        if following < f.routes[route, RouteColumn.POSITIONS]:
            f.queues[queue, Queue.POSITION] = following
        elif f.routes[route, RouteColumn.RING] != 0:
            f.queues[queue, Queue.POSITION] = 0
    elif f.routes[route, RouteColumn.FILTER_PERIOD] > 0:
        counted = f.queues[queue, Queue.COUNTER] + 1
        f.queues[queue, Queue.COUNTER] = counted % f.routes[route, RouteColumn.FILTER_PERIOD]
    if pop(f, queue) == 0:
        f.pes[pe, Pe.ROUTER_FILLED] &= ~(1 << colour)
    else:
        ready = head(f, queue) >> READY_SHIFT
        schedule(f, f.numbers[Setting.PES] + pe, max(cycle + 1, ready))
    receive = _route_set(f, pe, colour, queue, RouteColumn.RECEIVE)
    for port in range(4):
        if (receive >> port) & 1 != 0:
            wake_router(f, neighbour(f, pe, port), cycle)
    if (receive >> RAMP) & 1 != 0:
        wake_router(f, pe, cycle)


@inlined
def _leave_pe(f: State, pe: int, colour: int, queue: int, wavelet: int, cycle: int) -> None:
    """A wavelet leaves an output queue for its own router."""
    if pop(f, queue) == 0:
        f.pes[pe, Pe.OUTPUT_FILLED] &= ~(1 << colour)
    else:
        ready = head(f, queue) >> READY_SHIFT
        schedule(f, f.numbers[Setting.PES] + pe, max(cycle + 1, ready))
    if f.pes[pe, Pe.WAITS_FOR_ROOM] != 0:
        schedule(f, pe, cycle + 1)
    _enter_router(f, pe, colour, wavelet, cycle)


@compiled
def commit(f: State, cycle: int) -> None:
    """Phase C: what was decided moves."""
    for number in range(f.numbers[Total.MOVES]):
        queue, port = f.moves[number] >> 3, f.moves[number] & 7
        pe = np.int64(f.queues[queue, Queue.PE])
        colour = np.int64(f.queues[queue, Queue.COLOUR])
        wavelet = head(f, queue) & WAVELET
        if port < DROP:
            f.pes[pe, Pe.LOADS + port] += 1
        if port == RAMP_OUT:
            _leave_pe(f, pe, colour, queue, wavelet, cycle)
            continue
        if port < RAMP:
            _enter_router(f, neighbour(f, pe, port), colour, wavelet, cycle)
        elif port == RAMP:
            _enter_pe(f, pe, colour, wavelet, cycle)
        left = f.queues[queue, Queue.REMAINING] & ~(1 << port)
        f.queues[queue, Queue.REMAINING] = left
        if left == 0:
            _pass(f, pe, colour, queue, wavelet, cycle)
