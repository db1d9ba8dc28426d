"""The wafer's mesh, cycle by cycle: programs for it, and what they do and take.

``docs/fabric.md`` is the specification, ``docs/fabric_tutorial.md`` the way in. Every number
that comes from here is simulated.
"""

from wse.fabric.machine import MACHINES, WSE2, WSE3, WSE3_SIMULATOR, Machine, Rate
from wse.fabric.program import Filter, Program
from wse.fabric.tables import EAST, F16, F32, I16, I32, NORTH, RAMP, SOUTH, WEST, Direction, DType

__all__ = [
    "MACHINES",
    "WSE2",
    "WSE3",
    "WSE3_SIMULATOR",
    "Machine",
    "Rate",
    "Filter",
    "Program",
    "EAST",
    "F16",
    "F32",
    "I16",
    "I32",
    "NORTH",
    "RAMP",
    "SOUTH",
    "WEST",
    "Direction",
    "DType",
]
