"""Time: which PE and which router has its next event when.

Nodes 0 to P - 1 are PEs, P to 2 P - 1 routers, those from 2 P on lanes. A node has at most one
event, the earliest that was asked for; a visit that finds nothing to do does no harm. The ring
holds a bit for each node and each of the next ``RING`` cycles, and one more row for all that is
later; a bit whose node has another time by now is void. Bits keep the nodes in the order of memory,
which is what makes large meshes quick.
"""

from __future__ import annotations

import numpy as np

from wse.fabric.engine.columns import RING, Node
from wse.fabric.engine.compiling import compiled, inlined, lowest_bit
from wse.fabric.engine.state import NEVER, Setting, State, Total

LATER = RING
"""The ring's row of what is not within the next round."""
WORD_BITS = 32


@inlined
def _mark(f: State, row: int, node: int) -> None:
    f.ring[row, node >> 5] |= np.uint32(1 << (node & 31))
    f.ring_filled[row] = 1


@inlined
def schedule(f: State, node: int, cycle: int) -> None:
    """Let ``node`` be visited in ``cycle``, unless it is earlier."""
    before = f.nodes[node, Node.WAKE]
    if before <= cycle:
        return
    if before == NEVER:
        f.numbers[Total.SCHEDULED] += 1
    f.nodes[node, Node.WAKE] = cycle
    ahead = cycle < f.numbers[Total.ROUND] + RING
    _mark(f, cycle % RING if ahead else LATER, node)


@compiled
def begin_round(f: State, cycle: int) -> None:
    """At a multiple of ``RING``: what was later and is in this round goes into its cycle's row."""
    f.numbers[Total.ROUND] = cycle
    if f.ring_filled[LATER] == 0:
        return
    f.ring_filled[LATER] = 0
    for place in range(f.ring.shape[1]):
        word = np.int64(f.ring[LATER, place])
        f.ring[LATER, place] = 0
        while word != 0:
            node = place * WORD_BITS + lowest_bit(word)
            word &= word - 1
            wake = np.int64(f.nodes[node, Node.WAKE])
            if wake != NEVER:
                _mark(f, wake % RING if wake < cycle + RING else LATER, node)


@compiled
def collect(f: State, cycle: int) -> tuple[int, int, int]:
    """Take what is due in ``cycle``: how many PEs, routers and lanes, listed in ``DUE``."""
    row, pes = cycle % RING, f.numbers[Setting.PES]
    f.ring_filled[row] = 0
    pe_count, router_count, lane_count = 0, 0, 0
    for place in range(f.ring.shape[1]):
        word = np.int64(f.ring[row, place])
        if word == 0:
            continue
        f.ring[row, place] = 0
        while word != 0:
            node = place * WORD_BITS + lowest_bit(word)
            word &= word - 1
            if f.nodes[node, Node.WAKE] != cycle:
                continue
            f.nodes[node, Node.WAKE] = NEVER
            if node < pes:
                f.nodes[pe_count, Node.DUE] = node
                pe_count += 1
            elif node < 2 * pes:
                f.nodes[pes + router_count, Node.DUE] = node - pes
                router_count += 1
            else:
                f.nodes[2 * pes + lane_count, Node.DUE] = node - 2 * pes
                lane_count += 1
    f.numbers[Total.SCHEDULED] -= pe_count + router_count + lane_count
    return pe_count, router_count, lane_count
