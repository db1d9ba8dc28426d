"""A ring laid on a line so that neighbours on the ring are at most two PEs apart.

The ring runs over the even positions ahead and over the odd ones back: 0, 2, 4, ... 5, 3, 1.
Words move against that order. Senders two apart use two colours in turn, even and odd positions
different ones: four colours. It is the interleaving of MeshGEMM (WaferLLM, 2025).
"""

from __future__ import annotations

from wse.fabric.errors import ProgramError
from wse.fabric.library.lines import Line
from wse.fabric.operands import Colour
from wse.fabric.tables import RAMP


class Ring:
    """``order[i]`` is the position of the ring's i-th PE; it receives from ``order[i + 1]``."""

    def __init__(self, line: Line, name: str) -> None:
        if line.length < 2:
            raise ProgramError(f"a ring of {line.length} PE along {line.axis}; it needs 2 or more")
        positions = range(line.length)
        self.order = [*positions[::2], *reversed(positions[1::2])]
        self._colours = [line.colour(f"{name} {number}") for number in range(4)]
        self._from = {
            self.order[number - 1]: sender for number, sender in enumerate(self.order)
        }  # the receiver of order[0] is order[-1]
        for receiver, sender in self._from.items():
            self._lay(line, sender, receiver)

    def _lay(self, line: Line, sender: int, receiver: int) -> None:
        colour = self.sends(sender)
        ahead = receiver > sender
        onward, behind = (line.forward, line.backward) if ahead else (line.backward, line.forward)
        line.route(colour, RAMP, onward, [sender])
        line.route(colour, behind, RAMP, [receiver])
        if abs(receiver - sender) == 2:
            line.route(colour, behind, onward, [(sender + receiver) // 2])

    def sends(self, position: int) -> Colour:
        """The colour on which a position sends to the ring's PE before it."""
        return self._colours[position % 4]

    def role(self, position: int) -> tuple[int, int]:
        """Numbers of the colours on which a position sends and receives."""
        return position % 4, self._from[position] % 4

    def colours(self, role: tuple[int, int]) -> tuple[Colour, Colour]:
        """The colours on which a role sends and receives."""
        return self._colours[role[0]], self._colours[role[1]]

    @property
    def indices(self) -> list[int]:
        """Where on the ring each position is."""
        return [self.order.index(position) for position in range(len(self.order))]
