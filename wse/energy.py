"""The energy of a step, from the published power of a whole running system.

A CS-2 was measured between its power at rest and its peak. Power is taken to rise in proportion
to the share of a step in which PEs compute; what memory, fabric and links take apart is not
published and not told apart here.
"""

from __future__ import annotations

from wse.hardware import Wafer
from wse.schedule import Step


def step_joules(wafer: Wafer, step: Step) -> float:
    """Joules that one system takes for ``step``."""
    rest, peak = wafer.system_watts_idle, wafer.system_watts_peak
    return rest * step.seconds + (peak - rest) * step.seconds_by_cause["compute"]
