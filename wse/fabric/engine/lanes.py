"""Lanes: lines of routers that only hand one colour on, simulated a line at a time.

In a *stage* of a lane a colour comes in from one side and goes out to another, which no other
colour of that router goes out to; its route has one position and no filter. So nothing is decided
there but whether a head is ready and the next stage has room. A lane keeps that as masks with a
bit for each stage: where more than n places are taken, and where more than n wavelets are ready,
for each n. Wavelets do not overtake: they stay where they are in one ring of the lane, and how
many each stage holds says which are where.

The first stage's row of ``queues`` has its count, for whoever sends to the lane. What the other
stages' rows say is written at the end of the run, the cycle of the last arrival once a round.
"""

from __future__ import annotations

from wse.fabric.engine.columns import RING, Lane, Node, Queue
from wse.fabric.engine.compiling import compiled, inlined, lowest_bit, wide
from wse.fabric.engine.queues import happened
from wse.fabric.engine.router import link_grants, rests
from wse.fabric.engine.state import Setting, State, Total
from wse.fabric.engine.transfers import count, enter_router, ready_masks, under_way, wake_waiting
from wse.fabric.engine.wheel import schedule


@inlined
def _stage_queue(f: State, lane: int, stage: int) -> int:
    """The row of ``queues`` of a stage."""
    return wide(f.stages[f.lanes[lane, Lane.FIRST] + stage])


@inlined
def _exit(f: State, lane: int) -> int:
    """The last stage."""
    return f.lanes[lane, Lane.STAGES] - 1


@inlined
def _arrive(f: State, lane: int, cycle: int) -> None:
    """What was sent ``hop_cycles`` ago is ready."""
    arrived = f.lanes[lane, under_way(f, cycle)]
    if arrived != 0:
        f.lanes[lane, under_way(f, cycle)] = 0
        count(f, lane, ready_masks(f), arrived, 0)


@compiled
def decide_lanes(f: State, lane_count: int, cycle: int) -> None:
    """Phase A: the stages of due lanes whose heads will move."""
    due, resting = 2 * f.numbers[Setting.PES], rests(f, cycle)
    for number in range(lane_count):
        lane = wide(f.nodes[due + number, Node.DUE])
        _arrive(f, lane, cycle)
        asking = f.lanes[lane, ready_masks(f)]
        if resting:
            f.lanes[lane, Lane.MOVING] = 0
            if asking != 0:
                schedule(f, due + lane, cycle + 1)
            continue
        full, last = f.lanes[lane, ready_masks(f) - 1], _exit(f, lane)
        moving = asking & ~(full >> 1)
        if (asking >> last) & 1 != 0:
            leaves = link_grants(f, _stage_queue(f, lane, last), f.lanes[lane, Lane.PORT])
            if not leaves:
                moving &= ~(1 << last)
        f.lanes[lane, Lane.MOVING] = moving


@inlined
def _leave(f: State, lane: int, cycle: int) -> None:
    """The lane's first wavelet goes to the router behind it."""
    left = f.lanes[lane, Lane.LEFT]
    place = f.lanes[lane, Lane.WAVELETS] + (left & f.lanes[lane, Lane.PLACES])
    queue = _stage_queue(f, lane, _exit(f, lane))
    to = wide(f.queues[queue, Queue.TO + f.lanes[lane, Lane.PORT]])
    f.lanes[lane, Lane.LEFT] = left + 1
    enter_router(f, to, f.wavelets[place], cycle)


@inlined
def _remember(f: State, lane: int, onward: int, cycle: int) -> None:
    """Keep who was sent a wavelet in this cycle; of the round before, when each was the last."""
    now = cycle // RING
    if f.lanes[lane, Lane.ROUND] != now:
        _note_arrivals(f, lane)
        f.lanes[lane, Lane.ROUND] = now
    f.lanes[lane, Lane.SENT + cycle % RING] = onward


@compiled
def _note_arrivals(f: State, lane: int) -> None:
    """Of the lane's round: into ``queues`` the cycle in which each stage was sent the last."""
    seen, begin = wide(0), f.lanes[lane, Lane.ROUND] * RING
    for cycle in range(RING - 1, -1, -1):
        sent = f.lanes[lane, Lane.SENT + cycle]
        f.lanes[lane, Lane.SENT + cycle] = 0
        lasts = sent & ~seen
        seen |= sent
        while lasts != 0:
            queue = _stage_queue(f, lane, lowest_bit(lasts))
            f.queues[queue, Queue.LAST_PUSH] = begin + cycle
            lasts &= lasts - 1


@inlined
def _move(f: State, lane: int, moving: int, cycle: int) -> None:
    """Every head that moves is in the next stage, or behind the lane."""
    last = _exit(f, lane)
    onward = (moving & ~(1 << last)) << 1
    count(f, lane, Lane.MASKS, onward, moving)
    count(f, lane, ready_masks(f), 0, moving)
    f.lanes[lane, under_way(f, cycle)] |= onward
    _remember(f, lane, onward, cycle)
    if moving & 1 != 0:
        queue = _stage_queue(f, lane, 0)
        f.queues[queue, Queue.COUNT] -= 1
        if f.queues[queue, Queue.WAITED] != 0:
            wake_waiting(f, wide(f.queues[queue, Queue.PE]), queue, cycle)
    if (moving >> last) & 1 != 0:
        _leave(f, lane, cycle)


@inlined
def _is_under_way(f: State, lane: int) -> bool:
    """Whether a wavelet is between two stages: the next cycle may find it ready."""
    between = 0
    for ago in range(f.numbers[Setting.HOP]):
        between |= f.lanes[lane, under_way(f, ago)]
    return between != 0


@compiled
def commit_lanes(f: State, lane_count: int, cycle: int) -> None:
    """Phase C: the moves within lanes, and out of them, are made."""
    due, any_moved = 2 * f.numbers[Setting.PES], False
    for number in range(lane_count):
        lane = wide(f.nodes[due + number, Node.DUE])
        moving = f.lanes[lane, Lane.MOVING]
        if moving != 0:
            any_moved = True
            _move(f, lane, moving, cycle)
        if moving != 0 or _is_under_way(f, lane):
            schedule(f, due + lane, cycle + 1)
    if any_moved:
        happened(f, cycle)
        ready = cycle + f.numbers[Setting.HOP]
        f.numbers[Total.CYCLES] = max(f.numbers[Total.CYCLES], ready)
