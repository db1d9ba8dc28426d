"""A reduction around a ring whose root moves: every PE is the root once.

The sums of a step start at the PE whose turn to be root comes next, and run around the ring to
the root. Turns go against the way of the words: then the root of a step is the last but one of
the next step, so that PEs work in a pipeline, each a little later than the one before it.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from wse.fabric.code import Code
from wse.fabric.library.lines import Line
from wse.fabric.library.ring import Ring
from wse.fabric.library.tile_product import join
from wse.fabric.operands import Array, Destination, Register, Source, Stream
from wse.fabric.tables import DType

THREAD = 1


class MovingReduce:
    """Sums of ``dtype`` around a line's ring; ``turns[step]`` is the position of its root."""

    def __init__(self, line: Line, dtype: DType) -> None:
        self.ring, self.dtype = Ring(line, "sums"), dtype
        self.turns = self.ring.order[::-1]

    def role(self, position: int) -> tuple[int, int]:
        """The colours of a position."""
        return self.ring.role(position)

    def turn(self, code: Code) -> Register:
        """How many steps are left until it is the own turn, before the first step."""
        return code.register("until turn", values=np.argsort(self.turns))

    def next(self, code: Code, turn: Register) -> None:
        """One step less to the own turn."""
        code.set(turn, turn - 1)
        code.set(turn, turn % len(self.turns))

    def add(
        self, code: Code, role: tuple[int, int], turn: Register, own: Source, total: Destination
    ) -> None:
        """Add ``own`` to the sums that pass; at the root, into ``total``.

        A micro-thread does it, so ``own`` must stay until the next step, or :meth:`wait`.
        """
        for come, to in self._ways(code, role, turn, total):
            if come is None:
                code.move(to, own, thread=THREAD)
            else:
                code.add(to, come, own, thread=THREAD)

    def add_product(
        self,
        code: Code,
        role: tuple[int, int],
        turn: Register,
        factors: tuple[Source, Source],
        total: Destination,
    ) -> None:
        """Add a product to the sums as they pass; at the root, into ``total``."""
        for come, to in self._ways(code, role, turn, total):
            if come is None:
                code.multiply(to, *factors)
            else:
                code.multiply_add(to, come, *factors)

    def wait(self, code: Code, role: tuple[int, int], array: Array) -> None:
        """Until the last sum is complete or on its way; ``array`` is any."""
        join(code, THREAD, array, self.ring.colours(role)[1])

    def _ways(
        self, code: Code, role: tuple[int, int], turn: Register, total: Destination
    ) -> Iterator[tuple[Stream | None, Destination]]:
        """Whence sums come and where they go: between, where they start, and at the root."""
        sends, receives = (colour.stream(self.dtype) for colour in self.ring.colours(role))
        with code.when(turn > 1):
            yield receives, sends
        with code.when(turn.equals(1)):
            yield None, sends
        with code.when(turn.equals(0)):
            yield receives, total
