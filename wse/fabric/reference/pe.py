"""A processing element: its tasks and its main thread; beside them its vector unit.

:meth:`ProcessingElement.act` is phase B of a cycle. Memory, registers and tasks are the PE's own
and change at once; wavelets leave and enter its queues only with
:meth:`ProcessingElement.carry_out`.
"""

from __future__ import annotations

from wse.fabric.assembled import Assembled, CodeTable
from wse.fabric.errors import MemoryRangeError
from wse.fabric.machine import Machine
from wse.fabric.reference.elements import Element, from_wire, to_cell, wrapped
from wse.fabric.reference.integers import holds, integer_result
from wse.fabric.reference.operations import Storage, VectorOperation
from wse.fabric.reference.queues import Wavelet
from wse.fabric.reference.vector_unit import VectorUnit
from wse.fabric.tables import (
    Arithmetic,
    Comparison,
    InstructionColumn,
    Int32Table,
    Opcode,
    TaskColumn,
    TaskKind,
    VectorColumn,
)


def place_of(number: int, width: int) -> str:
    """PE number ``number`` in words."""
    return f"PE ({number % width}, {number // width})"


class TaskState:
    """A task of one PE: its row of the tables, and its flags."""

    def __init__(self, row: Int32Table) -> None:
        self.kind = TaskKind(row[TaskColumn.KIND])
        self.entry = int(row[TaskColumn.ENTRY])
        self.colour = int(row[TaskColumn.COLOUR])
        self.register = int(row[TaskColumn.REGISTER])
        self.activated = bool(row[TaskColumn.ACTIVATED])
        self.blocked = bool(row[TaskColumn.BLOCKED])


