"""What the fabric refuses, by name; messages are one sentence with PE, colour and cycle."""

import numpy as np
from numpy.typing import NDArray

from wse.errors import OnewaferError


class FabricError(OnewaferError):
    """Anything that the simulated fabric refuses."""


class MachineError(FabricError):
    """A description of a machine that is incomplete or contradicts itself."""


class ProgramError(FabricError):
    """A program that no fabric of this kind can run; found before the run."""


class RouteError(ProgramError):
    """A route off the mesh, into a PE that does not receive, or with an illegal switch."""


class CapacityError(ProgramError):
    """More colours, queues, micro-threads, tasks or SRAM than the machine has."""


class OperandError(ProgramError):
    """Operands that do not fit each other: lengths, data types, ranges, streams."""


class CollisionError(FabricError):
    """Two wavelets reached one router on one colour in one cycle."""


class MemoryRangeError(FabricError):
    """A vector operation reached outside its array during the run."""


class DeadlockError(FabricError):
    """Nothing can move any more although work remains.

    ``cycle`` is the last in which anything moved. ``waiting`` and ``wavelets`` [height, width]
    count at each PE the operations and tasks that wait, and the wavelets left in its queues.
    """

    def __init__(
        self, message: str, cycle: int, waiting: NDArray[np.int64], wavelets: NDArray[np.int64]
    ) -> None:
        super().__init__(message)
        self.cycle, self.waiting, self.wavelets = cycle, waiting, wavelets


class CycleLimitError(FabricError):
    """The run is not over at the cycle that was given as its limit."""
