"""Fits the model's constants to published training rates, and shows what they leave over.

    python -m wse.calibrate            fit, and print the constants and every row's error
    python -m wse.calibrate --write    also renew wse/validation/calibration.json

Two constants are fitted, by least squares of the relative error of the step time. Each row is
also predicted from a fit to the other rows; the range of those errors is the band of every plan.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from wse.calibration import CALIBRATION_FILE, Calibration, committed
from wse.choice import Choice, best_choice
from wse.errors import PlanError
from wse.graph import training_graph
from wse.hardware import Wafer
from wse.mapping import layouts
from wse.memory import intervals, largest_micro_batch
from wse.validation import MicroBatchRow, TrainingRow, micro_batch_rows, training_rows

RELEASE = "HPEC'24 (release not stated) and R2.0.3"
MAXIMUM_ROUNDS = 50


def fit(rows: Sequence[TrainingRow], start: Calibration) -> Calibration:
    """Fit both constants to ``rows``, whose layouts and micro-batches depend on them in turn."""
    calibration = start
    for _ in range(MAXIMUM_ROUNDS):
        compute, fixed = _corrections(rows, calibration)
        calibration = replace(
            calibration,
            compute_efficiency=calibration.compute_efficiency / compute,
            fixed_seconds_per_layer=calibration.fixed_seconds_per_layer * fixed,
        )
        if max(abs(compute - 1), abs(fixed - 1)) < 1e-12:
            return calibration
    raise PlanError(f"the fit did not settle in {MAXIMUM_ROUNDS} rounds; are the rows consistent?")


def _corrections(rows: Sequence[TrainingRow], calibration: Calibration) -> tuple[float, float]:
    """Factors on compute and fixed seconds that fit ``rows`` best while all else stays."""
    parts, rests = [], []
    for row in rows:
        choice = choose(row, calibration)
        causes = choice.step.seconds_by_cause
        compute, fixed = causes["compute"], causes["fixed"]
        parts.append([compute / row.step_seconds, fixed / row.step_seconds])
        rests.append(1 - (choice.step.seconds - compute - fixed) / row.step_seconds)
    compute_factor, fixed_factor = np.linalg.lstsq(np.array(parts), np.array(rests))[0]
    return float(compute_factor), float(fixed_factor)


def choose(row: TrainingRow, calibration: Calibration) -> Choice:
    """How the model would run ``row``; systems share the batch and lose nothing by it."""
    sequences = row.global_batch // row.systems
    choice = best_choice(calibration.wafer, training_graph(row.shape), sequences, calibration)
    if choice is None:
        raise PlanError(f"{row.id}: the model finds no room for a row that ran")
    return choice


def error(row: TrainingRow, calibration: Calibration) -> float:
    """Relative error of the simulated step time against the published one."""
    return choose(row, calibration).step.seconds / row.step_seconds - 1


def left_out_errors(rows: Sequence[TrainingRow], start: Calibration) -> list[float]:
    """The error of each row when it is predicted from the others."""
    return [error(row, fit([r for r in rows if r is not row], start)) for row in rows]


def calibrated(rows: Sequence[TrainingRow], start: Calibration) -> Calibration:
    """The fit to ``rows``, rounded, with the band that its left-out errors give."""
    fitted = fit(rows, start)
    factors = [1 / (1 + left_out) for left_out in left_out_errors(rows, start)]
    return replace(
        fitted,
        release=RELEASE,
        compute_efficiency=_rounded(fitted.compute_efficiency),
        fixed_seconds_per_layer=_rounded(fitted.fixed_seconds_per_layer),
        low=_rounded(min(factors)),
        high=_rounded(max(factors)),
    )


def _rounded(value: float) -> float:
    return float(f"{value:.5g}")


def simulated_micro_batch(row: MicroBatchRow, wafer: Wafer) -> tuple[int, int]:
    """The interval of the policy that ``row``'s release is held against, and what then fits.

    For R1.6 that is the smallest memory; the one row of R1.7.1 suits keeping every input better.
    """
    graph = training_graph(row.shape)
    interval = intervals(graph)[-1 if row.release.startswith("R1.6") else 0]
    sizes = (largest_micro_batch(wafer, graph, layout, interval) for layout in layouts(wafer))
    return interval, max(sizes)


def report(calibration: Calibration) -> str:
    """The constants, and each published row beside what the model makes of it."""
    constants = [
        f"release            {calibration.release}",
        f"compute efficiency {calibration.compute_efficiency:.4f} of a PE's fp16 peak",
        f"fixed cost         {1e3 * calibration.fixed_seconds_per_layer:.3f} ms "
        "per layer and micro-batch",
        f"band               {calibration.low:.3f} to {calibration.high:.3f} of the step time",
    ]
    return "\n".join([*constants, "", *_training_lines(calibration), "", *_micro_batch_lines()])


def _training_lines(calibration: Calibration) -> list[str]:
    rows = training_rows()
    fitted = [row for row in rows if row.fitted]
    left_out = dict(
        zip([row.id for row in fitted], left_out_errors(fitted, calibration), strict=True)
    )
    lines = [
        "step seconds, per system     release     published  simulated   error  left out  split"
    ]
    for row in rows:
        choice = choose(row, calibration)
        alone = f"{left_out[row.id]:+9.1%}" if row.id in left_out else "no fit".rjust(9)
        lines.append(
            f"{row.id:28} {row.release:11} {row.step_seconds:9.4f}  {choice.step.seconds:9.4f} "
            f"{error(row, calibration):+7.1%} {alone}  {choice.micro_batch} x {choice.accumulation}"
        )
    return lines


def _micro_batch_lines() -> list[str]:
    lines = [
        "largest micro-batch          release     published  simulated   error  input kept of every"
    ]
    for row in micro_batch_rows():
        interval, size = simulated_micro_batch(row, committed().wafer)
        kept = "block" if interval == 1 else f"{interval} blocks"
        lines.append(
            f"{row.shape.name:28} {row.release:11} {row.micro_batch:9}  {size:9} "
            f"{size / row.micro_batch - 1:+7.1%}  {kept}"
        )
    return lines


def main() -> None:
    """Fit, print, and write if asked to."""
    parser = argparse.ArgumentParser(
        prog="python -m wse.calibrate", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--write", action="store_true", help=f"renew {CALIBRATION_FILE.name}")
    arguments = parser.parse_args()
    fitted = calibrated([row for row in training_rows() if row.fitted], committed())
    print(report(fitted))
    if arguments.write:
        CALIBRATION_FILE.write_text(fitted.to_json())


if __name__ == "__main__":
    main()
