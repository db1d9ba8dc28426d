"""The loop over cycles that have events, and over bands of PEs within a cycle."""

from __future__ import annotations

from wse.fabric.engine.columns import RING, Home, Node
from wse.fabric.engine.compiling import compiled, kept
from wse.fabric.engine.lanes import commit_lanes, decide_lanes
from wse.fabric.engine.pe import act
from wse.fabric.engine.queues import happened
from wse.fabric.engine.router import decide
from wse.fabric.engine.state import NEVER, Error, Setting, State, Total
from wse.fabric.engine.transfers import commit
from wse.fabric.engine.wheel import begin_round, collect, schedule

LEAST_BAND = 256


@compiled
def run_bands(f: State, pe_count: int, router_count: int, cycle: int) -> None:
    """All three phases, band after band, so that a band stays in the processor's cache.

    The moves of a band are made when the next one has decided. They reach one row of the mesh
    into it, and a decision looks one row back: bands of two rows keep them apart, and everything
    is still decided on the state at the beginning of the cycle.
    """
    pes, width = f.numbers[Setting.PES], f.numbers[Setting.WIDTH]
    size = max(2 * width, LEAST_BAND)
    pe, router, moved = 0, 0, 0
    f.numbers[Total.MOVES] = 0
    while pe < pe_count or router < router_count:
        lowest = f.nodes[pe, Node.DUE] if pe < pe_count else NEVER
        if router < router_count:
            lowest = min(lowest, f.nodes[pes + router, Node.DUE])
        end = (lowest // size + 1) * size
        first_router, first_pe, decided = router, pe, f.numbers[Total.MOVES]
        while router < router_count and f.nodes[pes + router, Node.DUE] < end:
            router += 1
        while pe < pe_count and f.nodes[pe, Node.DUE] < end:
            pe += 1
        decide(f, first_router, router, cycle)
        act(f, first_pe, pe, cycle)
        commit(f, moved, decided, cycle)
        moved = decided
    commit(f, moved, f.numbers[Total.MOVES], cycle)


@kept
def simulate(f: State) -> None:
    """Run until nothing is to happen any more, or an error; ``numbers`` says which."""
    for pe in range(f.numbers[Setting.PES]):
        if f.homes[pe, Home.ACTIVATED] != 0:
            schedule(f, pe, 0)
    cycle = -1
    while f.numbers[Total.SCHEDULED] > 0 and f.numbers[Total.ERROR_CYCLE] > cycle:
        cycle += 1
        if cycle % RING == 0:
            begin_round(f, cycle)
        if f.ring_filled[cycle % RING] == 0:
            continue
        pe_count, router_count, lane_count = collect(f, cycle)
        # Lanes reach over many bands: they decide before all of them, and move after.
        decide_lanes(f, lane_count, cycle)
        run_bands(f, pe_count, router_count, cycle)
        commit_lanes(f, lane_count, cycle)
        if f.numbers[Total.MOVES] > 0:
            happened(f, cycle)
        if max(f.numbers[Total.LAST], f.numbers[Total.CHANGED]) >= f.numbers[Setting.LIMIT]:
            f.numbers[Total.ERROR_CYCLE], f.numbers[Total.ERROR_KIND] = cycle, Error.LIMIT
            return
