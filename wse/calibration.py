"""The constants of the wafer model, one set for each release of the vendor's software.

``python -m wse.calibrate --write`` fits them to the published rows of ``wse/validation/`` and
writes ``wse/validation/calibration.json``; nothing else in the simulator is fitted.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

from wse.errors import PlanError
from wse.hardware import Wafer

CALIBRATION_FILE = Path(__file__).parent / "validation" / "calibration.json"


@dataclass(frozen=True)
class Calibration:
    """Constants fitted to one release of the vendor's software on one wafer.

    - ``achieved_share``: share of a PE's rate of fp16 multiply-adds with fp32 accumulation that
      the multiply-adds of its AXPYs reach; 1, that of the simulated fabric, for the release of
      most rows, and fitted for older ones.
    - ``fixed_seconds_per_layer``: of each passage of a layer, once per micro-batch forward and
      once backward: to start its kernels, and what the fabric's distances and the store's
      latencies take.
    - ``low``, ``high``: factors on a predicted step time between which every row lay when it was
      predicted from the others; 1 and 1 where there was nothing to leave out.
    - ``scales_with_sram``: take a PE's rate to follow its SRAM bandwidth, not its peak; the two
      differ only on other wafers than that of the rows.
    """

    release: str
    achieved_share: float
    fixed_seconds_per_layer: float
    low: float
    high: float
    scales_with_sram: bool = False

    def multiply_adds_per_cycle(self, wafer: Wafer) -> float:
        """Multiply-adds per cycle that a PE of ``wafer`` achieves in training."""
        if not self.scales_with_sram:
            return self.achieved_share * wafer.mixed_fmac_per_cycle_per_pe
        rows = calibrated_wafer()
        bandwidth = _sram_bytes_per_cycle(wafer) / _sram_bytes_per_cycle(rows)
        return self.achieved_share * rows.mixed_fmac_per_cycle_per_pe * bandwidth


@dataclass(frozen=True)
class Calibrations:
    """Every release's constants, the wafer of the rows, and the release that plans stand for."""

    default: str
    wafer: Wafer
    releases: dict[str, Calibration]

    def to_json(self) -> str:
        """The text of ``calibration.json``."""
        return json.dumps(asdict(self), indent=1) + "\n"


@cache
def committed() -> Calibrations:
    """The constants that the repository holds."""
    values = json.loads(CALIBRATION_FILE.read_text())
    releases = {name: Calibration(**one) for name, one in values["releases"].items()}
    return Calibrations(values["default"], Wafer(**values["wafer"]), releases)


def calibration(release: str | None = None) -> Calibration:
    """The constants of a release, by default of the one that plans stand for.

    Raises :class:`PlanError` for a release of which there are no rows.
    """
    known = committed()
    name = known.default if release is None else release
    if name not in known.releases:
        raise PlanError(
            f"partition.release: {name!r} is none of those with published rows: "
            f"{', '.join(known.releases)}"
        )
    return known.releases[name]


def calibrated_wafer() -> Wafer:
    """The wafer of the rows."""
    return committed().wafer


def _sram_bytes_per_cycle(wafer: Wafer) -> float:
    return wafer.sram_bytes_per_second / wafer.cores / wafer.clock_hz
