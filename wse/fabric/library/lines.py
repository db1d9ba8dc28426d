"""Lines of PEs: what a collective along x or along y is written for.

A *line* is every row of a mesh at once (axis ``"x"``) or every column (axis ``"y"``); a
*position* counts along it from the west or the north. A collective gives each position a *role*
and says what a role does; positions with the same roles share one code.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol

from wse.fabric.code import Code
from wse.fabric.operands import Array, Colour
from wse.fabric.program import ALL, Filter, Program
from wse.fabric.tables import EAST, NORTH, SOUTH, WEST, Direction

Role = Any
"""What a collective calls the part of a PE; hashable."""


class Line:
    """The rows (``axis`` "x") or columns ("y") of a program's mesh.

    ``across`` chooses among parallel lines, for instance only the column x = 0.
    """

    def __init__(self, program: Program, axis: str, across: int | slice = ALL) -> None:
        self.program, self.axis, self.across = program, axis, across
        along_x = axis == "x"
        self.length = program.width if along_x else program.height
        self.forward: Direction = EAST if along_x else SOUTH
        self.backward: Direction = WEST if along_x else NORTH

    def route(
        self,
        colour: Colour,
        receive: Direction,
        transmit: Direction,
        positions: Iterable[int],
        filter: Filter | None = None,
    ) -> None:
        """One route at the given positions of the line."""
        for along in slices(positions):
            x, y = (along, self.across) if self.axis == "x" else (self.across, along)
            self.program.route(colour, receive, transmit, x, y, filter=filter)

    def colour(self, name: str) -> Colour:
        """A new colour, named after the axis too."""
        return self.program.colour(f"{name} {self.axis}")


class Collective(Protocol):
    """A collective along a line."""

    def role(self, position: int) -> Role:
        """What the PE at a position does."""

    def emit(self, code: Code, role: Role, array: Array) -> None:
        """Write the instructions of a role, on ``array``."""


def slices(positions: Iterable[int]) -> Iterator[slice]:
    """The positions as few strided slices."""
    rest = sorted(positions)
    while rest:
        step = rest[1] - rest[0] if len(rest) > 1 else 1
        count = 1
        while count < len(rest) and rest[count] - rest[count - 1] == step:
            count += 1
        yield slice(rest[0], rest[count - 1] + 1, step)
        rest = rest[count:]


def codes_by_role(
    program: Program,
    role_of_x: Callable[[int], Role] = lambda x: "",
    role_of_y: Callable[[int], Role] = lambda y: "",
) -> Iterator[tuple[Code, Role, Role]]:
    """A code for each pair of roles that occurs, placed on its PEs; none where a role is None."""
    for role_y, rows in _by_role(role_of_y, program.height).items():
        for role_x, columns in _by_role(role_of_x, program.width).items():
            regions = [(x, y) for y in slices(rows) for x in slices(columns)]
            name = " ".join(filter(None, (_words(role_x), _words(role_y))))
            code = program.code(name, *regions[0])
            for x, y in regions[1:]:
                program.place(code, x, y)
            yield code, role_x, role_y


def _by_role(role_of: Callable[[int], Role], length: int) -> dict[Role, list[int]]:
    found: dict[Role, list[int]] = {}
    for position in range(length):
        found.setdefault(role_of(position), []).append(position)
    found.pop(None, None)
    return found


def _words(role: Role) -> str:
    return " ".join(map(str, role)) if isinstance(role, tuple) else str(role)