class ProcessingElement:
    """PE number ``number``, which runs the tasks of ``code``."""

    def __init__(
        self, number: int, machine: Machine, program: Assembled, code: CodeTable, storage: Storage
    ) -> None:
        self.number = number
        self.machine = machine
        self.program = program
        self.storage = storage
        self.register_types = [place.dtype for place in code.registers]
        rows = program.tasks[code.first_task : code.first_task + code.task_count]
        self.tasks = [TaskState(row) for row in rows]
        self.last_task = code.task_count - 1
        self.vector_unit = VectorUnit(machine)

        # The main thread is idle while no row of instructions is next; inside a synchronous
        # operation it is due at no cycle.
        self.row: int | None = None
        self.due: int | None = None
        self.waits_to_issue = False

        self.taken: set[int] = set()
        self.sent: list[tuple[int, Wavelet]] = []
        self.acted = self.completed = False
        self.last_cycle = 0

    @property
    def busy_cycles(self) -> int:
        """Cycles of the vector unit."""
        return self.vector_unit.busy_cycles

    def act(self, cycle: int) -> None:
        """Phase B of ``cycle``; raise :class:`MemoryRangeError`."""
        self.acted = self.completed = False
        self.complete(cycle)
        self.run_main_thread(cycle)
        self.step_vector_unit(cycle)

    def carry_out(self) -> None:
        """Phase C at the PE's ends of its queues."""
        for colour in self.taken:
            self.storage.inputs[colour].leave()
        for colour, wavelet in self.sent:
            self.storage.outputs[colour].enter(wavelet)
            self.acts_until(wavelet.ready)
        self.taken.clear()
        self.sent.clear()

    def acts_until(self, cycle: int) -> None:
        """The PE acts in this cycle, and what it does lasts until ``cycle``."""
        self.acted = True
        self.last_cycle = max(self.last_cycle, cycle)

    def will_act_after(self, cycle: int) -> bool:
        """Whether time alone will let something happen after ``cycle``."""
        due_later = self.row is not None and self.due is not None and self.due > cycle
        return due_later or self.vector_unit.will_act_after(cycle)

    def count_of_waiting(self) -> int:
        """Operations in progress or not yet issued, and tasks activated that cannot run."""
        tasks = sum(task.activated for task in self.tasks)
        return len(self.vector_unit.operations) + self.waits_to_issue + tasks

    # The vector unit.

    def complete(self, cycle: int) -> None:
        """What follows from the operations that end in ``cycle``."""
        for operation in self.vector_unit.complete(cycle):
            self.completed = True
            self.last_cycle = max(self.last_cycle, cycle)
            if operation.synchronous:
                self.due = cycle + self.machine.vector_finish_cycles
                self.last_cycle = max(self.last_cycle, self.due)
            if operation.activates >= 0:
                self.tasks[operation.activates].activated = True
            if operation.unblocks >= 0:
                self.tasks[operation.unblocks].blocked = False

    def issue(self, vector: int, cycle: int) -> bool:
        """Issue the vector operation of row ``vector``, unless something of it is in use."""
        row, machine = self.program.vectors[vector], self.machine
        loading = int(row[VectorColumn.LOADS]) * machine.descriptor_load_cycles
        setup = loading + machine.vector_start_cycles
        operands = self.program.operands[vector]
        operation = VectorOperation(row, operands, self.storage, cycle + setup)
        self.waits_to_issue = self.vector_unit.is_in_use(operation)
        if self.waits_to_issue:
            return False
        if not operation.can_run():
            at = place_of(self.number, self.program.width)
            line = self.program.lines[self.row or 0]
            raise MemoryRangeError(f"{at}: {line!r} reaches outside its array in cycle {cycle}")
        self.vector_unit.start(operation)
        self.go_on(cycle, setup)
        if operation.synchronous:
            self.due = None
        return True

    def step_vector_unit(self, cycle: int) -> None:
        """Move wavelets of the operations with streams."""
        for operation, wavelet in self.vector_unit.step(cycle):
            self.acts_until(cycle + 1)
            self.taken |= operation.input_colours()
            if wavelet is not None:
                self.sent += [(colour, wavelet) for colour in operation.output_colours()]

    # The main thread.

    def run_main_thread(self, cycle: int) -> None:
        """Select tasks and execute instructions as long as one is due in ``cycle``."""
        goes_on = True
        while goes_on:
            if self.row is None:
                goes_on = self.select_task(cycle)
            elif self.due is None or self.due > cycle:
                goes_on = False
            else:
                goes_on = self.execute(self.row, cycle)

    def go_on(self, cycle: int, cycles: int) -> None:
        """Let the main thread go on ``cycles`` after ``cycle``."""
        self.due = cycle + cycles
        self.acts_until(self.due)

    def select_task(self, cycle: int) -> bool:
        """Begin the first task after the last one that can run; return whether there was one."""
        count = len(self.tasks)
        order = [(self.last_task + 1 + turn) % count for turn in range(count)]
        number = next((each for each in order if self.can_run(self.tasks[each], cycle)), None)
        if number is None:
            return False
        task = self.tasks[number]
        if task.kind is TaskKind.LOCAL:
            task.activated = False
        else:
            self.take_wavelet(task)
        self.last_task = number
        self.row = task.entry
        self.go_on(cycle, self.machine.task_start_cycles)
        return True

    def can_run(self, task: TaskState, cycle: int) -> bool:
        """Whether ``task`` can be selected in ``cycle``."""
        if task.blocked or task.kind is TaskKind.LOCAL:
            return task.activated and not task.blocked
        head = self.storage.inputs[task.colour].head(cycle)
        is_control = task.kind is TaskKind.CONTROL
        has_wavelet = head is not None and head.control == is_control
        return has_wavelet and not self.vector_unit.receives(task.colour)

    def take_wavelet(self, task: TaskState) -> None:
        """Take the wavelet that starts ``task``; its payload goes into the task's register."""
        self.taken.add(task.colour)
        if task.register >= 0:
            payload = self.storage.inputs[task.colour].wavelets[0].payload
            self.set_register(task.register, from_wire(payload, self.register_types[task.register]))

    def execute(self, row: int, cycle: int) -> bool:
        """Execute the instruction of ``row``; return False if it cannot be issued yet."""
        instruction, machine = self.program.instructions[row], self.machine
        x, y = int(instruction[InstructionColumn.X]), int(instruction[InstructionColumn.Y])
        a, b = self.operand(instruction, "A"), self.operand(instruction, "B")
        jumps, cycles = False, machine.scalar_cycles
        match Opcode(instruction[InstructionColumn.OPCODE]):
            case Opcode.END:
                self.row = None
                self.acts_until(cycle)
                return True
            case Opcode.VECTOR:
                issued = self.issue(x, cycle)
                self.row = row + issued
                return issued
            case Opcode.SET:
                self.set_register(x, wrapped(integer_result(Arithmetic(y), a, b), 32))
            case Opcode.BRANCH:
                jumps = holds(Comparison(y), a, b)
                cycles = machine.branch_taken_cycles if jumps else machine.branch_not_taken_cycles
            case Opcode.LOOP:
                count = wrapped(self.storage.integer(1, x), 32)
                self.set_register(x, count)
                jumps, cycles = count < a, machine.loop_cycles
            case Opcode.ACTIVATE:
                self.tasks[x].activated = True
            case Opcode.BLOCK:
                self.tasks[x].blocked = True
            case Opcode.UNBLOCK:
                self.tasks[x].blocked = False
            case Opcode.WORK:
                cycles = max(0, a)
        self.row = int(instruction[InstructionColumn.TARGET]) if jumps else row + 1
        self.go_on(cycle, cycles)
        return True

    def operand(self, instruction: Int32Table, name: str) -> int:
        """The integer operand ``A`` or ``B``."""
        value = int(instruction[InstructionColumn[f"{name}_VALUE"]])
        register = int(instruction[InstructionColumn[f"{name}_REGISTER"]])
        return self.storage.integer(value, register)

    def set_register(self, register: int, element: Element) -> None:
        """Write a register, as its type keeps the element."""
        self.storage.registers[register] = to_cell(element, self.register_types[register])
