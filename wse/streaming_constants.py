"""What the simulated fabric says about the products of a streamed layer, in a few numbers.

``python -m wse.fabric.ground --write`` runs the programs and writes ``streaming_constants.json``:
the constants, the machine that they hold for, and every run that they come from. They are
*simulated*, of WSE-2. The wafer model's :mod:`wse.kernels` rest on them.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

FILE = Path(__file__).parent / "streaming_constants.json"


@dataclass(frozen=True)
class FabricConstants:
    """Cycles, and rates in elements a cycle.

    Of a PE:

    - ``multiply_adds_per_cycle``: of fp16 factors with an fp32 sum;
    - ``issue_cycles``: of an AXPY that is an operation among many, beside its multiply-adds;
    - ``wavelet_cycles``: of a wavelet that the vector unit takes in, passes on or sends;
    - ``clear_cycles``: to set an fp32 sum to zero;
    - ``addition_cycles``: of an element of a sum of two fp16 vectors.

    Of a mesh:

    - ``forward_column_cycles``, ``backward_column_cycles``: to begin the outputs of one column
      of PEs in a product with weights, and in both its gradients;
    - ``forward_row_cycles``, ``backward_row_cycles``: what each row of PEs adds to the time of a
      product, as weights and gradients travel.
    """

    multiply_adds_per_cycle: float
    issue_cycles: float
    wavelet_cycles: float
    clear_cycles: float
    forward_column_cycles: float
    backward_column_cycles: float
    forward_row_cycles: float
    backward_row_cycles: float
    addition_cycles: float


@cache
def committed() -> FabricConstants:
    """The constants that the repository holds."""
    return FabricConstants(**stored()["constants"])


def stored() -> dict[str, Any]:
    """All of the file: constants, machine and runs."""
    values: dict[str, Any] = json.loads(FILE.read_text())
    return values
