"""Time: which PE and which router has its next event when, in buckets of one cycle.

Nodes 0 to P - 1 are PEs, P to 2 P - 1 routers. A node has at most one event, the earliest that
was asked for; a visit that finds nothing to do does no harm.
"""

from __future__ import annotations

from wse.fabric.engine.compiling import compiled, inlined
from wse.fabric.engine.state import BUCKETS, NEVER, Node, Setting, State, Total

MASK = BUCKETS - 1


@inlined
def schedule(f: State, node: int, cycle: int) -> None:
    """Let ``node`` be visited in ``cycle``, unless it is earlier."""
    before = f.nodes[node, Node.WAKE]
    if before <= cycle:
        return
    if before == NEVER:
        f.numbers[Total.SCHEDULED] += 1
    else:
        _unlink(f, node, before)
    bucket = cycle & MASK
    first = f.buckets[bucket]
    f.nodes[node, Node.AFTER], f.nodes[node, Node.BEFORE] = first, -1
    if first >= 0:
        f.nodes[first, Node.BEFORE] = node
    f.buckets[bucket] = node
    f.nodes[node, Node.WAKE] = cycle


@inlined
def _unlink(f: State, node: int, cycle: int) -> None:
    after, before = f.nodes[node, Node.AFTER], f.nodes[node, Node.BEFORE]
    if after >= 0:
        f.nodes[after, Node.BEFORE] = before
    if before >= 0:
        f.nodes[before, Node.AFTER] = after
    else:
        f.buckets[cycle & MASK] = after


@compiled
def collect(f: State, cycle: int) -> tuple[int, int]:
    """Take what is due in ``cycle``: PEs to the front of ``due``, routers to its back."""
    pe_count, router_count, last = 0, 0, f.nodes.shape[0] - 1
    node = f.buckets[cycle & MASK]
    while node >= 0:
        after = f.nodes[node, Node.AFTER]
        if f.nodes[node, Node.WAKE] == cycle:
            _unlink(f, node, cycle)
            f.nodes[node, Node.WAKE] = NEVER
            if node < f.numbers[Setting.PES]:
                f.nodes[pe_count, Node.DUE] = node
                pe_count += 1
            else:
                f.nodes[last - router_count, Node.DUE] = node
                router_count += 1
        node = after
    f.numbers[Total.SCHEDULED] -= pe_count + router_count
    return pe_count, router_count
