"""Reductions of every PE's array into PE (0, 0): along rows to the first column, then along it.

Each takes PEs and words, and works in one dimension on a mesh of height 1. Closed forms for a
line of P PEs and B wavelets, a hop of 1 and the ramp T_R ("Near-Optimal Wafer-Scale Reduce", 2024):

- chain: ``B + (2 T_R + 2)(P - 1)``
- two-phase, groups of S: ``2 B + (2 T_R + 2)(S - 1) + (P / S - 1)(S + 2 T_R + 1)``
- binary tree: ``log2(P) (B + 2 T_R + 1) + P - 1``, from the cost model of the same paper
"""

from __future__ import annotations

from collections.abc import Callable

from wse.fabric.code import Code
from wse.fabric.errors import ProgramError
from wse.fabric.library.chains import Chain, Place
from wse.fabric.library.experiment import Answer, Experiment, small_integers
from wse.fabric.library.lines import Collective, Line, Role, codes_by_role
from wse.fabric.operands import Array
from wse.fabric.program import Program
from wse.fabric.tables import F32, DType

QUEUES = 8
"""Input queues of a PE, on WSE-2 and WSE-3."""


class ChainReduce:
    """One chain over the whole line, to its first PE; two colours."""

    def __init__(self, line: Line) -> None:
        colours = line.colour("chain even"), line.colour("chain odd")
        self.chain = Chain(line, range(line.length), colours)

    def role(self, position: int) -> Place:
        """The place in the chain."""
        return self.chain.place(position)

    def emit(self, code: Code, role: Place, array: Array) -> None:
        """Add up the arrays."""
        self.chain.reduce(code, role, array)


class TwoPhaseReduce:
    """A chain in each group of ``group`` PEs, then one over their first PEs; four colours."""

    def __init__(self, line: Line, group: int) -> None:
        if not 0 < group <= line.length or line.length % group:
            raise ProgramError(f"groups of {group} PEs do not fill a line of {line.length}")
        names = ("group even", "group odd"), ("leaders even", "leaders odd")
        inside, between = ([line.colour(name) for name in pair] for pair in names)
        self.groups = Chain(line, range(group), inside, period=group)
        self.leaders = Chain(line, range(0, line.length, group), between)

    def role(self, position: int) -> tuple[Place, Place]:
        """The places in both chains."""
        return self.groups.place(position), self.leaders.place(position)

    def emit(self, code: Code, role: tuple[Place, Place], array: Array) -> None:
        """Add up the arrays of the group, then those of the leaders."""
        self.groups.reduce(code, role[0], array)
        self.leaders.reduce(code, role[1], array)


class TreeReduce:
    """A tree: in round k, chains of ``arity`` PEs that are ``arity ** k`` apart.

    With an arity of 2 odd multiples of 2^k send to the even ones before them. The first PE has an
    input queue for each round.
    """

    def __init__(self, line: Line, arity: int = 2) -> None:
        self.rounds: list[Chain] = []
        for number in range(rounds_of_tree(line.length, arity)):
            distance = arity**number
            colours = [
                line.colour(f"round {number} {parity}") for parity in range(min(arity - 1, 2))
            ]
            nodes = range(0, arity * distance, distance)
            both = colours[-1], colours[0]
            self.rounds.append(Chain(line, nodes, both, period=arity * distance))

    def role(self, position: int) -> tuple[Place, ...]:
        """The places in all rounds; a PE that has sent is done."""
        return tuple(chain.place(position) for chain in self.rounds)

    def emit(self, code: Code, role: tuple[Place, ...], array: Array) -> None:
        """Add what each round brings, until the own turn to send."""
        for chain, place in zip(self.rounds, role, strict=True):
            chain.reduce(code, place, array)


def reduce(
    width: int, height: int, words: int, dtype: DType, collective: Callable[[Line], Collective]
) -> Experiment:
    """The sum of all PEs' arrays ``x`` in that of PE (0, 0), by ``collective`` in both axes."""
    program = Program(width, height)
    rows, column = collective(Line(program, "x")), collective(Line(program, "y", across=0))
    values = small_integers((height, width, words), dtype)
    first_column = rows.role(0)

    def emit(code: Code, role_x: Role, role_y: Role, array: Array) -> None:
        rows.emit(code, role_x, array)
        if role_x == first_column:
            column.emit(code, role_y, array)

    for code, role_x, role_y in codes_by_role(program, rows.role, column.role):
        array = code.array("x", words, dtype, values)
        with code.main():
            emit(code, role_x, role_y, array)
    total = values.sum(axis=(0, 1), dtype=dtype.numpy)
    return Experiment(program, (Answer("x", total, x=0, y=0),))


def chain_reduce(width: int, height: int, words: int, dtype: DType = F32) -> Experiment:
    """A reduction by chains."""
    return reduce(width, height, words, dtype, ChainReduce)


def two_phase_reduce(
    width: int, height: int, words: int, dtype: DType = F32, group: int | None = None
) -> Experiment:
    """A reduction in two phases; ``group`` of the rows (default, and of the column: balanced)."""

    def two_phase(line: Line) -> TwoPhaseReduce:
        given = group if line.axis == "x" else None
        return TwoPhaseReduce(line, given or balanced_group(line.length))

    return reduce(width, height, words, dtype, two_phase)


def tree_reduce(width: int, height: int, words: int, dtype: DType = F32) -> Experiment:
    """A reduction by trees: binary if the first PE has a queue for every round, else wider."""
    arity = 2
    while rounds_of_tree(width, arity) + rounds_of_tree(height, arity) > QUEUES:
        arity *= 2
    return reduce(width, height, words, dtype, lambda line: TreeReduce(line, arity))


def rounds_of_tree(length: int, arity: int) -> int:
    """The least number of rounds that reach every PE of a line."""
    rounds = 0
    while arity**rounds < length:
        rounds += 1
    return rounds


def balanced_group(length: int) -> int:
    """The divisor of ``length`` nearest to its square root: as many groups as PEs in each."""
    divisors = [size for size in range(1, length + 1) if length % size == 0]
    return min(divisors, key=lambda size: abs(size - length**0.5))
