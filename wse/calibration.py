"""The fitted constants of the model, and the rate of arithmetic that they give a wafer.

``python -m wse.calibrate --write`` fits them to the published rows of ``wse/validation/`` and
writes ``wse/validation/calibration.json``; nothing else in the simulator is fitted.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

from wse.hardware import Wafer

CALIBRATION_FILE = Path(__file__).parent / "validation" / "calibration.json"


@dataclass(frozen=True)
class Calibration:
    """Constants fitted to one release of the vendor's software on one wafer.

    - ``compute_efficiency``: share of a PE's fp16 peak that training reaches in matrix products.
    - ``fixed_seconds_per_layer``: for each layer that streams, once per micro-batch.
    - ``low``, ``high``: factors on a predicted step time between which every row lay when it was
      predicted from the others.
    - ``wafer``: the system of the rows.
    - ``scales_with_sram``: take a PE's rate to follow its SRAM bandwidth, not its peak; the two
      differ only on other wafers than that of the rows.
    """

    release: str
    compute_efficiency: float
    fixed_seconds_per_layer: float
    low: float
    high: float
    wafer: Wafer
    scales_with_sram: bool = False

    def flops_per_second_per_pe(self, wafer: Wafer) -> float:
        """FLOP/s that a PE of ``wafer`` achieves in training."""
        if not self.scales_with_sram:
            return self.compute_efficiency * _peak_per_pe(wafer)
        bandwidth = _sram_rate_per_pe(wafer) / _sram_rate_per_pe(self.wafer)
        return self.compute_efficiency * _peak_per_pe(self.wafer) * bandwidth

    def to_json(self) -> str:
        """The text of ``calibration.json``."""
        return json.dumps(asdict(self), indent=1) + "\n"


@cache
def committed() -> Calibration:
    """The calibration that the repository holds."""
    values = json.loads(CALIBRATION_FILE.read_text())
    return Calibration(**values | {"wafer": Wafer(**values["wafer"])})


def _peak_per_pe(wafer: Wafer) -> float:
    return 2.0 * wafer.fp16_fmac_per_cycle_per_pe * wafer.clock_hz


def _sram_rate_per_pe(wafer: Wafer) -> float:
    return wafer.sram_bytes_per_second / wafer.cores
