"""How much the numbers of a machine that nobody published matter.

    python -m wse.fabric.sensitivity

broadcasts 256 words to 64 PEs and reduces as many over them, on WSE-2 and WSE-3, with one number
changed at a time, and prints by how much the cycles (*simulated*) change.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from wse.fabric.examples import broadcast, chain_reduce
from wse.fabric.machine import WSE2, WSE3, Machine
from wse.fabric.program import Program
from wse.fabric.run import run

VALUES = {
    "router_queue_words": (1, 2, 3, 4, 8),
    "input_queue_words": (1, 2, 3, 4, 8),
    "output_queue_words": (1, 2, 3, 4, 8),
    "ramp_cycles": (1, 2, 3),
    "vector_steps_per_cycle": (1, 2),
    "task_start_cycles": (0, 5, 10),
}
"""Fields of :class:`Machine` without a published number, or with one of second hand."""


@dataclass(frozen=True)
class Row:
    """Cycles of a program when ``field`` of a machine is ``value``, and by default."""

    program: str
    machine: str
    field: str
    value: int
    cycles: int
    default_cycles: int

    @property
    def change(self) -> float:
        """Relative to the default."""
        return self.cycles / self.default_cycles - 1


def sensitivity(name: str, program: Program, machine: Machine) -> list[Row]:
    """A row for each value of each unpublished number."""
    default = run(program, machine).cycles
    return [
        Row(name, machine.name, field, value, _cycles(program, machine, field, value), default)
        for field, values in VALUES.items()
        for value in values
    ]


def _cycles(program: Program, machine: Machine, field: str, value: int) -> int:
    changed: dict[str, int] = {field: value}
    return run(program, replace(machine, **changed)).cycles  # type: ignore[arg-type]


def lines(rows: list[Row]) -> list[str]:
    """A line of Markdown for each number, with the change for each of its values."""
    numbers = dict.fromkeys((row.program, row.machine, row.field) for row in rows)
    return [
        f"| {' | '.join(number)} | "
        + ", ".join(
            f"{row.value}: {row.change:+.1%}"
            for row in rows
            if (row.program, row.machine, row.field) == number
        )
        + " |"
        for number in numbers
    ]


def main() -> None:
    """Print the table."""
    programs = {
        "broadcast": broadcast(64, np.ones(256)),
        "chain reduce": chain_reduce(np.ones((64, 256))),
    }
    print("| program | machine | number | value: change of the cycles |\n|---|---|---|---|")
    for name, program in programs.items():
        for machine in (WSE2, WSE3):
            print("\n".join(lines(sensitivity(name, program, machine))))


if __name__ == "__main__":
    main()
