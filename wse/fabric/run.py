"""Run a program on a machine, and what one gets: cycles, arrays, loads of links, a timeline."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from wse.fabric.assemble import assemble, from_bits
from wse.fabric.assembled import ArrayPlace, Assembled
from wse.fabric.deadlock import what_waits, where_it_waits
from wse.fabric.engine.build import build
from wse.fabric.engine.columns import Pe, Router
from wse.fabric.engine.lane_tables import write_back
from wse.fabric.engine.loop import simulate
from wse.fabric.engine.state import Error, State, Total
from wse.fabric.errors import (
    CollisionError,
    CycleLimitError,
    DeadlockError,
    FabricError,
    MemoryRangeError,
)
from wse.fabric.machine import Machine
from wse.fabric.operands import Array, Register
from wse.fabric.program import ALL, Program

MAXIMUM_CYCLES = 2**30 - 2**20
"""The longest run: cycles are 32-bit numbers."""


@dataclass(frozen=True, eq=False)
class Result:
    """What a run did; *simulated*. Meshes are [height, width].

    ``link_wavelets`` [height, width, 6] counts what each port passed: NORTH, SOUTH, EAST, WEST,
    the ramp into the PE, the ramp out of it. ``first_delivery`` and ``last_delivery`` are the
    cycles in which the PE had its first and last wavelet (-1: none). ``events`` [n, 4] are PE,
    row of instructions, begin and end, if asked for; PE is y * width + x.
    """

    program: Assembled
    machine: Machine
    cycles: int
    link_wavelets: NDArray[np.int32]
    busy_cycles: NDArray[np.int32]
    first_delivery: NDArray[np.int32]
    last_delivery: NDArray[np.int32]
    events: NDArray[np.int64]
    wall_seconds: float
    memory: NDArray[np.uint32] = field(repr=False)
    registers: NDArray[np.uint32] = field(repr=False)

    @property
    def pe_cycles_per_second(self) -> float:
        """Speed of the simulation: PEs of the mesh times cycles, per second of wall time."""
        pes = self.program.width * self.program.height
        return pes * self.cycles / max(self.wall_seconds, 1e-9)

    @property
    def utilisation(self) -> float:
        """Mean share of the cycles in which the vector units of PEs with a code worked."""
        with_code = self.program.code_of.reshape(self.busy_cycles.shape) >= 0
        if not with_code.any() or self.cycles == 0:
            return 0.0
        return float(self.busy_cycles[with_code].mean()) / self.cycles

    def array(self, array: Array | str, x: int | slice = ALL, y: int | slice = ALL) -> NDArray:
        """The values of an array in a region of PEs that all have it: [height, width, length].

        A number instead of a slice removes its axis, as in numpy.
        """
        name = array if isinstance(array, str) else array.name
        return self._cells("arrays", name, x, y)

    def register(
        self, register: Register | str, x: int | slice = ALL, y: int | slice = ALL
    ) -> NDArray:
        """The values of a register in a region of PEs that all have it: [height, width]."""
        name = register if isinstance(register, str) else register.name
        return self._cells("registers", name, x, y)[..., 0]

    def _cells(self, kind: str, name: str, x: int | slice, y: int | slice) -> NDArray:
        pes = np.arange(self.program.width * self.program.height).reshape(self.busy_cycles.shape)
        region = pes[y, x]
        places = {
            number: place
            for number, code in enumerate(self.program.codes)
            for place in getattr(code, kind)
            if place.name == name
        }
        here = np.unique(self.program.code_of[region])
        kinds = {(places[code].length, places[code].dtype) for code in here if code in places}
        missing = [code for code in here if code not in places]
        if missing or len(kinds) != 1:
            first = int(region.ravel()[0]) if region.size else 0
            for pe in region.ravel():
                if self.program.code_of[pe] in missing:
                    first = int(pe)
                    break
            at = f"({first % self.program.width}, {first // self.program.width})"
            raise FabricError(f"{name}: PE {at} has no such array, or one of another kind")
        return self._gather(kind, region, {code: places[code] for code in here})

    def _gather(self, kind: str, region: NDArray, places: dict[int, ArrayPlace]) -> NDArray:
        one = next(iter(places.values()))
        firsts = np.zeros(len(self.program.codes), np.int64)
        for code, place in places.items():
            firsts[code] = place.first
        of_pe = self.program.memory_first if kind == "arrays" else self.program.register_first
        cells = self.memory if kind == "arrays" else self.registers
        where = of_pe[region] + firsts[self.program.code_of[region]]
        return from_bits(cells[where[..., None] + np.arange(one.length)], one.dtype)


def run(
    program: Program | Assembled,
    machine: Machine,
    max_cycles: int = MAXIMUM_CYCLES,
    timeline: int = 0,
) -> Result:
    """Run ``program`` to its end on ``machine``.

    ``timeline`` is the most events to record. Raises a child of :class:`FabricError`: what the
    program cannot do, a collision, a deadlock, or no end before ``max_cycles``.
    """
    assembled = assemble(program, machine) if isinstance(program, Program) else program
    limit = min(max_cycles, MAXIMUM_CYCLES)
    state = build(assembled, machine, limit, timeline)
    begin = time.perf_counter()
    simulate(state)
    write_back(state, machine)
    seconds = time.perf_counter() - begin
    _check(assembled, state, limit)
    shape = (assembled.height, assembled.width)
    registers, cells = len(assembled.memory), state.integers.view(np.uint32)
    return Result(
        program=assembled,
        machine=machine,
        cycles=int(state.numbers[Total.CYCLES]),
        link_wavelets=state.routers[:, Router.LOADS : Router.LOADS + 6].reshape(*shape, 6).copy(),
        busy_cycles=state.pes[:, Pe.BUSY].reshape(shape).copy(),
        first_delivery=state.pes[:, Pe.FIRST_DELIVERY].reshape(shape).copy(),
        last_delivery=state.pes[:, Pe.LAST_DELIVERY].reshape(shape).copy(),
        events=state.events[: min(timeline, int(state.numbers[Total.EVENTS]))],
        wall_seconds=seconds,
        memory=cells[:registers],
        registers=cells[registers : registers + len(assembled.registers)],
    )


def _check(program: Assembled, state: State, limit: int) -> None:
    """Raise what went wrong."""
    kind, cycle = state.numbers[Total.ERROR_KIND], int(state.numbers[Total.ERROR_CYCLE])
    pe, detail = int(state.numbers[Total.ERROR_PE]), int(state.numbers[Total.ERROR_DETAIL])
    at = f"PE ({pe % program.width}, {pe // program.width})"
    if kind == Error.COLLISION:
        raise CollisionError(
            f"{at}: two wavelets of colour {program.colours[detail]} arrive in one cycle, "
            f"sent in cycle {cycle}"
        )
    if kind == Error.RANGE:
        raise MemoryRangeError(
            f"{at}: {program.lines[detail]!r} reaches outside its array in cycle {cycle}"
        )
    if kind == Error.LIMIT:
        raise CycleLimitError(f"the run is not over at its limit of {limit} cycles")
    waiting = what_waits(program, state)
    if waiting:
        last = int(state.numbers[Total.LAST])
        raise DeadlockError(
            f"nothing moves after cycle {last}: {'; '.join(waiting)}",
            last,
            *where_it_waits(program, state),
        )
