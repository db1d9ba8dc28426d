"""Runs a program cycle after cycle, every router and PE in every cycle.

    outcome = run(assembled, WSE2, max_cycles=10_000)

Each cycle has the three phases of ``docs/fabric.md``: routers decide, PEs act, transfers are
carried out. Cycles are not skipped, so this is slow; meshes of a few PEs are what it is for.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wse.fabric.assembled import Assembled
from wse.fabric.errors import (
    CollisionError,
    CycleLimitError,
    DeadlockError,
    FabricError,
    MemoryRangeError,
)
from wse.fabric.machine import Machine
from wse.fabric.reference.operations import Storage
from wse.fabric.reference.pe import ProcessingElement, place_of
from wse.fabric.reference.queues import Queue
from wse.fabric.reference.router import MESH_PORTS, Decision, Route, Router, links_rest
from wse.fabric.tables import PORTS, STEP


@dataclass(frozen=True)
class Outcome:
    """What a run left: cells are as in :class:`~wse.fabric.tables.Assembled`; P PEs.

    ``link_wavelets`` counts by output port the wavelets that each router passed.
    """

    cycles: int
    memory: NDArray[np.uint32]
    registers: NDArray[np.uint32]
    link_wavelets: NDArray[np.int64]  # [P, PORTS]
    busy_cycles: NDArray[np.int64]  # [P]


def run(program: Assembled, machine: Machine, max_cycles: int) -> Outcome:
    """Run ``program`` to its end.

    Raises :class:`CollisionError`, :class:`MemoryRangeError`, :class:`DeadlockError` or
    :class:`CycleLimitError`.
    """
    mesh = Mesh(program, machine)
    cycle = 0
    while mesh.advance(cycle) or mesh.will_act_after(cycle):
        if mesh.last_change >= max_cycles:
            raise CycleLimitError(f"the run is not over at its limit of {max_cycles} cycles")
        cycle += 1
    if mesh.has_work():
        last = mesh.last_action
        raise DeadlockError(f"nothing moves after cycle {last}", last, *mesh.what_is_left())
    return mesh.outcome()


class Mesh:
    """All routers and PEs of a program, by the number of the PE."""

    def __init__(self, program: Assembled, machine: Machine) -> None:
        self.program, self.machine = program, machine
        pes = range(program.width * program.height)
        self.storages = [self.make_storage(number) for number in pes]
        self.routers = [self.make_router(number) for number in pes]
        self.connect()
        self.elements = [
            ProcessingElement(number, machine, program, program.codes[code], self.storages[number])
            for number, code in enumerate(program.code_of)
            if code >= 0
        ]
        # The last cycle in which something moved or acted; in which anything changed; and until
        # which what was done lasts.
        self.last_action = self.last_change = self.last_cycle = 0

    # Building.

    def make_storage(self, number: int) -> Storage:
        """Memory, registers and queues of a PE."""
        program, machine = self.program, self.machine
        memory = slice(*program.memory_first[number : number + 2])
        registers = slice(*program.register_first[number : number + 2])
        return Storage(
            memory=program.memory[memory].tolist(),
            registers=program.registers[registers].tolist(),
            inputs=self.make_queues(program.receives, number, machine.input_queue_words),
            outputs=self.make_queues(program.sends, number, machine.output_queue_words),
        )

    def make_queues(self, used: NDArray[np.bool_], number: int, places: int) -> dict[int, Queue]:
        """A queue for each colour that the code of a PE uses."""
        code = self.program.code_of[number]
        colours = np.flatnonzero(used[code]).tolist() if code >= 0 else []
        return {colour: Queue(places) for colour in colours}

    def make_router(self, number: int) -> Router:
        """The router of a PE."""
        program, code = self.program, self.program.code_of[number]
        rows = program.route_of[number]
        storage = self.storages[number]
        return Router(
            number,
            self.machine,
            {colour: Route(program.routes[row]) for colour, row in enumerate(rows) if row >= 0},
            storage.inputs,
            storage.outputs,
            np.flatnonzero(program.controls[code]).tolist() if code >= 0 else [],
            len(program.colours),
        )

    def connect(self) -> None:
        """Tell each router its neighbours."""
        width, height = self.program.width, self.program.height
        for number, router in enumerate(self.routers):
            for port in MESH_PORTS:
                x, y = number % width + STEP[port][0], number // width + STEP[port][1]
                if 0 <= x < width and 0 <= y < height:
                    router.neighbours[port] = self.routers[y * width + x]

    # A cycle.

    def advance(self, cycle: int) -> bool:
        """Simulate ``cycle``; return whether anything changed in it."""
        decisions = [router.decide(cycle) for router in self.routers]
        errors = self.let_elements_act(cycle)
        errors |= self.carry_out(decisions, cycle)
        if errors:
            raise errors[min(errors)]
        moved = any(decision.moves() for decision in decisions)
        acted = moved or any(element.acted for element in self.elements)
        changed = acted or any(element.completed for element in self.elements)
        self.last_action = cycle if acted else self.last_action
        self.last_change = cycle if changed else self.last_change
        return changed

    def let_elements_act(self, cycle: int) -> dict[tuple[int, int], FabricError]:
        """Phase B; return the errors by PE."""
        errors: dict[tuple[int, int], FabricError] = {}
        for element in self.elements:
            try:
                element.act(cycle)
            except MemoryRangeError as error:
                errors[element.number, -1] = error
        return errors

    def carry_out(
        self, decisions: list[Decision], cycle: int
    ) -> dict[tuple[int, int], FabricError]:
        """Phase C; return the collisions by PE and colour."""
        entered: Counter[tuple[int, int]] = Counter()
        for router, decision in zip(self.routers, decisions, strict=True):
            for receiver, colour in router.pass_on(decision, cycle):
                entered[receiver.number, colour] += 1
                self.last_cycle = max(self.last_cycle, cycle + self.machine.hop_cycles)
        for element in self.elements:
            element.carry_out()
        return {
            (number, colour): CollisionError(
                f"{place_of(number, self.program.width)}: two wavelets of colour "
                f"{self.program.colours[colour]} arrive in one cycle, sent in cycle {cycle}"
            )
            for (number, colour), count in entered.items()
            if count > 1
        }

    # The end.

    def will_act_after(self, cycle: int) -> bool:
        """Whether time alone will let something happen after ``cycle``, in which nothing did."""
        waiting = any(queue.waits_after(cycle) for queue in self.queues())
        acting = any(element.will_act_after(cycle) for element in self.elements)
        return waiting or acting or links_rest(self.machine, cycle)

    def queues(self) -> list[Queue]:
        """Every queue of the mesh."""
        return [queue for number in range(len(self.routers)) for queue in self.queues_of(number)]

    def queues_of(self, number: int) -> list[Queue]:
        """The queues of a PE and its router."""
        router, storage = self.routers[number], self.storages[number]
        return [*router.queues.values(), *storage.inputs.values(), *storage.outputs.values()]

    def has_work(self) -> bool:
        """Whether something is left that can never be done."""
        stuck = any(queue.wavelets for queue in self.queues())
        return stuck or any(element.count_of_waiting() for element in self.elements)

    def what_is_left(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Operations and tasks that wait, and wavelets left in queues, by PE: [height, width]."""
        waiting = np.zeros(len(self.routers), np.int64)
        for element in self.elements:
            waiting[element.number] = element.count_of_waiting()
        wavelets = [
            sum(len(queue.wavelets) for queue in self.queues_of(number))
            for number in range(len(self.routers))
        ]
        shape = (self.program.height, self.program.width)
        return waiting.reshape(shape), np.array(wavelets, np.int64).reshape(shape)

    def outcome(self) -> Outcome:
        """What there is at the end."""
        pes = len(self.routers)
        busy = np.zeros(pes, dtype=np.int64)
        for element in self.elements:
            busy[element.number] = element.busy_cycles
        passed = [router.passed for router in self.routers]
        return Outcome(
            cycles=max([self.last_cycle, *(element.last_cycle for element in self.elements)]),
            memory=_joined([storage.memory for storage in self.storages]),
            registers=_joined([storage.registers for storage in self.storages]),
            link_wavelets=np.array(passed, dtype=np.int64).reshape(pes, PORTS),
            busy_cycles=busy,
        )


def _joined(cells: list[list[int]]) -> NDArray[np.uint32]:
    return np.array([cell for pe in cells for cell in pe], dtype=np.uint32)
