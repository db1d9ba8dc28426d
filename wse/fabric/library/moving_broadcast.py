"""A broadcast along a line whose root moves: in step s, position s sends its words to all others.

One colour runs ahead (east or south) and one back. The router of a root cannot tell its own
words from those that pass; a counter filter keeps them from its own ramp. Position p passes p
blocks ahead before its own, and sends its own back before the blocks of those behind it. It must
not send before it has received what comes before: then no two blocks meet on a colour.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wse.fabric.code import Code
from wse.fabric.errors import ProgramError
from wse.fabric.library.lines import Line
from wse.fabric.library.tile_product import join
from wse.fabric.operands import Array, Colour, MemoryVector, Register
from wse.fabric.program import Filter
from wse.fabric.tables import RAMP, DType


class MovingBroadcast:
    """Every position of the line is root once, in order, of ``words`` wavelets; two colours."""

    def __init__(self, line: Line, name: str, words: int) -> None:
        if line.length < 2:
            raise ProgramError(f"a broadcast to {line.length} PE along {line.axis}; it needs 2")
        self.axis, self.name, self.last = line.axis, name, line.length - 1
        self.ahead, self.back = line.colour(f"{name} ahead"), line.colour(f"{name} back")
        inside = range(1, self.last)
        for position in inside:
            before, after = position * words, (self.last - position) * words
            ahead = Filter(before - 1, before + words)
            back = Filter(after - 1, after + words, start=after)
            line.route(
                self.ahead, line.backward | RAMP, line.forward | RAMP, [position], filter=ahead
            )
            line.route(
                self.back, line.forward | RAMP, line.backward | RAMP, [position], filter=back
            )
        line.route(self.ahead, RAMP, line.forward, [0])
        line.route(self.ahead, line.backward, RAMP, [self.last])
        line.route(self.back, RAMP, line.backward, [self.last])
        line.route(self.back, line.forward, RAMP, [0])

    def role(self, position: int) -> str:
        """First, last, or between."""
        return {0: "first", self.last: "last"}.get(position, "between")

    def received(self, role: str) -> Colour:
        """A colour that the role receives."""
        return self.back if role == "first" else self.ahead

    def emit(
        self,
        code: Code,
        role: str,
        step: Register,
        position: Register,
        own: MemoryVector,
        buffer: MemoryVector,
        thread: int,
    ) -> None:
        """Send ``own`` if this PE is the root of ``step``, else receive into ``buffer``.

        Receives on micro-thread ``thread``, sends on the two after it.
        """
        if role != "first":
            with code.when(position > step):
                code.move(buffer, self.ahead, thread=thread)
        if role != "last":
            with code.when(position < step):
                code.move(buffer, self.back, thread=thread)
        with code.when(position.equals(step)):
            if role != "last":
                code.move(self.ahead, own, thread=thread + 1)
            if role != "first":
                code.move(self.back, own, thread=thread + 2)


@dataclass(frozen=True)
class Incoming:
    """The blocks that a PE hears: its own lies first in ``blocks``, then ``buffers`` for others.

    ``start`` says where the block of a step is, ``coming`` where that of the next will be.
    """

    code: Code
    broadcast: MovingBroadcast
    role: str
    blocks: Array
    size: int
    buffers: int
    position: Register
    start: Register
    coming: Register
    thread: int

    def wait(self) -> None:
        """Until the block on its way has come; it is the present one then."""
        join(self.code, self.thread, self.blocks, self.broadcast.received(self.role))
        self.code.set(self.start, self.coming)

    def order(self, step: Register) -> None:
        """Let the block of ``step`` come, or send it."""
        code = self.code
        code.set(self.coming, step % self.buffers)
        code.set(self.coming, self.coming * self.size)
        code.set(self.coming, self.coming + self.size)
        own, buffer = self.blocks[: self.size], self.blocks.at(self.coming, self.size)
        self.broadcast.emit(code, self.role, step, self.position, own, buffer, self.thread)
        with code.when(self.position.equals(step)):
            code.set(self.coming, 0)

    @classmethod
    def of(
        cls,
        code: Code,
        broadcast: MovingBroadcast,
        role: str,
        own: NDArray,
        dtype: DType,
        buffers: int,
        thread: int,
    ) -> Incoming:
        """The array and registers, in ``code``; ``own`` is [height, width, size].

        It takes the micro-threads ``thread`` to ``thread + 2``.
        """
        height, width, size = own.shape
        name = broadcast.name
        values = np.pad(own, ((0, 0), (0, 0), (0, buffers * size)))
        positions = np.indices((height, width))[1 if broadcast.axis == "x" else 0]
        return cls(
            code,
            broadcast,
            role,
            code.array(name, (1 + buffers) * size, dtype, values),
            size,
            buffers,
            code.register(f"{name} position", values=positions),
            start=code.register(f"{name} start"),
            coming=code.register(f"{name} coming"),
            thread=thread,
        )
