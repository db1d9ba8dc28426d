"""All-reduces along a line: every PE ends with the sum of all arrays.

- :class:`ChainAllReduce`: a chain to the first PE, and back again by a chain in which every PE
  passes on what it receives: ``(2 T_R + 1 + hop)`` cycles a PE in each direction.
- :class:`TwoTreeAllReduce`: two levels, groups and the groups' roots, each a chain from both sides
  to the middle; then a multicast. For groups of sqrt(P) PEs the words pass ``sqrt(P)`` ramps
  instead of 2 P; the hops, P each way in all, remain.
"""

from __future__ import annotations

from wse.fabric.code import Code
from wse.fabric.library.broadcast import Broadcast
from wse.fabric.library.chains import Chain, Place
from wse.fabric.library.experiment import Answer, Experiment, small_integers
from wse.fabric.library.lines import Collective, Line, Role, codes_by_role
from wse.fabric.library.reduce import balanced_group
from wse.fabric.operands import Array
from wse.fabric.program import Program
from wse.fabric.tables import F32, RAMP, DType


class ChainAllReduce:
    """There and back by chains; four colours."""

    def __init__(self, line: Line) -> None:
        self.length = line.length
        self.there = Chain(
            line, range(line.length), (line.colour("there even"), line.colour("there odd"))
        )
        self.back = line.colour("back even"), line.colour("back odd")
        for position in range(line.length):
            mine, theirs = self.back[position % 2], self.back[1 - position % 2]
            if position > 0:
                line.route(theirs, line.backward, RAMP, [position])
            if 0 < position < line.length - 1:
                line.route(mine, RAMP, line.forward | RAMP, [position])
        if line.length > 1:
            line.route(self.back[0], RAMP, line.forward, [0])

    def role(self, position: int) -> Place:
        """The place in the chain there."""
        return self.there.place(position)

    def emit(self, code: Code, role: Place, array: Array) -> None:
        """Add up, then pass the sum on; the own router returns a copy of what is passed on."""
        self.there.reduce(code, role, array)
        if role is Place.ROOT:
            code.move(self.back[0], array)
        elif role in (Place.ODD, Place.EVEN):
            mine = int(role is Place.ODD)
            code.move(array, self.back[mine], thread=0)
            code.move(self.back[mine].stream(array.dtype), self.back[1 - mine], length=array.length)
        elif role is not Place.OUTSIDE:
            code.move(array, self.back[1 - int(role is Place.ODD_TAIL)])


class TwoTreeAllReduce:
    """Groups of ``group`` PEs, then their middles, from both sides; a multicast; five colours."""

    def __init__(self, line: Line, group: int | None = None) -> None:
        size = group or balanced_group(line.length)
        middle, groups = size // 2, line.length // size
        root = middle + groups // 2 * size
        names = ("group even", "group odd"), ("middles even", "middles odd")
        inside, between = ([line.colour(name) for name in pair] for pair in names)
        last = middle + (groups - 1) * size
        self.chains = (
            Chain(line, range(middle, size), inside, period=size),
            Chain(line, range(middle, -1, -1), inside[::-1], period=size),
            Chain(line, range(root, last + 1, size), between),
            Chain(line, range(root, middle - 1, -size), between[::-1]),
        )
        self.back = Broadcast(line, root)

    def role(self, position: int) -> tuple[Role, ...]:
        """The places in the four chains, and in the broadcast."""
        return (*(chain.place(position) for chain in self.chains), self.back.role(position))

    def emit(self, code: Code, role: tuple[Role, ...], array: Array) -> None:
        """Add up from both sides, in the group and among the middles; then hear the sum."""
        for chain, place in zip(self.chains, role, strict=False):
            chain.reduce(code, place, array)
        self.back.emit(code, role[-1], array)


def chain_all_reduce(width: int, height: int, words: int, dtype: DType = F32) -> Experiment:
    """The sum of a row's arrays ``x`` in every PE of the row, by chains."""
    program = Program(width, height)
    return _all_reduce(program, ChainAllReduce(Line(program, "x")), words, dtype)


def two_tree_all_reduce(width: int, height: int, words: int, dtype: DType = F32) -> Experiment:
    """The sum of a row's arrays ``x`` in every PE of the row, by two trees."""
    program = Program(width, height)
    return _all_reduce(program, TwoTreeAllReduce(Line(program, "x")), words, dtype)


def _all_reduce(program: Program, rows: Collective, words: int, dtype: DType) -> Experiment:
    values = small_integers((program.height, program.width, words), dtype)
    for code, role, _ in codes_by_role(program, rows.role):
        array = code.array("x", words, dtype, values)
        with code.main():
            rows.emit(code, role, array)
    total = values.sum(axis=1, keepdims=True, dtype=dtype.numpy)
    return Experiment(program, (Answer("x", total),))
