"""An experiment by name: a program of the library on a mesh of a wafer, run and checked."""

from __future__ import annotations

from dataclasses import dataclass

from wse.fabric.errors import MachineError, OperandError, ProgramError
from wse.fabric.library.registry import PROGRAMS
from wse.fabric.machine import MACHINES
from wse.fabric.program import Program
from wse.fabric.run import MAXIMUM_CYCLES, Result, run
from wse.fabric.tables import F16, F32, I16, I32

DTYPES = {"fp16": F16, "fp32": F32, "int16": I16, "int32": I32}
# Columns and rows of PEs, published (conf/wafer/ names the sources).
LARGEST_MESH = {"wse2": (757, 996), "wse3": (762, 1176), "wse3_simulator": (762, 1176)}
EVENTS = 1_000_000
"""Most events that a timeline is made of, 32 bytes each."""


@dataclass(frozen=True)
class Request:
    """What is to be run: ``program`` and ``machine`` by name, on ``width`` x ``height`` PEs.

    ``dtype`` and ``size`` (elements, or the side of a tile, a PE) are the program's own if None.
    """

    program: str
    width: int
    height: int
    machine: str
    dtype: str | None = None
    size: int | None = None
    max_cycles: int = MAXIMUM_CYCLES


def perform(request: Request, timeline: bool = True) -> Result:
    """Run the program, compare what it leaves with numpy's numbers, and return the run.

    ``timeline``: record events. Raises a child of :class:`~wse.fabric.errors.FabricError`.
    """
    _check(request)
    dtype = DTYPES[request.dtype] if request.dtype is not None else None
    entry = PROGRAMS[request.program]
    experiment = entry.make(request.width, request.height, dtype=dtype, size=request.size)
    machine = MACHINES[request.machine]
    events = EVENTS if timeline else 0
    run(Program(1, 1), machine)  # loads the engine, so that the speed of the run is its own
    result = run(experiment.program, machine, max_cycles=request.max_cycles, timeline=events)
    experiment.check(result)
    return result


def _check(request: Request) -> None:
    """Refuse what is not there by name, and numbers that cannot be."""
    if request.program not in PROGRAMS:
        raise ProgramError(f"{request.program}: no such program; there are {', '.join(PROGRAMS)}")
    if request.machine not in MACHINES:
        known = ", ".join(MACHINES)
        raise MachineError(f"wafer {request.machine}: its fabric is not known; known are {known}")
    if request.dtype is not None and request.dtype not in DTYPES:
        raise OperandError(f"dtype {request.dtype}: no such type; there are {', '.join(DTYPES)}")
    width, height = LARGEST_MESH[request.machine]
    if not (1 <= request.width <= width and 1 <= request.height <= height):
        raise ProgramError(
            f"a mesh of {request.width} x {request.height} PEs: {request.machine} has 1 x 1 to "
            f"{width} x {height}"
        )
    if request.size is not None and request.size < 1:
        raise ProgramError(f"size {request.size}: a program needs at least 1 element a PE")
    if request.max_cycles < 1:
        raise ProgramError(f"a limit of {request.max_cycles} cycles: nothing runs in that")
