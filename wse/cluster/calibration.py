"""The fitted constants of the cluster model, and how far its predictions lay from published rows.

``python -m wse.cluster.calibrate --write`` fits them to the rows of
``wse.validation.gpu_rows`` and writes ``wse/validation/gpu_calibration.json``; nothing else in
the cluster model is fitted.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

from wse.cluster.eras import Era
from wse.cluster.hardware import Cluster
from wse.cluster.products import Machine, machine

CALIBRATION_FILE = Path(__file__).parents[1] / "validation" / "gpu_calibration.json"


@dataclass(frozen=True)
class ClusterCalibration:
    """Constants fitted to published training steps on A100.

    - ``matrix_efficiency``: rate of an endless product in training, of the largest that a single
      product reaches (``Cluster.matrix_share_of_peak``).
    - ``kernel_share``: share of its bound that an attention or vector kernel reaches that is not
      tuned (``Era.tuned_kernels``).
    - ``exposed_share``: share of overlapped data-parallel traffic that is waited for all the same.
    - ``low``, ``high``: by era, factors on a step time between which every row lay when it was
      predicted from the others.
    - ``cluster``: name of the cluster of the rows.
    """

    matrix_efficiency: float
    kernel_share: float
    exposed_share: float
    low: Mapping[str, float]
    high: Mapping[str, float]
    cluster: str

    def machine(self, cluster: Cluster, era: Era) -> Machine:
        """A GPU of ``cluster`` as the kernels of ``era`` find it."""
        kernel_share = 1.0 if era.tuned_kernels else self.kernel_share
        return machine(cluster, self.matrix_efficiency, kernel_share)

    def to_json(self) -> str:
        """The text of ``gpu_calibration.json``."""
        return json.dumps(asdict(self), indent=1) + "\n"


@cache
def committed() -> ClusterCalibration:
    """The calibration that the repository holds."""
    return ClusterCalibration(**json.loads(CALIBRATION_FILE.read_text()))
