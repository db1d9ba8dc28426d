"""The loop over cycles that have events."""

from __future__ import annotations

from wse.fabric.engine.compiling import kept
from wse.fabric.engine.pe import act
from wse.fabric.engine.queues import happened
from wse.fabric.engine.router import commit, decide
from wse.fabric.engine.state import RING, Error, Home, Setting, State, Total
from wse.fabric.engine.wheel import begin_round, collect, schedule


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
        pe_count, router_count = collect(f, cycle)
        decide(f, router_count, cycle)
        act(f, pe_count, cycle)
        commit(f, cycle)
        if f.numbers[Total.MOVES] > 0:
            happened(f, cycle)
        if max(f.numbers[Total.LAST], f.numbers[Total.CHANGED]) >= f.numbers[Setting.LIMIT]:
            f.numbers[Total.ERROR_CYCLE], f.numbers[Total.ERROR_KIND] = cycle, Error.LIMIT
            return
