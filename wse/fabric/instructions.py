"""The instructions of a code: each call of a method writes one, once."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Self, TypedDict, Unpack

from wse.fabric.errors import OperandError, ProgramError
from wse.fabric.operands import (
    Colour,
    Condition,
    Destination,
    Expression,
    Integer,
    Register,
    Source,
    Stream,
)
from wse.fabric.tables import (
    I32,
    Arithmetic,
    Comparison,
    InstructionColumn,
    Opcode,
    Operation,
    TaskKind,
)
from wse.fabric.vectors import VectorOperation, check_operation, integer_pair, with_rows

OPPOSITE_COMPARISON = {
    Comparison.LESS: Comparison.GREATER_EQUAL,
    Comparison.LESS_EQUAL: Comparison.GREATER,
    Comparison.EQUAL: Comparison.NOT_EQUAL,
    Comparison.NOT_EQUAL: Comparison.EQUAL,
    Comparison.GREATER_EQUAL: Comparison.LESS,
    Comparison.GREATER: Comparison.LESS_EQUAL,
}


@dataclass(eq=False)
class Task:
    """A task of a code; ``with task:`` writes its body."""

    code: Instructions
    name: str
    number: int
    kind: TaskKind
    colour: Colour | None
    register: Register | None
    start: bool
    blocked: bool
    entry: int = -1

    def __enter__(self) -> Self:
        self.code._begin(self)
        return self

    def __exit__(self, *_: object) -> None:
        self.code._end()


class Options(TypedDict, total=False):
    """Keywords of every vector operation.

    ``length`` where no operand says it. ``thread`` 0 to 7 makes it asynchronous on that
    micro-thread; when it completes it may ``activate`` and ``unblock`` tasks. ``loads`` is the
    number of descriptors to load first (default: one for each memory vector and stream; a loop
    keeps them loaded). ``rows`` repeats an operation from memory: rows, or (planes, rows), by the
    ``row`` and ``plane`` strides of its operands; ``mapped`` rows are operations of their own,
    each issued by the one before it.
    """

    length: Integer
    thread: int
    activate: Task
    unblock: Task
    loads: int
    rows: int | tuple[int, int]
    mapped: bool


@dataclass(eq=False)
class Instructions(ABC):
    """What a code does: its instructions and vector operations in the order of writing."""

    name: str
    rows: list[list[int]] = field(default_factory=list, init=False)
    lines: list[str] = field(default_factory=list, init=False)
    vectors: list[VectorOperation] = field(default_factory=list, init=False)
    _open: Task | None = field(default=None, init=False)

    @abstractmethod
    def counter(self, name: str) -> Register:
        """A new integer register for a loop."""

    def _begin(self, task: Task) -> None:
        if self._open is not None or task.entry >= 0:
            raise ProgramError(f"code {self.name}: task {task.name} is written inside or twice")
        self._open, task.entry = task, len(self.rows)

    def _end(self) -> None:
        self._write(Opcode.END, "end")
        self._open = None

    def _write(
        self, opcode: Opcode, line: str, x: int = -1, y: int = 0, a: Integer = 0, b: Integer = 0
    ) -> int:
        """Append an instruction, and say its row."""
        if self._open is None:
            raise ProgramError(f"code {self.name}: {line} stands outside of any task")
        row = [0] * len(InstructionColumn)
        row[InstructionColumn.OPCODE], row[InstructionColumn.X], row[InstructionColumn.Y] = (
            opcode,
            x,
            y,
        )
        row[InstructionColumn.TARGET] = -1
        row[InstructionColumn.A_VALUE], row[InstructionColumn.A_REGISTER] = integer_pair(a)
        row[InstructionColumn.B_VALUE], row[InstructionColumn.B_REGISTER] = integer_pair(b)
        self.rows.append(row)
        self.lines.append(f"{self._open.name}: {line}")
        return len(self.rows) - 1

    # Control.

    def set(self, register: Register, value: Integer | Expression) -> None:
        """``register = value``; integers, one operation at most."""
        if isinstance(value, int | Register):
            value = Expression(Arithmetic.ADD, value, 0)
        if register.dtype != I32:
            raise OperandError(f"set: register {register.name} is no {I32.name}")
        line = f"set {register.name}"
        self._write(Opcode.SET, line, register.index, value.arithmetic, value.a, value.b)

    @contextmanager
    def loop(self, count: Integer, name: str = "") -> Iterator[Register]:
        """Do the body ``count`` times; the register counts 0, 1, ...; a register may be 0."""
        counter = self.counter(name)
        self.set(counter, 0)
        enter = -1
        if isinstance(count, Register) or count < 1:
            enter = self._write(
                Opcode.BRANCH, "loop", y=Comparison.GREATER_EQUAL, a=counter, b=count
            )
        first = len(self.rows)
        yield counter
        again = self._write(Opcode.LOOP, "next", counter.index, a=count)
        self.rows[again][InstructionColumn.TARGET] = first
        if enter >= 0:
            self.rows[enter][InstructionColumn.TARGET] = again + 1

    @contextmanager
    def when(self, condition: Condition) -> Iterator[None]:
        """Do the body if the condition holds."""
        skip = OPPOSITE_COMPARISON[condition.comparison]
        branch = self._write(Opcode.BRANCH, "when", y=skip, a=condition.a, b=condition.b)
        yield
        self.rows[branch][InstructionColumn.TARGET] = len(self.rows)

    def activate(self, task: Task) -> None:
        """Let a local task run when the main thread is free."""
        self._write(Opcode.ACTIVATE, f"activate {task.name}", _local(task))

    def block(self, task: Task) -> None:
        """Keep a task from running until it is unblocked."""
        self._write(Opcode.BLOCK, f"block {task.name}", task.number)

    def unblock(self, task: Task) -> None:
        """Undo :meth:`block`."""
        self._write(Opcode.UNBLOCK, f"unblock {task.name}", task.number)

    def work(self, cycles: Integer) -> None:
        """Keep the main thread for ``cycles``: what else a program does and does not spell out."""
        self._write(Opcode.WORK, "work", a=cycles)

    # Vector operations.

    def move(self, destination: Destination, a: Source, **options: Unpack[Options]) -> None:
        """``destination = a``."""
        self._vector(Operation.MOVE, destination, (a,), **options)

    def add(
        self, destination: Destination, a: Source, b: Source, **options: Unpack[Options]
    ) -> None:
        """``destination = a + b``."""
        self._vector(Operation.ADD, destination, (a, b), **options)

    def subtract(
        self, destination: Destination, a: Source, b: Source, **options: Unpack[Options]
    ) -> None:
        """``destination = a - b``."""
        self._vector(Operation.SUBTRACT, destination, (a, b), **options)

    def multiply(
        self, destination: Destination, a: Source, b: Source, **options: Unpack[Options]
    ) -> None:
        """``destination = a * b``."""
        self._vector(Operation.MULTIPLY, destination, (a, b), **options)

    def multiply_add(
        self,
        destination: Destination,
        addend: Source,
        a: Source,
        b: Source,
        **options: Unpack[Options],
    ) -> None:
        """``destination = addend + a * b``."""
        self._vector(Operation.MULTIPLY_ADD, destination, (addend, a, b), **options)

    def maximum(
        self, destination: Destination, a: Source, b: Source, **options: Unpack[Options]
    ) -> None:
        """``destination = max(a, b)``."""
        self._vector(Operation.MAXIMUM, destination, (a, b), **options)

    def minimum(
        self, destination: Destination, a: Source, b: Source, **options: Unpack[Options]
    ) -> None:
        """``destination = min(a, b)``."""
        self._vector(Operation.MINIMUM, destination, (a, b), **options)

    def send_control(self, colour: Colour, payload: int = 0, **options: Unpack[Options]) -> None:
        """Send one control wavelet: it advances the switches that it passes."""
        stream = Stream(colour, I32, control=True)
        self._vector(Operation.MOVE, stream, (payload,), **options)

    def _vector(
        self,
        operation: Operation,
        destination: Destination,
        sources: tuple[Source, ...],
        **options: Unpack[Options],
    ) -> None:
        checked = check_operation(operation, destination, sources, options.get("length"))
        thread, loads = options.get("thread", -1), options.get("loads", checked.loads)
        activate, unblock = options.get("activate"), options.get("unblock")
        if thread < 0 and (activate or unblock):
            raise OperandError("activate and unblock belong to an operation on a micro-thread")
        if thread >= 0 and not checked.streams:
            raise OperandError(
                f"{operation.name.lower()} on micro-thread {thread}: no operand is a stream"
            )
        checked = replace(
            checked,
            thread=thread,
            loads=loads,
            activate=_local(activate) if activate else -1,
            unblock=unblock.number if unblock else -1,
        )
        if options.keys() & {"rows", "mapped"}:
            mapped = options.get("mapped", False)
            checked = with_rows(checked, options.get("rows", 1), mapped)
        words = ", ".join(str(operand) for operand in checked.operands[1:])
        line = f"{operation.name.lower()} {checked.operands[0]} <- {words}"
        self._write(Opcode.VECTOR, line, len(self.vectors))
        self.vectors.append(checked)


def _local(task: Task) -> int:
    if task.kind != TaskKind.LOCAL:
        raise ProgramError(f"task {task.name} runs by its wavelets and cannot be activated")
    return task.number
