"""What the fabric's unpublished numbers matter: cycles of programs with each of them changed.

    python -m wse.validation.fabric_sensitivity

Each column is a program on 8 x 8 PEs of WSE-3 (a line of 64 for the collectives); each row one
number of the machine, changed alone. Published or measured numbers are not varied here.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from wse.fabric.library.experiment import Experiment
from wse.fabric.library.registry import PROGRAMS
from wse.fabric.machine import WSE3, Machine, Rate
from wse.fabric.run import run

LINE = (64, 1)
MESH = (8, 8)
CASES = {
    "chain_reduce": LINE,
    "two_tree_gemv": LINE,
    "mesh_gemm": MESH,
    "pipelined_summa": MESH,
    "stencil": MESH,
    "streaming_layer": MESH,
}
"""Programs, at their default size, and the width and height of their mesh."""

UNPUBLISHED: dict[str, tuple[Any, ...]] = {
    "router_queue_words": (2, 8),
    "input_queue_words": (4, 16),
    "output_queue_words": (4, 16),
    "vector_steps_per_cycle": (2,),
    "vector_row_cycles": (4, 8),
    "sram_conflict_milli": (1940,),
    "task_start_cycles": (1, 10),
    "loop_cycles": (4, 16),
    "arithmetic": (Rate(1460, 730), Rate(5840, 2920)),
}
"""Fields of the machine that rest on an assumption, and other values for them."""


def cycles(experiment: Experiment, machine: Machine) -> int:
    """Cycles of a program whose result is right."""
    result = run(experiment.program, machine)
    experiment.check(result)
    return result.cycles


def sensitivity() -> dict[str, list[float]]:
    """Of each changed number, the relative change of the cycles of each case."""
    experiments = [PROGRAMS[name].make(*shape) for name, shape in CASES.items()]
    base = [cycles(experiment, WSE3) for experiment in experiments]
    made = {}
    for field, values in UNPUBLISHED.items():
        for value in values:
            machine = replace(WSE3, **{field: value})
            changed = [cycles(experiment, machine) for experiment in experiments]
            made[_label(field, value)] = [
                new / old - 1 for new, old in zip(changed, base, strict=True)
            ]
    return made


def _label(field: str, value: Any) -> str:
    if isinstance(value, Rate):
        return f"{field} x {value.width16_milli / getattr(WSE3, field).width16_milli:g}"
    return f"{field} {getattr(WSE3, field)} -> {value}"


def main() -> None:
    """Print the table."""
    print(f"{'simulated, WSE-3':32}" + "".join(f"{name:>17}" for name in CASES))
    for label, changes in sensitivity().items():
        print(f"{label:32}" + "".join(f"{change:+17.1%}" for change in changes))


if __name__ == "__main__":
    main()
