"""Published cycles of fabric programs beside the simulated ones, which a file keeps."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from wse.validation.fabric_rows import FabricRow, fabric_rows
from wse.validation.table import Comparison

CYCLES_FILE = Path(__file__).with_name("fabric_cycles.json")

FABRIC_UNEXPLAINED = (
    "No cycles of WSE-2 hardware are published: the fabric of WSE-2 is checked against the "
    "vendor's simulator alone, and its silicon is not validated.",
    "Each fitted program has one constant, of a step or of a run: scalar code, synchronisation and "
    "timers of the published programs. Why a chained matrix-vector product has ten times that of "
    "the two trees is not known.",
    "Matrix-vector products of 120 x 120 tiles ran 8 % faster than the microbenchmark's 2.92 "
    "fp16 multiply-adds a cycle allow.",
)
"""What these rows show and the simulation does not explain, in sentences."""


@dataclass(frozen=True)
class SimulatedRow:
    """A row's cycles with the fitted constant, and ``bare_cycles`` without it."""

    program: str
    width: int
    size: int
    bare_cycles: float
    cycles: float


def committed() -> tuple[dict[str, int], list[SimulatedRow]]:
    """The fitted constants and the rows of the file, in the order of the published rows."""
    kept = json.loads(CYCLES_FILE.read_text())
    return kept["fixed_cycles"], [SimulatedRow(**row) for row in kept["rows"]]


def fit(rows: Sequence[tuple[FabricRow, float]]) -> float:
    """Cycles to add to each step, so that the squares of the relative errors are least."""
    weights = [row.steps / row.cycles for row, _ in rows]
    missing = [1 - bare / row.cycles for row, bare in rows]
    product = sum(weight * part for weight, part in zip(weights, missing, strict=True))
    return max(0.0, product / sum(weight * weight for weight in weights))


def fabric_comparisons() -> list[Comparison]:
    """Every published row; its left-out error is with a constant fitted to the other rows."""
    fixed, simulated = committed()
    pairs = list(zip(fabric_rows(), simulated, strict=True))
    return sorted(_compared(pairs, fixed), key=lambda made: made.group)


def _compared(
    pairs: list[tuple[FabricRow, SimulatedRow]], fixed: dict[str, int]
) -> Iterator[Comparison]:
    for row, made in pairs:
        left_out = None
        others = [
            (other, its.bare_cycles)
            for other, its in pairs
            if other.program == row.program and other is not row
        ]
        if row.program in fixed:
            left_out = (made.bare_cycles + row.steps * fit(others)) / row.cycles - 1
        yield Comparison(
            _group(row),
            row.name,
            "cycles a step" if row.steps > 1 else "cycles",
            row.cycles / row.steps,
            made.cycles / row.steps,
            "fitted" if row.program in fixed else "not fitted",
            left_out,
        )


def _group(row: FabricRow) -> str:
    machine = {"wse2": "WSE-2", "wse3": "WSE-3", "wse3_simulator": "WSE-3"}[row.machine]
    what = "products of matrices" if row.steps > 1 else "one run"
    return f"Fabric of {machine}, {row.kind}, {what}"
