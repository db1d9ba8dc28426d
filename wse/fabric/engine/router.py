"""Routers: what they decide on the state at the beginning of a cycle."""

from __future__ import annotations

from wse.fabric.engine.columns import DROP, RAMP, RAMP_OUT, Node, Pair, Queue, Router
from wse.fabric.engine.compiling import compiled, inlined, lowest_bit, wide
from wse.fabric.engine.queues import (
    CONTROL_BIT,
    READY_SHIFT,
    control_vanishes,
    head,
    queue_of,
)
from wse.fabric.engine.state import BEST, NEVER, Setting, State, Total
from wse.fabric.engine.wheel import schedule
from wse.fabric.tables import RouteColumn


@inlined
def rests(f: State, cycle: int) -> bool:
    """Whether no wavelet may be put on a link in ``cycle``."""
    period = f.numbers[Setting.REST]
    return period > 0 and cycle % period == period - 1


@inlined
def link_grants(f: State, queue: int, port: int) -> bool:
    """Whether the router behind a mesh port takes a head; if not, it will wake who asked."""
    to = wide(f.queues[queue, Queue.TO + port])
    room = f.queues[to, Queue.COUNT] < f.numbers[Setting.ROUTER_WORDS]
    granted = room and (f.queues[to, Queue.RECEIVE] >> (port ^ 1)) & 1 != 0
    if not granted:
        f.queues[to, Queue.WAITED] |= 1 << (port ^ 1)
    return granted


@inlined
def _grants(f: State, pe: int, colour: int, queue: int, port: int, entry: int) -> bool:
    """Whether what ``port`` leads to takes the head; if not, it will wake this router."""
    if port != RAMP:
        return link_grants(f, queue, port)
    if control_vanishes(f, pe, colour, entry):
        return True
    to = wide(f.queues[queue, Queue.TO + RAMP])
    granted = f.queues[to, Queue.COUNT] < f.numbers[Setting.INPUT_WORDS]
    if not granted:
        f.queues[to, Queue.WAITED] = 1
    return granted


@inlined
def _remaining(f: State, pe: int, colour: int, queue: int, entry: int) -> int:
    """The ports that the head has still to pass, 0 if it has none to pass at all."""
    left = wide(f.queues[queue, Queue.REMAINING])
    if left != 0:
        return left
    left = wide(f.queues[queue, Queue.TRANSMIT])
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
    # A colour up to the last one comes after all that follow it.
    after, holds_after = colour > last, holder > last
    wins = after if after != holds_after else colour < holder
    if wins:
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
def _ask_for_ports(f: State, pe: int, cycle: int, resting: bool) -> tuple[int, int]:
    """Every ready head asks for its ports.

    The ports that are to be served, as a mask, and the next cycle in which this router must look.
    """
    later, asked = NEVER, 0
    filled = wide(f.routers[pe, Router.FILLED])
    alone = filled & (filled - 1) == 0
    while filled != 0:
        colour = lowest_bit(filled)
        filled &= filled - 1
        queue = queue_of(f, pe, colour, Pair.ROUTER)
        entry = head(f, queue)
        if entry >> READY_SHIFT > cycle:
            later = min(later, entry >> READY_SHIFT)
            continue
        left = _remaining(f, pe, colour, queue, entry)
        if left == 0:
            _add_move(f, queue, DROP)
        while left != 0:
            port = lowest_bit(left)
            left &= left - 1
            if resting and port != RAMP:
                later = cycle + 1
            elif not _grants(f, pe, colour, queue, port, entry):
                pass
            elif alone:
                _serve(f, pe, port, colour, queue)
            else:
                if _contest(f, pe, port, colour, asked) != 0:
                    later = cycle + 1
                asked |= 1 << port
    return asked, later


@inlined
def _ask_for_ramp_out(f: State, pe: int, cycle: int) -> tuple[int, int]:
    """The same for the output queues of the PE."""
    later, asked = NEVER, 0
    filled = wide(f.routers[pe, Router.OUTPUT_FILLED])
    while filled != 0:
        colour = lowest_bit(filled)
        filled &= filled - 1
        queue = queue_of(f, pe, colour, Pair.OUTPUT)
        ready = head(f, queue) >> READY_SHIFT
        to = wide(f.queues[queue, Queue.TO + RAMP])
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
    pes, resting = f.numbers[Setting.PES], rests(f, cycle)
    for number in range(first, end):
        pe = wide(f.nodes[pes + number, Node.DUE])
        asked, later = 0, NEVER
        if f.routers[pe, Router.FILLED] != 0:
            asked, later = _ask_for_ports(f, pe, cycle, resting)
        if f.routers[pe, Router.OUTPUT_FILLED] != 0:
            asked_out, later_out = _ask_for_ramp_out(f, pe, cycle)
            asked, later = asked | asked_out, min(later, later_out)
        while asked != 0:
            port = lowest_bit(asked)
            asked &= asked - 1
            colour = f.numbers[BEST + port]
            kind = Pair.OUTPUT if port == RAMP_OUT else Pair.ROUTER
            _serve(f, pe, port, colour, queue_of(f, pe, colour, kind))
        if later != NEVER:
            schedule(f, pes + pe, later)
