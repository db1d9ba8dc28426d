"""The committed constants are those that the published rows give, with the errors we state."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from wse.calibrate import (
    calibrated,
    error,
    left_out_errors,
    report,
    simulated_micro_batch,
)
from wse.calibration import CALIBRATION_FILE, Calibration, committed
from wse.hardware import Wafer
from wse.validation import micro_batch_rows, training_rows

FITTED = [row for row in training_rows() if row.fitted]
# Stated in docs/wafer_model.md: relative errors of the step time, in percent.
STATED_ERRORS = {
    "hpec24-256M-b128": 2.0,
    "hpec24-2.7B-b128": 2.3,
    "hpec24-13B-b128": 5.3,
    "hpec24-bertbase-b128": -8.4,
    "hpec24-bertbase-b512": 3.5,
    "hpec24-bertbase-b1024": 8.9,
    "hpec24-bertbase-b2048": 7.3,
    "hpec24-bertbase-b8192": -24.8,
    "alcf-gptj-r203-2cs2": -5.5,
    "alcf-gptj-r192-1cs2": -14.9,
    "alcf-gptj-r180-2cs2": -26.9,
    "alcf-gptj-r171-2cs2": -40.8,
}


def test_the_committed_constants_are_the_fit_to_the_rows() -> None:
    again = calibrated(FITTED, committed())
    assert json.loads(again.to_json()) == json.loads(CALIBRATION_FILE.read_text())


def test_the_fit_does_not_depend_on_where_it_starts() -> None:
    start = Calibration("", 0.1, 1e-2, 1.0, 1.0, committed().wafer)
    again = calibrated(FITTED, start)
    assert again.compute_efficiency == pytest.approx(committed().compute_efficiency, rel=1e-4)
    assert again.fixed_seconds_per_layer == pytest.approx(
        committed().fixed_seconds_per_layer, rel=1e-4
    )


def test_the_wafer_of_the_rows_is_that_of_conf(wafers: dict[str, Wafer]) -> None:
    # When conf/wafer/wse2.yaml changes, copy its numbers into calibration.json and fit again.
    assert committed().wafer == wafers["wse2"]


@pytest.mark.parametrize("row", training_rows(), ids=lambda row: row.id)
def test_each_row_is_within_its_stated_error(row: object) -> None:
    assert 100 * error(row, committed()) == pytest.approx(STATED_ERRORS[row.id], abs=0.1)


def test_rows_predicted_from_the_others_lie_in_the_band() -> None:
    errors = dict(
        zip([row.id for row in FITTED], left_out_errors(FITTED, committed()), strict=True)
    )
    for left_out in errors.values():
        assert committed().low * 0.999 <= 1 / (1 + left_out) <= committed().high * 1.001
    gpt = [abs(value) for row, value in errors.items() if "bert" not in row]
    bert = [abs(value) for row, value in errors.items() if "bert" in row]
    assert sum(gpt) / len(gpt) < 0.10
    assert sum(bert) / len(bert) < 0.15


@pytest.mark.parametrize(
    ("model", "simulated"),
    [("GPT-3 XL 1.3B", 122), ("GPT-3 13B", 51), ("GPT-J 6B", 66), ("GPT-2 XL 1.5B", 108)],
)
def test_published_micro_batches_are_explained(model: str, simulated: int) -> None:
    row = next(row for row in micro_batch_rows() if row.shape.name == model)
    _, size = simulated_micro_batch(row, committed().wafer)
    assert size == simulated
    assert abs(size / row.micro_batch - 1) < 0.151


def test_the_report_shows_every_row() -> None:
    text = report(committed())
    for row in training_rows():
        assert row.id in text
    for row in micro_batch_rows():
        assert row.shape.name in text


def test_the_command_prints_and_leaves_the_file_alone() -> None:
    before = CALIBRATION_FILE.read_bytes()
    done = subprocess.run(
        [sys.executable, "-m", "wse.calibrate"],
        cwd=Path(__file__).resolve().parents[2],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "compute efficiency" in done.stdout
    assert CALIBRATION_FILE.read_bytes() == before


def test_the_document_shows_the_stated_errors() -> None:
    document = (Path(__file__).resolve().parents[2] / "docs" / "wafer_model.md").read_text()
    for row, stated in STATED_ERRORS.items():
        line = next(line for line in document.splitlines() if row in line)
        assert f"{stated:+.1f}%" in line
