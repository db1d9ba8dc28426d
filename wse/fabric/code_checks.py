"""What a code uses, and the refusal of what no PE can hold or do."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import NDArray

from wse.fabric.code import Code
from wse.fabric.errors import CapacityError, ProgramError
from wse.fabric.machine import Machine
from wse.fabric.operands import Stream
from wse.fabric.program import Program
from wse.fabric.tables import TaskKind

MAXIMUM_TASKS = 64


def check_code(code: Code, machine: Machine) -> None:
    """Raise :class:`ProgramError`, or its child, for what no PE of ``machine`` can hold or do."""
    sizes = [array.length * array.dtype.size_bytes for array, _ in code.arrays.values()]
    used = sum(sizes) + sum(register.dtype.size_bytes for register, _ in code.registers.values())
    if used > machine.usable_sram_bytes:
        y, x = np.argwhere(code.pes)[0]
        raise CapacityError(
            f"PE ({x}, {y}), code {code.name}: {used} bytes of arrays and registers; a PE of "
            f"{machine.name} has {machine.usable_sram_bytes} of SRAM for them: give it fewer or "
            "smaller ones"
        )
    if len(code.tasks) > MAXIMUM_TASKS:
        raise CapacityError(f"code {code.name}: {len(code.tasks)} tasks; a PE has {MAXIMUM_TASKS}")
    for task in code.tasks:
        if task.entry < 0:
            raise ProgramError(f"code {code.name}: task {task.name} has no body")
    for vector in code.vectors:
        if vector.thread >= machine.micro_threads:
            raise CapacityError(
                f"code {code.name}: micro-thread {vector.thread}; {machine.name} has 0 to "
                f"{machine.micro_threads - 1}"
            )


def received(code: Code) -> Iterable[int]:
    """Colours that operations and tasks take wavelets of."""
    for vector in code.vectors:
        yield from (o.colour.index for o in vector.operands[1:] if isinstance(o, Stream))
    yield from (task.colour.index for task in code.tasks if task.colour is not None)


def sent(code: Code) -> Iterable[int]:
    """Colours that operations send on."""
    for vector in code.vectors:
        yield from (o.colour.index for o in vector.operands[:1] if isinstance(o, Stream))


def controlled(code: Code) -> Iterable[int]:
    """Colours whose control wavelets run a task."""
    for task in code.tasks:
        if task.kind == TaskKind.CONTROL and task.colour is not None:
            yield task.colour.index


def used(program: Program, kind: Callable[[Code], Iterable[int]]) -> NDArray[np.bool_]:
    """[C, K]: whether a code uses a colour in this way."""
    found = np.zeros((len(program.codes), len(program.colours)), bool)
    for number, code in enumerate(program.codes):
        found[number, list(kind(code))] = True
    return found


def check_queues(program: Program, used: NDArray[np.bool_], most: int, end: str) -> None:
    """Raise :class:`CapacityError` for a code that uses more than ``most`` queues of one end."""
    for code, count in zip(program.codes, used.sum(axis=1), strict=True):
        if count > most:
            raise CapacityError(f"code {code.name}: {count} {end} queues; a PE has {most}")
