"""How fast this machine is: matrix products, passes over memory, updates and the disk, measured."""

from pipeline.machine_speed.speed import MachineSpeed

__all__ = ["MachineSpeed"]
