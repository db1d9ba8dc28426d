"""What a tenth more of each resource would give: the step planned again, one change at a time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from wse.choice import best_step
from wse.hardware import Wafer
from wse.step import Setup, Step

MORE = 1.1


def _faster_clock(wafer: Wafer) -> Wafer:
    """A clock that all of the wafer follows, memory and mesh included."""
    return replace(
        wafer,
        clock_hz=wafer.clock_hz * MORE,
        sram_bytes_per_second=wafer.sram_bytes_per_second * MORE,
        fabric_bytes_per_second=wafer.fabric_bytes_per_second * MORE,
    )


RESOURCES: dict[str, Callable[[Setup], Setup]] = {
    "clock": lambda setup: setup.changed(wafer=_faster_clock(setup.wafer)),
    "sram": lambda setup: _with(setup, sram_bytes_per_pe=int(setup.wafer.sram_bytes_per_pe * MORE)),
    "io_bandwidth": lambda setup: _with(
        setup, io_bytes_per_second=setup.wafer.io_bytes_per_second * MORE
    ),
    "fabric_height": lambda setup: _with(
        setup, usable_height=int(setup.wafer.usable_height * MORE)
    ),
    "parameter_store": lambda setup: _with(
        setup,
        parameter_store_bytes_per_second=setup.wafer.parameter_store_bytes_per_second * MORE,
    ),
    "fixed_cost": lambda setup: setup.changed(
        calibration=replace(
            setup.calibration,
            fixed_seconds_per_layer=setup.calibration.fixed_seconds_per_layer / MORE,
        ),
    ),
}
"""Each resource by name, and the setup with a tenth more of it (of the fixed cost, less)."""


def gains(setup: Setup, sequences: int, found: Step) -> dict[str, float]:
    """How much higher the rate is with a tenth more of each resource, as a share."""
    made = {}
    for name, change in RESOURCES.items():
        better = best_step(change(setup), sequences) or found
        made[name] = found.seconds / better.seconds - 1
    return made


def _with(setup: Setup, **changes: Any) -> Setup:
    return setup.changed(wafer=replace(setup.wafer, **changes))
