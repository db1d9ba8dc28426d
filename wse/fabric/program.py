"""A program for the fabric: colours, routes, and the code of each region of PEs.

Regions are given as ``x`` and ``y``: a number, or a slice as numpy takes it; without them, the
whole mesh. A later route overrides an earlier one of the same colour, so that the edges of a
region can be set after its inside.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wse.fabric.code import Code
from wse.fabric.errors import ProgramError, RouteError
from wse.fabric.operands import Colour
from wse.fabric.tables import Direction

ALL = slice(None)
Position = tuple[Direction, Direction]
"""The receive and the transmit set of one position of a switch."""


@dataclass(frozen=True)
class Filter:
    """Of ``period`` data wavelets, the ramp gets those whose count, from 0, is at most ``limit``.

    The first wavelet counts as number ``start``.
    """

    limit: int
    period: int
    start: int = 0

    def __post_init__(self) -> None:
        if not (0 <= self.start < self.period and self.limit >= 0):
            raise RouteError(f"{self}: start must lie in 0 to period - 1, and limit not below 0")


@dataclass(frozen=True)
class Route:
    """A colour's route at a PE: its switch positions (one: no switch) and its filter."""

    positions: tuple[Position, ...]
    ring: bool = False
    filter: Filter | None = None


class Program:
    """``width`` x ``height`` PEs; PE (0, 0) is in the north-west."""

    def __init__(self, width: int, height: int) -> None:
        if width < 1 or height < 1:
            raise ProgramError(f"a mesh of {width} x {height} PEs")
        self.width, self.height = width, height
        self.colours: list[Colour] = []
        self.codes: list[Code] = []
        self.routes: list[Route] = []
        self.route_of: list[NDArray[np.int32]] = []
        self.code_of: NDArray[np.int16] = np.full((height, width), -1, np.int16)

    @property
    def x(self) -> NDArray[np.int64]:
        """Every PE's column, [height, width]."""
        return np.indices((self.height, self.width))[1]

    @property
    def y(self) -> NDArray[np.int64]:
        """Every PE's row, [height, width]."""
        return np.indices((self.height, self.width))[0]

    def colour(self, name: str) -> Colour:
        """A new colour."""
        if any(name == colour.name for colour in self.colours):
            raise ProgramError(f"colour {name} exists already")
        self.colours.append(Colour(name, len(self.colours)))
        self.route_of.append(np.full((self.height, self.width), -1, np.int32))
        return self.colours[-1]

    def route(
        self,
        colour: Colour,
        receive: Direction,
        transmit: Direction,
        x: int | slice = ALL,
        y: int | slice = ALL,
        filter: Filter | None = None,
    ) -> None:
        """Let the region's routers pass ``colour`` from ``receive`` to all of ``transmit``."""
        self.switch(colour, [(receive, transmit)], x, y, filter=filter)

    def switch(
        self,
        colour: Colour,
        positions: Sequence[Position],
        x: int | slice = ALL,
        y: int | slice = ALL,
        ring: bool = False,
        filter: Filter | None = None,
    ) -> None:
        """A route with positions; each control wavelet that passes a router advances its own."""
        if not positions or not all(receive and transmit for receive, transmit in positions):
            raise RouteError(f"colour {colour.name}: a route receives and transmits somewhere")
        route = Route(tuple(positions), ring, filter)
        if route not in self.routes:
            self.routes.append(route)
        region = self._region(x, y)
        self.route_of[colour.index][region] = self.routes.index(route)

    def code(self, name: str, x: int | slice = ALL, y: int | slice = ALL) -> Code:
        """A new code, run by the PEs of the region."""
        if any(name == code.name for code in self.codes):
            raise ProgramError(f"code {name} exists already")
        self.codes.append(Code(name, np.zeros((self.height, self.width), bool)))
        self.place(self.codes[-1], x, y)
        return self.codes[-1]

    def place(self, code: Code, x: int | slice = ALL, y: int | slice = ALL) -> None:
        """Let the PEs of one more region run ``code``."""
        region = self._region(x, y)
        taken = np.argwhere(self.code_of[region] >= 0)
        if len(taken):
            other = self.codes[self.code_of[region][tuple(taken[0])]]
            raise ProgramError(f"code {code.name}: PEs of its region run {other.name} already")
        self.code_of[region] = self.codes.index(code)
        code.pes[region] = True

    def _region(self, x: int | slice, y: int | slice) -> tuple[slice, slice]:
        columns, rows = _slice(x, self.width, "x"), _slice(y, self.height, "y")
        return rows, columns


def _slice(index: int | slice, size: int, axis: str) -> slice:
    if isinstance(index, slice):
        return index
    if not -size <= index < size:
        raise ProgramError(f"{axis} = {index} is outside of the mesh, 0 to {size - 1}")
    return slice(index % size, index % size + 1)
