"""Simulated cycles of the published programs, and the one constant of each that is fitted.

    python -m wse.validation.fabric --write             every row again; renews the file
    python -m wse.validation.fabric mesh_gemm 540 8     the same program at another size
    python -m wse.validation.fabric two_phase_reduce 512 4096 --group 32

``fabric_cycles.json`` keeps the cycles with the machines that they came from. Products of matrices
are simulated on meshes of 8 x 8 and 16 x 16 PEs; the published meshes take as many steps more as
they are larger, each as long as the steps between those two. All other programs are simulated at
their published length, one row of PEs high: their rows of PEs do not meet.

A program that has ``fixed_cycles`` (of a step, or of a run) gets the number that fits its rows
best. All other constants are those of the machines, from microbenchmarks.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from typing import Any

from wse.fabric.errors import FabricError, ProgramError
from wse.fabric.library import gemv, mesh_gemm, reduce, relay, summa
from wse.fabric.library.experiment import Experiment
from wse.fabric.machine import MACHINES
from wse.fabric.run import run
from wse.validation.fabric_rows import FabricRow, fabric_rows
from wse.validation.fabric_table import CYCLES_FILE, SimulatedRow, fit

MESHES = (8, 16)
"""Widths of the meshes that products of matrices are simulated on."""

FITTED: dict[str, tuple[Callable[..., Experiment], int]] = {
    "mesh_gemm": (mesh_gemm.mesh_gemm, mesh_gemm.FIXED_CYCLES),
    "pipelined_summa": (summa.pipelined_summa, summa.PIPELINED_FIXED_CYCLES),
    "collectives_summa": (summa.collectives_summa, summa.COLLECTIVES_FIXED_CYCLES),
    "chain_gemv": (gemv.chain_gemv, gemv.CHAIN_FIXED_CYCLES),
    "two_tree_gemv": (gemv.two_tree_gemv, gemv.TWO_TREE_FIXED_CYCLES),
    "relay": (relay.relay, relay.FIXED_CYCLES),
}
"""Programs with a fitted constant, and the constant that they have by default."""


def simulate(row: FabricRow, fixed_cycles: int = 0) -> float:
    """Cycles of a published row."""
    if row.steps == 1:
        return _cycles(row, row.width, 1, fixed_cycles)
    small, large = (_cycles(row, width, width, fixed_cycles) for width in MESHES)
    step = (large - small) / (MESHES[1] - MESHES[0])
    return small + step * (row.steps - MESHES[0])


def _cycles(row: FabricRow, width: int, height: int, fixed_cycles: int) -> int:
    experiment = _builder(row, fixed_cycles)(width, height, row.size)
    result = run(experiment.program, MACHINES[row.machine])
    experiment.check(result)
    return result.cycles


def _builder(row: FabricRow, fixed_cycles: int) -> Callable[[int, int, int], Experiment]:
    if row.program in FITTED:
        return partial(FITTED[row.program][0], fixed_cycles=fixed_cycles)
    if row.program == "chain_reduce":
        return reduce.chain_reduce
    return partial(reduce.two_phase_reduce, group=row.group)


def simulate_all() -> dict[str, Any]:
    """Every row bare, the constants, every row with them: what the file keeps."""
    rows = [(row, simulate(row)) for row in fabric_rows()]
    fixed = {
        program: round(fit([pair for pair in rows if pair[0].program == program]))
        for program in FITTED
    }
    made = [
        SimulatedRow(
            row.program, row.width, row.size, bare, simulate(row, fixed.get(row.program, 0))
        )
        for row, bare in rows
    ]
    names = sorted({row.machine for row, _ in rows})
    return {
        "machines": {name: asdict(MACHINES[name]) for name in names},
        "meshes": list(MESHES),
        "fixed_cycles": fixed,
        "rows": [asdict(row) for row in made],
    }


def other_row(program: str, width: int, size: int, group: int | None) -> FabricRow:
    """A row like the published ones of a program, at another size."""
    found = [row for row in fabric_rows() if row.program == program]
    if not found:
        known = ", ".join(sorted({row.program for row in fabric_rows()}))
        raise ProgramError(f"no published row of {program}; there are rows of {known}")
    like = found[0]
    steps = width if like.steps > 1 else 1
    if like.steps > 1 and width < MESHES[0]:
        raise ProgramError(
            f"{program} on {width} x {width} PEs; steps are those beyond {MESHES[0]}"
        )
    return replace(like, width=width, size=size, steps=steps, cycles=0.0, group=group)


def _show(row: FabricRow) -> None:
    made = simulate(row, FITTED[row.program][1] if row.program in FITTED else 0)
    step = f", {made / row.steps:.1f} a step" if row.steps > 1 else ""
    print(f"{row.name} on {row.machine}: {made:.0f} cycles{step}, simulated")


def _renew(write: bool) -> None:
    made = simulate_all()
    for program, cycles in made["fixed_cycles"].items():
        print(f"{program:20} {cycles:6} fixed cycles, by default {FITTED[program][1]}")
    if write:
        CYCLES_FILE.write_text(json.dumps(made, indent=1) + "\n")


def main() -> int:
    """Simulate one program, or every row; print, and write if asked to."""
    parser = argparse.ArgumentParser(
        prog="python -m wse.validation.fabric", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("program", nargs="?", help="default: every published row")
    parser.add_argument("width", nargs="?", type=int, help="PEs along each axis")
    parser.add_argument("size", nargs="?", type=int, help="rows of a tile, or words a PE")
    parser.add_argument("--group", type=int, help="PEs of a group of two_phase_reduce")
    parser.add_argument("--write", action="store_true", help=f"renew {CYCLES_FILE.name}")
    arguments = parser.parse_args()
    if arguments.program is None:
        _renew(arguments.write)
        return 0
    if arguments.size is None or arguments.write:
        parser.error("a program needs its width and size, and is not written")
    try:
        _show(other_row(arguments.program, arguments.width, arguments.size, arguments.group))
    except FabricError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
