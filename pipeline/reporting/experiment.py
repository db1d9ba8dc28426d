"""An experiment on the fabric, as its stage wrote it: ``fabric.json``, and its pictures."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from wse.fabric.pictures import LINK_LOAD, UTILISATION, WAVEFRONT

PICTURES = (WAVEFRONT, LINK_LOAD, UTILISATION)


@dataclass(frozen=True)
class Experiment:
    """``fabric.json``: what a run of a program on the fabric took; simulated, but for its speed."""

    program: str
    machine: str
    width: int
    height: int
    cycles: int
    utilisation: float
    busiest_link: tuple[int, int, str]
    busiest_link_wavelets: int
    busiest_link_share: float
    pe_cycles_per_second: float
    config_hash: str


def picture_paths(run_directory: Path) -> list[Path]:
    """Where the pictures that the report shows lie."""
    return [run_directory / "fabric" / name for name in PICTURES]
