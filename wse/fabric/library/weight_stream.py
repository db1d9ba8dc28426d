"""Weights that stream past activations: from the edge down every column, output after output.

The first position of a column stands for the wafer's edge and holds what enters there. A weight
is a wavelet. Every other PE takes the weights of its column, ``features`` for each output, into
one of two buffers, on micro-thread 0, while it works with the other.
"""

from __future__ import annotations

from dataclasses import dataclass

from wse.fabric.code import Code
from wse.fabric.errors import ProgramError
from wse.fabric.library.lines import Line
from wse.fabric.library.tile_product import join
from wse.fabric.operands import Array, Expression, Integer, Register
from wse.fabric.tables import RAMP, Arithmetic, DType

THREAD = 0


class WeightStream:
    """The colour of the weights, in every column of the mesh."""

    def __init__(self, column: Line) -> None:
        if column.length < 2:
            raise ProgramError("weight streaming needs a row for the edge and one for activations")
        self.colour, self.last = column.colour("weights"), column.length - 1
        column.route(self.colour, RAMP, column.forward, [0])
        inside = range(1, self.last)
        column.route(self.colour, column.backward, column.forward | RAMP, inside)
        column.route(self.colour, column.backward, RAMP, [self.last])

    def send(self, code: Code, weights: Array) -> None:
        """Send all weights, from the edge."""
        code.move(self.colour.stream(per_wavelet=1), weights, thread=THREAD)


@dataclass(frozen=True)
class Weights:
    """The weights of the present output, ``features`` elements of ``buffer`` from ``start``.

    ``number`` counts the outputs.
    """

    code: Code
    stream: WeightStream
    features: int
    outputs: int
    buffer: Array
    number: Register
    start: Register

    @classmethod
    def of(
        cls, code: Code, stream: WeightStream, features: int, outputs: int, dtype: DType
    ) -> Weights:
        """The buffers and registers, in ``code``."""
        buffer = code.array("weights", 2 * features, dtype)
        number, start = code.register("output"), code.register("weights start")
        return cls(code, stream, features, outputs, buffer, number, start)

    def order(self, start: Integer = 0) -> None:
        """Let the next weights come."""
        target = self.buffer.at(start, self.features)
        self.code.move(target, self.stream.colour.stream(per_wavelet=1), thread=THREAD)

    def take(self) -> None:
        """Wait for the weights of the next output, and order those of the one after it."""
        code = self.code
        join(code, THREAD, self.buffer, self.stream.colour)
        code.set(self.number, self.number + 1)
        other = code.register("weights after")
        code.set(other, self.number % 2)
        code.set(other, other * self.features)
        with code.when(self.number < self.outputs):
            self.order(other)
        code.set(self.start, Expression(Arithmetic.SUBTRACT, self.features, other))
