"""A vector operation: its operands, its pace, and one element of it after another.

What is read from registers is read when the operation issues; elements are read, computed and
written one after the other. See "Vector operations" in ``docs/fabric.md``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import product

from wse.fabric.reference.elements import (
    Element,
    compute,
    from_cell,
    from_wire,
    packed,
    to_cell,
    to_wire,
    unpacked,
)
from wse.fabric.reference.queues import Queue
from wse.fabric.tables import DType, Int32Table, OperandColumn, OperandKind, Operation, VectorColumn

Index = tuple[int, int, int]
"""Which element: its plane, its row, and its place in the row."""
MAIN_THREAD = 8  # the micro-threads are 0 to 7


@dataclass
class Storage:
    """What a PE has: cells of memory and registers, 32 bits each, and its queues by colour."""

    memory: list[int]
    registers: list[int]
    inputs: Mapping[int, Queue]
    outputs: Mapping[int, Queue]

    def integer(self, value: int, register: int) -> int:
        """``value``, plus an integer register unless its number is -1."""
        if register < 0:
            return value
        return value + int(from_cell(self.registers[register], is_float=False))


class Place:
    """An operand as it is when the operation issues."""

    def __init__(self, row: Int32Table, storage: Storage) -> None:
        self.kind = OperandKind(row[OperandColumn.KIND])
        self.dtype = DType(row[OperandColumn.DTYPE])
        self.x = int(row[OperandColumn.X])
        offset = row[[OperandColumn.OFFSET_VALUE, OperandColumn.OFFSET_REGISTER]].tolist()
        stride = row[[OperandColumn.STRIDE_VALUE, OperandColumn.STRIDE_REGISTER]].tolist()
        self.offset = storage.integer(*offset)
        self.stride = storage.integer(*stride)
        self.row_stride = int(row[OperandColumn.ROW_STRIDE])
        self.plane_stride = int(row[OperandColumn.PLANE_STRIDE])
        self.first, self.end = int(row[OperandColumn.FIRST]), int(row[OperandColumn.END])
        self.array_address = int(row[OperandColumn.ADDRESS])
        self.element_bytes = int(row[OperandColumn.ELEMENT_BYTES])

    def cell(self, at: Index) -> int:
        """The number of the memory cell of an element."""
        plane, row, element = at
        steps = element * self.stride + row * self.row_stride + plane * self.plane_stride
        return self.offset + steps

    def address(self) -> int:
        """The byte of SRAM at which a memory vector begins."""
        return self.array_address + (self.offset - self.first) * self.element_bytes

    def lies_within(self, corners: Iterable[Index]) -> bool:
        """Whether the elements at ``corners``, of a memory vector, are elements of its array."""
        if self.kind is not OperandKind.MEMORY:
            return True
        return all(self.first <= self.cell(corner) < self.end for corner in corners)


class VectorOperation:
    """An operation in progress, issued at ``cycle``; row number ``vector`` of the tables.

    ``begin`` is the first cycle of its work. ``end``, once it is known, is the cycle in which it
    completes.
    """

    def __init__(self, row: Int32Table, operands: Int32Table, storage: Storage, begin: int) -> None:
        self.storage = storage
        self.operation = Operation(row[VectorColumn.OPERATION])
        length = row[[VectorColumn.LENGTH_VALUE, VectorColumn.LENGTH_REGISTER]].tolist()
        self.length = max(0, storage.integer(*length))
        self.rows, self.planes = int(row[VectorColumn.ROWS]), int(row[VectorColumn.PLANES])
        self.row_cycles = int(row[VectorColumn.ROW_CYCLES])
        self.map_cycles = int(row[VectorColumn.MAP_CYCLES])
        self.banks, self.bank_bytes = (
            int(row[VectorColumn.BANKS]),
            int(row[VectorColumn.BANK_BYTES]),
        )
        self.conflict_milli = int(row[VectorColumn.CONFLICT_MILLI])
        self.destination = Place(operands[0], storage)
        self.sources = [Place(operands[1 + i], storage) for i in range(row[VectorColumn.SOURCES])]
        self.synchronous = row[VectorColumn.THREAD] < 0
        self.thread = MAIN_THREAD if self.synchronous else int(row[VectorColumn.THREAD])
        self.activates, self.unblocks = (
            int(row[VectorColumn.ACTIVATE]),
            int(row[VectorColumn.UNBLOCK]),
        )
        self.per_wavelet = int(row[VectorColumn.PER_WAVELET])
        self.control = bool(row[VectorColumn.CONTROL])
        self.is_float = bool(row[VectorColumn.IS_FLOAT])
        self.rate_milli = int(row[VectorColumn.RATE_MILLI])
        self.begin = begin
        self.done = 0
        self.next_step_milli = 1000 * begin
        self.end: int | None = begin if self.length == 0 else None

    @property
    def has_streams(self) -> bool:
        """Whether it waits for the fabric."""
        return self.per_wavelet > 0

    def input_colours(self) -> set[int]:
        """Colours whose input queues it uses."""
        return {source.x for source in self.sources if source.kind is OperandKind.STREAM}

    def output_colours(self) -> set[int]:
        """Colours whose output queues it uses: one or none."""
        destination = self.destination
        return {destination.x} if destination.kind is OperandKind.STREAM else set()

    def can_run(self) -> bool:
        """Whether all its elements exist."""
        if self.length == 0:
            return True
        # Every stride is a constant, so the cells of a vector lie between those of its corners.
        planes, rows, elements = (0, self.planes - 1), (0, self.rows - 1), (0, self.length - 1)
        corners = list(product(planes, rows, elements))
        return all(place.lies_within(corners) for place in (self.destination, *self.sources))

    def cycles_from_memory(self) -> int:
        """Cycles of the vector unit that an operation without streams needs."""
        rows = self.planes * self.rows
        computing = (1000 * rows * self.length + self.rate_milli - 1) // self.rate_milli
        if self.sources_conflict():
            computing = (computing * self.conflict_milli + 999) // 1000
        return max(rows * self.row_cycles, computing) + rows * self.map_cycles

    def sources_conflict(self) -> bool:
        """Whether two sources begin in one bank, at different addresses."""
        vectors = [one for one in self.sources if one.kind is OperandKind.MEMORY and one.stride]
        addresses = {one.address() for one in vectors}
        banks = {address // self.bank_bytes % self.banks for address in addresses}
        return len(banks) < len(addresses)

    def compute_all(self) -> None:
        """Carry out an operation without streams."""
        for at in product(range(self.planes), range(self.rows), range(self.length)):
            self.store(at, compute(self.operation, self.elements(at, {}, 0)))

    def can_step(self, cycle: int) -> bool:
        """Whether a wavelet of each stream may be moved in ``cycle``."""
        if not self.has_streams or self.end is not None:
            return False
        if cycle < self.begin or 1000 * cycle < self.next_step_milli:
            return False
        for colour in self.input_colours():
            head = self.storage.inputs[colour].head(cycle)
            if head is None or head.control:
                return False
        return all(self.storage.outputs[colour].has_place() for colour in self.output_colours())

    def step(self, cycle: int) -> int | None:
        """Compute the elements of one wavelet; return the payload to send, if it sends."""
        payloads = {
            colour: self.storage.inputs[colour].wavelets[0].payload
            for colour in self.input_colours()
        }
        sent = []
        for place in range(min(self.per_wavelet, self.length - self.done)):
            at = (0, 0, self.done)
            element = compute(self.operation, self.elements(at, payloads, place))
            if self.destination.kind is OperandKind.STREAM:
                sent.append(to_wire(element, self.destination.dtype))
            else:
                self.store(at, element)
            self.done += 1
        if self.done == self.length:
            self.end = cycle + 1
        interval = max(1000, self.per_wavelet * 1_000_000 // self.rate_milli)
        self.next_step_milli = max(self.next_step_milli, 1000 * cycle - 999) + interval
        return packed(sent) if sent else None

    def waits_for_time_after(self, cycle: int) -> bool:
        """Whether its begin, its next step by its pace or its end lies after ``cycle``."""
        return max(self.begin, self.end or 0) > cycle or self.next_step_milli > 1000 * cycle

    def elements(self, at: Index, payloads: Mapping[int, int], place: int) -> list[Element]:
        """The element of each source; of a stream, that at ``place`` of its wavelet's payload."""
        found: list[Element] = []
        for source in self.sources:
            match source.kind:
                case OperandKind.STREAM:
                    found.append(from_wire(unpacked(payloads[source.x], place), source.dtype))
                case OperandKind.MEMORY:
                    found.append(from_cell(self.storage.memory[source.cell(at)], self.is_float))
                case OperandKind.REGISTER:
                    found.append(from_cell(self.storage.registers[source.x], self.is_float))
                case _:
                    found.append(from_cell(source.x & 0xFFFFFFFF, self.is_float))
        return found

    def store(self, at: Index, element: Element) -> None:
        """Write an element to memory or to a register."""
        cell = to_cell(element, self.destination.dtype)
        if self.destination.kind is OperandKind.MEMORY:
            self.storage.memory[self.destination.cell(at)] = cell
        else:
            self.storage.registers[self.destination.x] = cell
