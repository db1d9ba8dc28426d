"""Fits the cluster model's constants to published steps, and shows what they leave over.

    python -m wse.cluster.calibrate            fit, and print the constants and every row's error
    python -m wse.cluster.calibrate --write    also renew wse/validation/gpu_calibration.json

Three constants are fitted to all rows together, by least squares of the relative error of the step
time. Each row is also predicted from a fit to the other rows, and from a fit to the rows of other
sources alone; the range of those errors is the band of every plan of that era.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from wse.cluster.calibration import CALIBRATION_FILE, ClusterCalibration, committed
from wse.cluster.eras import ERAS
from wse.cluster.search import Search, passes_of, step_in
from wse.cluster.step import ClusterStep
from wse.errors import PlanError
from wse.validation.gpu_rows import GpuRow, clusters, gpu_rows

CONSTANTS = ("matrix_efficiency", "kernel_share", "exposed_share")
MAXIMUM_ROUNDS = 30
STEP = 1e-3  # of a constant, to see what it changes
LONGEST_STRIDE = 0.3  # of a constant in one round


def step_of(row: GpuRow, calibration: ClusterCalibration) -> ClusterStep:
    """The simulated step of ``row``, in its published layout."""
    layout = row.configuration
    cluster, era = clusters()[row.cluster], ERAS[row.era]
    search = Search(row.shape, cluster, era, layout.global_batch, calibration)
    return step_in(search, layout, passes_of(search))


def error(row: GpuRow, calibration: ClusterCalibration) -> float:
    """Relative error of the simulated step time against the published one."""
    return step_of(row, calibration).seconds / row.step_seconds - 1


def fit(rows: Sequence[GpuRow], start: ClusterCalibration) -> ClusterCalibration:
    """Fit the constants to ``rows`` by Gauss and Newton's method on their logarithms."""
    calibration = start
    for _ in range(MAXIMUM_ROUNDS):
        errors = _errors(rows, calibration)
        slopes = [
            (_errors(rows, _scaled(calibration, name, 1 + STEP)) - errors) / STEP
            for name in CONSTANTS
        ]
        strides = np.linalg.lstsq(np.array(slopes).T, -errors)[0]
        strides = np.clip(strides, -LONGEST_STRIDE, LONGEST_STRIDE)
        for name, stride in zip(CONSTANTS, strides, strict=True):
            calibration = _scaled(calibration, name, float(np.exp(stride)))
        if np.abs(strides).max() < 1e-6:
            return calibration
    raise PlanError(f"the fit did not settle in {MAXIMUM_ROUNDS} rounds; are the rows consistent?")


def _errors(rows: Sequence[GpuRow], calibration: ClusterCalibration) -> np.ndarray:
    return np.array([error(row, calibration) for row in rows])


def _scaled(calibration: ClusterCalibration, name: str, factor: float) -> ClusterCalibration:
    changed: dict[str, Any] = {name: getattr(calibration, name) * factor}
    return replace(calibration, **changed)


def left_out_errors(rows: Sequence[GpuRow], start: ClusterCalibration) -> list[float]:
    """The error of each row when it is predicted from the others."""
    return [error(row, fit([r for r in rows if r is not row], start)) for row in rows]


def other_source_errors(rows: Sequence[GpuRow], start: ClusterCalibration) -> list[float]:
    """The error of each row when it is predicted from the rows of other sources.

    A constant that those do not determine stays as it is in ``start``.
    """
    groups = dict.fromkeys(row.group for row in rows)
    fits = {group: fit([r for r in rows if r.group != group], start) for group in groups}
    return [error(row, fits[row.group]) for row in rows]


def calibrated(rows: Sequence[GpuRow], start: ClusterCalibration) -> ClusterCalibration:
    """The fit to ``rows``, rounded, with the bands that its left-out errors give."""
    fitted = fit(rows, start)
    factors: dict[str, list[float]] = {}
    for errors in (left_out_errors(rows, fitted), other_source_errors(rows, fitted)):
        for row, without in zip(rows, errors, strict=True):
            factors.setdefault(row.era, []).append(1 / (1 + without))
    constants: dict[str, Any] = {name: _rounded(getattr(fitted, name)) for name in CONSTANTS}
    return replace(
        fitted,
        **constants,
        low={era: _rounded(min(values)) for era, values in factors.items()},
        high={era: _rounded(max(values)) for era, values in factors.items()},
    )


def _rounded(value: float) -> float:
    return float(f"{value:.4g}")


def report(calibration: ClusterCalibration) -> str:
    """The constants, and each published row beside what the model makes of it."""
    rows = gpu_rows()
    lines = [f"{name:18} {getattr(calibration, name):.4g}" for name in CONSTANTS]
    for era in calibration.low:
        low, high = calibration.low[era], calibration.high[era]
        lines.append(f"band of {era}       {low:.3f} to {high:.3f} of the step time")
    errors = zip(
        [error(row, calibration) for row in rows],
        left_out_errors(rows, calibration),
        other_source_errors(rows, calibration),
        strict=True,
    )
    judged = dict(zip([row.id for row in rows], errors, strict=True))
    for group in dict.fromkeys(row.group for row in rows):
        members = [row for row in rows if row.group == group]
        lines += ["", f"{group:30} published s  simulated s    error  left out  other source"]
        lines += [_row_line(row, calibration, judged[row.id]) for row in members]
        lines += _mean_lines(np.array([judged[row.id] for row in members]))
    return "\n".join(lines)


def _row_line(
    row: GpuRow, calibration: ClusterCalibration, errors: tuple[float, float, float]
) -> str:
    fitted, left_out, other = errors
    simulated = step_of(row, calibration).seconds
    return (
        f"{row.id:30} {row.step_seconds:11.3f}  {simulated:11.3f}  "
        f"{fitted:+7.1%}  {left_out:+8.1%}  {other:+12.1%}"
    )


def _mean_lines(errors: np.ndarray) -> list[str]:
    absolute, bias = np.abs(errors).mean(axis=0), errors.mean(axis=0)
    return [
        f"{name:56} {values[0]:{kind}}  {values[1]:{wide}}  {values[2]:{wider}}"
        for name, values, kind, wide, wider in (
            ("mean absolute error", absolute, "7.1%", "8.1%", "12.1%"),
            ("mean error (positive: simulated too slow)", bias, "+7.1%", "+8.1%", "+12.1%"),
        )
    ]


def main() -> None:
    """Fit, print, and write if asked to."""
    parser = argparse.ArgumentParser(
        prog="python -m wse.cluster.calibrate", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--write", action="store_true", help=f"renew {CALIBRATION_FILE.name}")
    arguments = parser.parse_args()
    fitted = calibrated(gpu_rows(), committed())
    print(report(fitted))
    if arguments.write:
        CALIBRATION_FILE.write_text(fitted.to_json())


if __name__ == "__main__":
    main()
