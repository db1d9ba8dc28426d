"""Published cycles of programs on a fabric: WSE-3 hardware, and the vendor's simulators.

The files are as their sources give them. *Hardware* and *vendor simulator* rows are told apart:
no cycle of WSE-2 hardware is published, so nothing here validates WSE-2 silicon.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_FOLDER = Path(__file__).parent
HARDWARE = "hardware"
VENDOR_SIMULATOR = "vendor simulator"
RELAY_SOURCE = "FABRICA, fit of 8 points within 4 %, in the vendor's WSE-3 simulator"

# The names of the logs, and the programs of wse.fabric.library that do the same.
_PROGRAMS = {
    "MeshGEMM(Cannon-like, interleaved)": "mesh_gemm",
    "SUMMA collectives_2d lib": "collectives_summa",
    "SUMMA pipelined 4-colour": "pipelined_summa",
    "GEMV pipelined chain allreduce": "chain_gemv",
    "GEMV two-tree allreduce": "two_tree_gemv",
    "chain": "chain_reduce",
    "two-phase": "two_phase_reduce",
}


@dataclass(frozen=True)
class FabricRow:
    """A published run: ``cycles`` of a program on ``width`` PEs along each axis it uses.

    ``size`` is the program's: rows of a tile, or words a PE. ``steps`` are those of a product of
    matrices, 1 otherwise; ``group`` is that of a two-phase reduction.
    """

    program: str
    machine: str
    kind: str
    width: int
    size: int
    steps: int
    cycles: float
    source: str
    group: int | None = None

    @property
    def name(self) -> str:
        """The row in a table."""
        return f"{self.program}, {self.width} PEs, {self.size}"


def fabric_rows() -> list[FabricRow]:
    """Every published row."""
    return [*_gemm(), *_gemv(), *_reduce(), *_relay()]


def _gemm() -> Iterator[FabricRow]:
    for row in _read("wse3_gemm_cycles.csv"):
        width, cycles = int(row["P"]), float(row["mean_cycles"])
        program, tile = _PROGRAMS[row["algorithm"]], int(row["tile"])
        yield FabricRow(program, "wse3", HARDWARE, width, tile, width, cycles, row["source"])


def _gemv() -> Iterator[FabricRow]:
    for row in _read("wse3_gemv_cycles.csv"):
        width, cycles = int(row["P"]), float(row["mean_cycles"])
        program, tile = _PROGRAMS[row["algorithm"]], int(row["M"]) // width
        yield FabricRow(program, "wse3", HARDWARE, width, tile, 1, cycles, row["source"])


def _reduce() -> Iterator[FabricRow]:
    for row in _read("wse2_reduce_cycles.csv"):
        yield FabricRow(
            _PROGRAMS[row["algorithm"]],
            "wse2",
            VENDOR_SIMULATOR,
            int(row["P"]),
            int(row["words_per_PE"]),
            1,
            float(row["measured_cycles"]),
            row["source"],
            int(row["step"]),
        )


def _relay() -> Iterator[FabricRow]:
    for words in (64, 512):
        for hops in (1, 2, 4, 8):
            cycles = 1.001 * hops * words + 16.1 * hops + 16.5
            yield FabricRow(
                "relay",
                "wse3_simulator",
                VENDOR_SIMULATOR,
                hops + 1,
                words,
                1,
                cycles,
                RELAY_SOURCE,
            )


def _read(name: str) -> Iterator[dict[str, str]]:
    with (_FOLDER / name).open(newline="") as file:
        yield from csv.DictReader(file)
