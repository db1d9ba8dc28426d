"""Time: which PE and which router has its next event when, in buckets of one cycle.

Nodes 0 to P - 1 are PEs, P to 2 P - 1 routers. A node has at most one event, the earliest that
was asked for; a visit that finds nothing to do does no harm.
"""

from __future__ import annotations

from wse.fabric.engine.compiling import compiled, inlined
from wse.fabric.engine.state import BUCKETS, NEVER, Setting, State, Total

MASK = BUCKETS - 1


@inlined
def schedule(f: State, node: int, cycle: int) -> None:
    """Let ``node`` be visited in ``cycle``, unless it is earlier."""
    before = f.wake[node]
    if before <= cycle:
        return
    if before == NEVER:
        f.totals[Total.SCHEDULED] += 1
    else:
        _unlink(f, node, before)
    bucket = cycle & MASK
    first = f.buckets[bucket]
    f.links[node, 0], f.links[node, 1] = first, -1
    if first >= 0:
        f.links[first, 1] = node
    f.buckets[bucket] = node
    f.wake[node] = cycle


@inlined
def _unlink(f: State, node: int, cycle: int) -> None:
    after, before = f.links[node, 0], f.links[node, 1]
    if after >= 0:
        f.links[after, 1] = before
    if before >= 0:
        f.links[before, 0] = after
    else:
        f.buckets[cycle & MASK] = after


@compiled
def collect(f: State, cycle: int) -> tuple[int, int]:
    """Take what is due in ``cycle``: PEs to the front of ``due``, routers to its back."""
    pe_count, router_count, last = 0, 0, f.due.shape[0] - 1
    node = f.buckets[cycle & MASK]
    while node >= 0:
        after = f.links[node, 0]
        if f.wake[node] == cycle:
            _unlink(f, node, cycle)
            f.wake[node] = NEVER
            if node < f.settings[Setting.PES]:
                f.due[pe_count] = node
                pe_count += 1
            else:
                f.due[last - router_count] = node
                router_count += 1
        node = after
    f.totals[Total.SCHEDULED] -= pe_count + router_count
    return pe_count, router_count
