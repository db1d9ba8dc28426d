"""The code that a region of PEs shares, traced from Python calls into instructions.

Nothing of Python runs when the fabric does. ``with code.task(...)``, ``with code.loop(n) as i``
and ``with code.when(i < 4)`` enclose what they govern.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from wse.fabric.errors import OperandError, ProgramError
from wse.fabric.instructions import Instructions, Task
from wse.fabric.operands import Array, Colour, Register
from wse.fabric.tables import F32, I32, DType, TaskKind


@dataclass(eq=False)
class Code(Instructions):
    """Arrays, registers, tasks and instructions of all PEs with this code.

    ``pes`` [height, width] says which. Initial ``values`` are broadcast over the whole mesh:
    (length,) gives every PE the same, (height, width, length) each its own.
    """

    pes: NDArray[np.bool_]
    arrays: dict[str, tuple[Array, NDArray]] = field(default_factory=dict)
    registers: dict[str, tuple[Register, NDArray]] = field(default_factory=dict)
    tasks: list[Task] = field(default_factory=list)

    def array(self, name: str, length: int, dtype: DType = F32, values: ArrayLike = 0) -> Array:
        """An array in SRAM; ``values`` broadcast to (height, width, length)."""
        self._new_name(name, length)
        first = sum(array.length for array, _ in self.arrays.values())
        kind = _dtype(dtype, name)
        ends = [one.address + one.length * one.dtype.size_bytes for one, _ in self.arrays.values()]
        address = -(-max(ends, default=0) // kind.size_bytes) * kind.size_bytes
        made = Array(name, first, length, kind, address)
        self.arrays[name] = made, self._values(name, values, (*self.pes.shape, length))
        return made

    def register(self, name: str, dtype: DType = I32, values: ArrayLike = 0) -> Register:
        """A register; ``values`` broadcast to (height, width)."""
        self._new_name(name, 1)
        made = Register(name, len(self.registers), _dtype(dtype, name))
        self.registers[name] = made, self._values(name, values, self.pes.shape)
        return made

    def _new_name(self, name: str, length: int) -> None:
        if name in self.arrays or name in self.registers:
            raise ProgramError(f"code {self.name}: the name {name} is taken")
        if length < 1:
            raise ProgramError(f"code {self.name}: array {name} of {length} elements")

    def _values(self, name: str, values: ArrayLike, shape: tuple[int, ...]) -> NDArray:
        given = np.asarray(values)
        try:
            return np.broadcast_to(given, shape)
        except ValueError:
            raise ProgramError(
                f"code {self.name}: values of {name} have the shape {given.shape}, not {shape}"
            ) from None

    def task(self, name: str = "main", start: bool = False, blocked: bool = False) -> Task:
        """A local task: runs when activated; with ``start``, from the beginning."""
        return self._task(name, TaskKind.LOCAL, None, None, start, blocked)

    def main(self) -> Task:
        """The task ``main`` that runs from the beginning."""
        return self.task("main", start=True)

    def data_task(
        self, colour: Colour, register: Register, name: str = "", blocked: bool = False
    ) -> Task:
        """A task that runs once for every wavelet of ``colour``, its payload in ``register``."""
        name = name or f"on_{colour.name}"
        return self._task(name, TaskKind.DATA, colour, register, False, blocked)

    def control_task(
        self, colour: Colour, register: Register | None = None, name: str = ""
    ) -> Task:
        """A task that runs once for every control wavelet of ``colour`` at the ramp."""
        name = name or f"on_control_{colour.name}"
        return self._task(name, TaskKind.CONTROL, colour, register, False, False)

    def _task(
        self,
        name: str,
        kind: TaskKind,
        colour: Colour | None,
        register: Register | None,
        start: bool,
        blocked: bool,
    ) -> Task:
        for other in self.tasks:
            if other.name == name or (colour and (other.kind, other.colour) == (kind, colour)):
                raise ProgramError(f"code {self.name}: task {name} exists, as {other.name}")
        made = Task(self, name, len(self.tasks), kind, colour, register, start, blocked)
        self.tasks.append(made)
        return made

    def counter(self, name: str) -> Register:
        """A new integer register for a loop."""
        return self.register(name or f"loop_{len(self.registers)}")


def _dtype(dtype: DType, name: str) -> DType:
    if not isinstance(dtype, DType):
        known = ", ".join(each.name for each in DType)
        raise OperandError(f"{name}: {dtype!r} is no type of elements; there are {known}")
    return dtype
