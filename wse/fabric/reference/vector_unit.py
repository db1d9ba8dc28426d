"""The vector unit of a PE: the operations in progress, and whose turn it is.

Micro-threads 0 to 7 have at most one operation each, and so has the main thread, number 8.
"""

from __future__ import annotations

from wse.fabric.machine import Machine
from wse.fabric.reference.operations import MAIN_THREAD, VectorOperation
from wse.fabric.reference.queues import Wavelet

THREADS = MAIN_THREAD + 1


class VectorUnit:
    """What a PE's threads share."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.operations: dict[int, VectorOperation] = {}
        self.last_thread = MAIN_THREAD
        self.busy_cycles = 0

    def is_in_use(self, operation: VectorOperation) -> bool:
        """Whether a thread or a queue that ``operation`` needs is another's."""
        return operation.thread in self.operations or any(
            operation.input_colours() & other.input_colours()
            or operation.output_colours() & other.output_colours()
            for other in self.operations.values()
        )

    def receives(self, colour: int) -> bool:
        """Whether an operation in progress takes the wavelets of ``colour``."""
        return any(colour in one.input_colours() for one in self.operations.values())

    def start(self, operation: VectorOperation) -> None:
        """Begin an operation; without streams, compute all of it."""
        self.operations[operation.thread] = operation
        if not operation.has_streams:
            operation.compute_all()
            operation.end = operation.begin + operation.cycles_from_memory()
            self.busy_cycles += operation.cycles_from_memory()

    def complete(self, cycle: int) -> list[VectorOperation]:
        """Remove and return the operations that end in ``cycle``."""
        ended = [one for one in self.operations.values() if one.end == cycle]
        for operation in ended:
            del self.operations[operation.thread]
        return ended

    def step(self, cycle: int) -> list[tuple[VectorOperation, Wavelet | None]]:
        """Make as many steps as the unit can; return the operations, and what each sends.

        Operations from memory go on only in cycles that leave the unit a step.
        """
        order = [(self.last_thread + 1 + turn) % THREADS for turn in range(THREADS)]
        ready = [
            self.operations[thread]
            for thread in order
            if thread in self.operations and self.operations[thread].can_step(cycle)
        ]
        stepping = ready[: self.machine.vector_steps_per_cycle]
        if len(stepping) == self.machine.vector_steps_per_cycle:
            self.hold_up(cycle)
        for operation in stepping:
            self.last_thread = operation.thread
            self.busy_cycles += 1
        return [(operation, self.sent(operation, cycle)) for operation in stepping]

    def hold_up(self, cycle: int) -> None:
        """Let the operation from memory that would go on in ``cycle`` end a cycle later."""
        for operation in self.operations.values():
            if not operation.has_streams and operation.end is not None:
                operation.end += operation.begin <= cycle < operation.end

    def sent(self, operation: VectorOperation, cycle: int) -> Wavelet | None:
        """Make a step of ``operation``; return the wavelet that it sends, if any."""
        payload = operation.step(cycle)
        if payload is None:
            return None
        ready = cycle + 1 + self.machine.ramp_cycles - self.machine.hop_cycles
        return Wavelet(payload, operation.control, ready)

    def will_act_after(self, cycle: int) -> bool:
        """Whether time alone will let something happen after ``cycle``."""
        return any(one.waits_for_time_after(cycle) for one in self.operations.values())
