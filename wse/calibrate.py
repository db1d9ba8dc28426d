"""Fits the model's constants to published training rates.

    python -m wse.calibrate            fit, and print the constants and every row's error
    python -m wse.calibrate --write    also renew wse/validation/calibration.json

One constant is fitted to the rows of the software that plans stand for, the fixed cost of a layer,
by least squares of the relative error of the step time; the rate is that of the simulated fabric.
Each row is also predicted from a fit to the other rows; the range of those errors is the band of
every plan. Of each older release there is one row: the share of the rate that it achieved is fitted
to it, the fixed cost is kept.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from wse.calibration import CALIBRATION_FILE, Calibration, Calibrations, calibrated_wafer
from wse.choice import best_step
from wse.errors import PlanError
from wse.hardware import Wafer
from wse.step import Setup, Step, step
from wse.transformer import training_graph
from wse.validation import TrainingRow, training_rows

RELEASE = "R2.0"
START = Calibration(RELEASE, 1.0, 0.003, 1.0, 1.0)
MAXIMUM_ROUNDS = 40
SMALL = 1e-3


def setup_of(row: TrainingRow, wafer: Wafer, calibration: Calibration) -> Setup:
    """The setup in which ``row`` was measured."""
    return Setup(training_graph(row.shape), wafer, calibration, row.systems)


def simulated(row: TrainingRow, wafer: Wafer, calibration: Calibration) -> Step:
    """The step of ``row`` as the model would run it."""
    found = best_step(setup_of(row, wafer, calibration), row.global_batch // row.systems)
    if found is None:
        raise PlanError(f"{row.id}: the model finds no room for a row that ran")
    return found


def error(row: TrainingRow, wafer: Wafer, calibration: Calibration) -> float:
    """Relative error of the simulated step time against the published one."""
    return simulated(row, wafer, calibration).seconds / row.step_seconds - 1


def fit(rows: Sequence[TrainingRow], wafer: Wafer, start: Calibration = START) -> Calibration:
    """Fit the fixed cost to ``rows``; of ways that change with it, the best fit is taken."""
    best, least = start, np.inf
    current = start
    for _ in range(MAXIMUM_ROUNDS):
        errors, slopes = _linearized(rows, wafer, current)
        if (squares := float(errors @ errors)) < least:
            best, least = current, squares
        change = float(-(slopes @ errors) / (slopes @ slopes))
        current = _costlier(current, max(-0.5, min(0.5, change)))
        if abs(change) < 1e-9:
            break
    return best


def _linearized(
    rows: Sequence[TrainingRow], wafer: Wafer, calibration: Calibration
) -> tuple[np.ndarray, np.ndarray]:
    """Errors (rows,) and their slopes (rows,) by the logarithm of the fixed cost, ways held."""
    errors, slopes = [], []
    for row in rows:
        way = simulated(row, wafer, calibration).way
        base, costlier = (
            step(setup_of(row, wafer, _costlier(calibration, by)), way).seconds / row.step_seconds
            for by in (0.0, SMALL)
        )
        errors.append(base - 1)
        slopes.append((costlier - base) / SMALL)
    return np.array(errors), np.array(slopes)


def _costlier(calibration: Calibration, by: float) -> Calibration:
    """The constants with the fixed cost higher by this logarithm."""
    fixed = calibration.fixed_seconds_per_layer * math.exp(by)
    return replace(calibration, fixed_seconds_per_layer=fixed)


def _slower(calibration: Calibration, by: float) -> Calibration:
    """The constants with the rate lower by this logarithm."""
    return replace(calibration, achieved_share=calibration.achieved_share * math.exp(-by))


def left_out_errors(rows: Sequence[TrainingRow], wafer: Wafer) -> list[float]:
    """The error of each row when it is predicted from the others."""
    return [error(row, wafer, fit([r for r in rows if r is not row], wafer)) for row in rows]


def calibrated(rows: Sequence[TrainingRow], wafer: Wafer) -> Calibrations:
    """The constants of every release, rounded, with the band of the left-out errors."""
    fitted_rows = [row for row in rows if row.fitted]
    factors = [1 / (1 + left_out) for left_out in left_out_errors(fitted_rows, wafer)]
    main = _rounded(replace(fit(fitted_rows, wafer), low=min(factors), high=max(factors)))
    older = [row for row in rows if not row.fitted]
    releases = {RELEASE: main} | {row.release: _of_release(row, wafer, main) for row in older}
    return Calibrations(RELEASE, wafer, releases)


def _of_release(row: TrainingRow, wafer: Wafer, main: Calibration) -> Calibration:
    """The main constants with the rate that the one row of an older release shows."""
    current = replace(main, release=row.release)
    for _ in range(MAXIMUM_ROUNDS):
        way = simulated(row, wafer, current).way
        base, slower = (
            step(setup_of(row, wafer, _slower(current, by)), way).seconds for by in (0.0, SMALL)
        )
        change = (row.step_seconds - base) / ((slower - base) / SMALL)
        current = _slower(current, max(-0.5, min(0.5, change)))
        if abs(change) < 1e-9:
            break
    return _rounded(current)


def _rounded(calibration: Calibration) -> Calibration:
    numbers = ("achieved_share", "fixed_seconds_per_layer", "low", "high")
    rounded: dict[str, Any] = {name: float(f"{getattr(calibration, name):.5g}") for name in numbers}
    return replace(calibration, **rounded)


def report(made: Calibrations) -> str:
    """The constants of each release."""
    lines = ["release   achieved share  fixed ms per layer   band of the step time"]
    for name, one in made.releases.items():
        fixed = 1e3 * one.fixed_seconds_per_layer
        lines.append(
            f"{name:9} {one.achieved_share:14.4f}  {fixed:18.3f}   {one.low:.3f} to {one.high:.3f}"
        )
    return "\n".join(lines)


def main() -> None:
    """Fit, print, and write if asked to."""
    parser = argparse.ArgumentParser(
        prog="python -m wse.calibrate", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--write", action="store_true", help=f"renew {CALIBRATION_FILE.name}")
    arguments = parser.parse_args()
    made = calibrated(training_rows(), calibrated_wafer())
    print(report(made))
    if arguments.write:
        CALIBRATION_FILE.write_text(made.to_json())


if __name__ == "__main__":
    main()
