"""Routes as rows of numbers, and the refusal of those that lead nowhere."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from wse.fabric.errors import CapacityError, RouteError
from wse.fabric.machine import Machine
from wse.fabric.operands import Colour
from wse.fabric.program import Program, Route
from wse.fabric.tables import OPPOSITE, PORT_NAMES, ROUTE_COLUMNS, STEP, Int32Table, RouteColumn

RAMP_PORT = 4


def route_rows(program: Program) -> Int32Table:
    """The table ``routes``, [R, ROUTE_COLUMNS]."""
    rows = np.zeros((len(program.routes), ROUTE_COLUMNS), np.int32)
    for row, route in zip(rows, program.routes, strict=True):
        row[RouteColumn.POSITIONS], row[RouteColumn.RING] = len(route.positions), route.ring
        for number, (receive, transmit) in enumerate(route.positions):
            row[RouteColumn.RECEIVE + number] = receive
            row[RouteColumn.TRANSMIT + number] = transmit
        if route.filter is not None:
            row[RouteColumn.FILTER_LIMIT] = route.filter.limit
            row[RouteColumn.FILTER_PERIOD] = route.filter.period
            row[RouteColumn.FILTER_START] = route.filter.start
    return rows


def check_routes(program: Program, receives: NDArray[np.bool_], machine: Machine) -> None:
    """Raise :class:`RouteError` for the first route that cannot be; ``receives`` is [C, K]."""
    for route in program.routes:
        _check_switch(route, machine)
    for colour, route_of in zip(program.colours, program.route_of, strict=True):
        receive, transmit = _union(program, route_of, 0), _union(program, route_of, 1)
        _check_edges(colour, receive, "receives from")
        _check_edges(colour, transmit, "transmits to")
        for port in range(RAMP_PORT):
            _check_neighbour(colour, transmit, receive, port)
        with_queue = np.append(receives[:, colour.index], False)[program.code_of]
        _refuse(
            (transmit >> RAMP_PORT & 1).astype(bool) & ~with_queue,
            f"colour {colour.name} goes to the ramp of PE {{}}, whose code does not receive it",
        )


def _check_switch(route: Route, machine: Machine) -> None:
    if len(route.positions) > machine.switch_positions:
        raise CapacityError(
            f"a switch of {len(route.positions)} positions; {machine.name} has "
            f"{machine.switch_positions}"
        )
    receive, transmit = route.positions[0]
    for number, position in enumerate(route.positions):
        both = position[0] != receive and position[1] != transmit
        if both and not machine.switch_changes_both:
            raise RouteError(
                f"switch position {number} changes both what is received and what is transmitted; "
                f"{machine.name} can change only one of them"
            )


def _union(program: Program, route_of: NDArray[np.int32], side: int) -> NDArray[np.int32]:
    """[height, width]: directions in any position; 0 where there is no route."""
    unions = []
    for route in program.routes:
        directions = [int(position[side]) for position in route.positions]
        unions.append(int(np.bitwise_or.reduce(directions)))
    return np.array([*unions, 0], np.int32)[route_of]


def _check_edges(colour: Colour, directions: NDArray[np.int32], verb: str) -> None:
    height, width = directions.shape
    y, x = np.indices((height, width))
    for port, (dx, dy) in enumerate(STEP):
        leaves = (x + dx < 0) | (x + dx >= width) | (y + dy < 0) | (y + dy >= height)
        beyond = leaves & (directions >> port & 1).astype(bool)
        _refuse(beyond, f"colour {colour.name} at PE {{}} {verb} {PORT_NAMES[port]}, off the mesh")


def _check_neighbour(
    colour: Colour, transmit: NDArray[np.int32], receive: NDArray[np.int32], port: int
) -> None:
    dx, dy = STEP[port]
    accepts = np.roll(receive >> OPPOSITE[port] & 1, (-dy, -dx), axis=(0, 1)).astype(bool)
    _refuse(
        (transmit >> port & 1).astype(bool) & ~accepts,
        f"colour {colour.name} at PE {{}} transmits to {PORT_NAMES[port]}, where the neighbour "
        f"never receives it from {PORT_NAMES[OPPOSITE[port]]}",
    )


def _refuse(wrong: NDArray[np.bool_], message: str) -> None:
    found = np.argwhere(wrong)
    if len(found):
        y, x = found[0]
        raise RouteError(message.format(f"({x}, {y})"))
