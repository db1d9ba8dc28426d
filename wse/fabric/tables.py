"""A program as plain numbers: what the engine and the reference both read.

:class:`~wse.fabric.assembled.Assembled` holds nothing but numpy tables and names. A table of 32-bit
integers has one row for each instruction, vector operation, task, or route; the enumerations below
name its columns, so that ``instructions[pc, InstructionColumn.OPCODE]`` reads as it says.

``value`` and ``register`` columns come in pairs: the number is ``value``, plus the integer
register if ``register`` is not -1.
"""

from __future__ import annotations

from enum import IntEnum, IntFlag

import numpy as np
from numpy.typing import NDArray


class Direction(IntFlag):
    """A set of router ports; port numbers are the positions of the bits."""

    NORTH = 1
    SOUTH = 2
    EAST = 4
    WEST = 8
    RAMP = 16


NORTH, SOUTH, EAST, WEST, RAMP = Direction
PORTS = 5
PORT_NAMES = ("NORTH", "SOUTH", "EAST", "WEST", "RAMP")
OPPOSITE = (1, 0, 3, 2)
"""The port of a neighbour that the mesh ports NORTH, SOUTH, EAST, WEST lead to."""
STEP = ((0, -1), (0, 1), (1, 0), (-1, 0))
"""(dx, dy) of the mesh ports; y grows to the south."""


class DType(IntEnum):
    """Types of elements."""

    F16 = 0
    F32 = 1
    I16 = 2
    I32 = 3

    @property
    def numpy(self) -> np.dtype:
        """The numpy type of the same values."""
        return np.dtype(("f2", "f4", "i2", "i4")[self])

    @property
    def size_bytes(self) -> int:
        """Bytes of one element in the PE's SRAM."""
        return self.numpy.itemsize

    @property
    def is_float(self) -> bool:
        """Whether the elements are floating-point numbers."""
        return self <= DType.F32


F16, F32, I16, I32 = DType


class Opcode(IntEnum):
    """Instructions of the main thread."""

    END = 0
    SET = 1
    BRANCH = 2
    LOOP = 3
    ACTIVATE = 4
    BLOCK = 5
    UNBLOCK = 6
    VECTOR = 7
    WORK = 8


class Arithmetic(IntEnum):
    """Integer arithmetic of SET."""

    ADD = 0
    SUBTRACT = 1
    MULTIPLY = 2
    MODULO = 3


class Comparison(IntEnum):
    """Conditions of BRANCH."""

    LESS = 0
    LESS_EQUAL = 1
    EQUAL = 2
    NOT_EQUAL = 3
    GREATER_EQUAL = 4
    GREATER = 5


class Operation(IntEnum):
    """Vector operations."""

    MOVE = 0
    ADD = 1
    SUBTRACT = 2
    MULTIPLY = 3
    MULTIPLY_ADD = 4
    MAXIMUM = 5
    MINIMUM = 6


class RateClass(IntEnum):
    """Rows of a machine's rates, in the order of its fields."""

    MOVE = 0
    ARITHMETIC = 1
    MULTIPLY_ADD = 2
    MIXED = 3
    REDUCTION = 4


class InstructionColumn(IntEnum):
    """Columns of ``instructions``.

    ``X``: SET, LOOP: register. ACTIVATE, BLOCK, UNBLOCK: task (of the code). VECTOR: row of
    ``vectors``. ``Y``: SET: :class:`Arithmetic`; BRANCH: :class:`Comparison`. ``TARGET``: row of
    ``instructions`` that BRANCH and LOOP lead to. A, B: operands of SET and BRANCH; LOOP: A is
    the bound; WORK: A is the number of cycles.
    """

    OPCODE = 0
    X = 1
    Y = 2
    TARGET = 3
    A_VALUE = 4
    A_REGISTER = 5
    B_VALUE = 6
    B_REGISTER = 7


class VectorColumn(IntEnum):
    """Columns of ``vectors``; ``THREAD`` -1 is synchronous; -1 is no task.

    ``RATE_MILLI`` is the machine's rate in thousandths of an element a cycle.
    """

    OPERATION = 0
    RATE_MILLI = 1
    THREAD = 2
    LOADS = 3
    LENGTH_VALUE = 4
    LENGTH_REGISTER = 5
    ACTIVATE = 6
    UNBLOCK = 7
    PER_WAVELET = 8  # elements a wavelet; 0: no stream
    CONTROL = 9  # the destination's wavelets are control wavelets
    IS_FLOAT = 10
    SOURCES = 11  # 1 to 3
    ROWS = 12
    PLANES = 13
    ROW_CYCLES = 14  # each row takes at least so long
    MAP_CYCLES = 15  # each row takes so much longer
    BANKS = 16
    BANK_BYTES = 17
    CONFLICT_MILLI = 18  # time of an operation whose sources conflict in a bank


class OperandKind(IntEnum):
    """What an operand is."""

    NONE = 0
    CONSTANT = 1
    REGISTER = 2
    MEMORY = 3
    STREAM = 4


class OperandColumn(IntEnum):
    """Columns of ``operands[vector, 0: destination, 1..3: sources]``.

    ``X``: CONSTANT: its 32 bits (of an fp32 or int32 number). REGISTER: its number. STREAM: its
    colour. MEMORY: unused; its first element is ``OFFSET`` (value and register) counted in
    elements of the PE's memory, and must stay in [``FIRST``, ``END``); element i of row j of
    plane k is ``i * stride + j * row stride + k * plane stride`` after it.
    """

    KIND = 0
    DTYPE = 1
    X = 2
    OFFSET_VALUE = 3
    OFFSET_REGISTER = 4
    STRIDE_VALUE = 5
    STRIDE_REGISTER = 6
    FIRST = 7
    END = 8
    ROW_STRIDE = 9
    PLANE_STRIDE = 10
    ADDRESS = 11  # of the array's first element, in bytes
    ELEMENT_BYTES = 12


class TaskKind(IntEnum):
    """What lets a task run."""

    LOCAL = 0
    DATA = 1
    CONTROL = 2


class TaskColumn(IntEnum):
    """Columns of ``tasks``; ``ENTRY`` is a row of ``instructions``, -1 is none."""

    KIND = 0
    ENTRY = 1
    COLOUR = 2
    REGISTER = 3
    ACTIVATED = 4
    BLOCKED = 5
    REGISTER_DTYPE = 6


class RouteColumn(IntEnum):
    """Columns of ``routes``; the sets of position p are at ``RECEIVE + p``, ``TRANSMIT + p``.

    ``FILTER_PERIOD`` 0 is no filter.
    """

    POSITIONS = 0
    RING = 1
    FILTER_LIMIT = 2
    FILTER_PERIOD = 3
    FILTER_START = 4
    RECEIVE = 5
    TRANSMIT = 9


ROUTE_COLUMNS = 13
Int32Table = NDArray[np.int32]
