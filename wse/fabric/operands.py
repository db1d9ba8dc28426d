"""What instructions work on: arrays in SRAM and vectors of them, streams of colours, registers.

``x[2:10]``, ``x[::2]`` and ``x.at(start, length, stride)`` are vectors; ``x[3]`` and
``x.at(start)`` are one element, repeated as often as the operation is long. Starts, strides and
lengths may be integer registers, so that all PEs share one code.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from wse.fabric.errors import OperandError
from wse.fabric.tables import Arithmetic, Comparison, DType


@dataclass(frozen=True)
class Expression:
    """One integer operation, for ``Code.set`` and as the start of a vector."""

    arithmetic: Arithmetic
    a: Integer
    b: Integer


@dataclass(frozen=True)
class Condition:
    """A comparison of two integers, for ``Code.when``."""

    comparison: Comparison
    a: Integer
    b: Integer


@dataclass(frozen=True, eq=False)
class Register:
    """A register of every PE of one code; arithmetic and comparisons describe instructions."""

    name: str
    index: int
    dtype: DType

    def __add__(self, other: Integer) -> Expression:
        return Expression(Arithmetic.ADD, self, other)

    def __sub__(self, other: Integer) -> Expression:
        return Expression(Arithmetic.SUBTRACT, self, other)

    def __mul__(self, other: Integer) -> Expression:
        return Expression(Arithmetic.MULTIPLY, self, other)

    def __mod__(self, other: Integer) -> Expression:
        return Expression(Arithmetic.MODULO, self, other)

    def __lt__(self, other: Integer) -> Condition:
        return Condition(Comparison.LESS, self, other)

    def __le__(self, other: Integer) -> Condition:
        return Condition(Comparison.LESS_EQUAL, self, other)

    def __gt__(self, other: Integer) -> Condition:
        return Condition(Comparison.GREATER, self, other)

    def __ge__(self, other: Integer) -> Condition:
        return Condition(Comparison.GREATER_EQUAL, self, other)

    def equals(self, other: Integer) -> Condition:
        """Whether both are the same number."""
        return Condition(Comparison.EQUAL, self, other)

    def differs(self, other: Integer) -> Condition:
        """Whether they are different numbers."""
        return Condition(Comparison.NOT_EQUAL, self, other)

    def __str__(self) -> str:
        return self.name


Integer = int | Register
Start = int | Register | Expression


@dataclass(frozen=True)
class MemoryVector:
    """Elements ``start, start + stride, ...`` of an array; no ``length``: as needed."""

    array: Array
    start: int
    start_register: Register | None
    stride: Integer
    length: Integer | None
    row: int = 0
    plane: int = 0

    def __str__(self) -> str:
        start = (
            f"{self.start}"
            if self.start_register is None
            else f"{self.start_register}+{self.start}"
        )
        return (
            self.array.name if self.length == self.array.length else f"{self.array.name}[{start}]"
        )


@dataclass(frozen=True, eq=False)
class Array:
    """``length`` elements in the SRAM of every PE of one code.

    ``first`` counts the elements of the arrays before it, ``address`` their bytes.
    """

    name: str
    first: int
    length: int
    dtype: DType
    address: int = 0

    def __getitem__(self, index: int | slice) -> MemoryVector:
        if isinstance(index, slice):
            chosen = range(self.length)[index]
            start = chosen.start if len(chosen) else 0
            return self._checked(start, None, chosen.step, len(chosen))
        if not -self.length <= index < self.length:
            raise OperandError(f"{self.name}[{index}]: the array has {self.length} elements")
        return MemoryVector(self, index % self.length, None, 0, None)

    def at(
        self,
        start: Start,
        length: Integer | None = None,
        stride: Integer = 1,
        row: int = 0,
        plane: int = 0,
    ) -> MemoryVector:
        """The vector from ``start``: a number, a register, or register + number.

        In an operation of rows (and planes of rows), each row starts ``row`` elements after the
        one before, each plane ``plane`` elements.
        """
        stride = 0 if length is None else stride
        vector = self._from(start, stride, length)
        return replace(vector, row=row, plane=plane)

    def _from(self, start: Start, stride: Integer, length: Integer | None) -> MemoryVector:
        if isinstance(start, int):
            return self._checked(start, None, stride, length)
        if isinstance(start, Register):
            return self._checked(0, start, stride, length)
        register, number = start.a, start.b
        is_sum = start.arithmetic == Arithmetic.ADD
        if is_sum and isinstance(register, Register) and isinstance(number, int):
            return self._checked(number, register, stride, length)
        raise OperandError(f"{self.name}.at: a start is a number, a register, or register + number")

    def _checked(
        self, start: int, register: Register | None, stride: Integer, length: Integer | None
    ) -> MemoryVector:
        if register is None and isinstance(stride, int) and not isinstance(length, Register):
            last = start + stride * (max(length or 1, 1) - 1)
            if length != 0 and not (0 <= start < self.length and 0 <= last < self.length):
                raise OperandError(
                    f"{self.name}: elements {start} to {last} of an array of {self.length}"
                )
        return MemoryVector(self, start, register, stride, length)

    def whole(self) -> MemoryVector:
        """All elements in order."""
        return MemoryVector(self, 0, None, 1, self.length)


@dataclass(frozen=True, eq=False)
class Colour:
    """One of the fabric's colours; as an operand, a stream of the other operands' type."""

    name: str
    index: int

    def stream(self, dtype: DType | None = None, per_wavelet: int | None = None) -> Stream:
        """A stream of ``dtype`` with 1 or 2 elements in a wavelet (default: 2 of 16 bits)."""
        return Stream(self, dtype, per_wavelet)

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True)
class Stream:
    """Wavelets of a colour, from or to the fabric; ``None`` is taken from the other operands."""

    colour: Colour
    dtype: DType | None = None
    per_wavelet: int | None = None
    control: bool = False

    def __str__(self) -> str:
        return self.colour.name


Destination = Array | MemoryVector | Colour | Stream | Register
Source = Destination | int | float
