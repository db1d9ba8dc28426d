"""The committed constants are those that the published rows give, with the errors we state."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from wse.calibrate import RELEASE, calibrated, error, fit, report
from wse.calibration import CALIBRATION_FILE, Calibrations, calibration, committed
from wse.errors import PlanError
from wse.hardware import Wafer
from wse.validation import TrainingRow, training_rows

ROOT = Path(__file__).resolve().parents[2]
FITTED = [row for row in training_rows() if row.fitted]
OLDER = [row for row in training_rows() if not row.fitted]


@pytest.fixture(scope="module")
def again() -> Calibrations:
    return calibrated(training_rows(), committed().wafer)


def test_the_committed_constants_are_the_fit_to_the_rows(again: Calibrations) -> None:
    assert again.to_json() == CALIBRATION_FILE.read_text()


def test_the_fit_does_not_depend_on_where_it_starts() -> None:
    start = replace(calibration(), fixed_seconds_per_layer=1e-2)
    found = fit(FITTED, committed().wafer, start)
    assert found.achieved_share == 1
    assert found.fixed_seconds_per_layer == pytest.approx(
        calibration().fixed_seconds_per_layer, rel=1e-4
    )


def test_the_wafer_of_the_rows_is_that_of_conf(wafers: dict[str, Wafer]) -> None:
    # When conf/wafer/wse2.yaml changes, copy its numbers into calibration.json and fit again.
    assert committed().wafer == wafers["wse2"]


@pytest.mark.parametrize("row", OLDER, ids=lambda row: row.release)
def test_the_one_row_of_an_older_release_is_met(row: TrainingRow) -> None:
    assert error(row, committed().wafer, calibration(row.release)) == pytest.approx(0, abs=1e-4)


def test_older_releases_are_slower_and_cost_as_much_a_layer() -> None:
    shares = [calibration(name).achieved_share for name in ("R1.7.1", "R1.8.0", "R1.9.2", "R2.0")]
    assert shares == sorted(shares)
    fixed = {one.fixed_seconds_per_layer for one in committed().releases.values()}
    assert len(fixed) == 1


def test_constants_are_shares_and_the_band_encloses_the_prediction() -> None:
    assert committed().default == RELEASE
    for name, one in committed().releases.items():
        assert one.release == name
        assert 0 < one.achieved_share <= 1
        assert one.fixed_seconds_per_layer > 0
        assert one.low <= 1 <= one.high


@pytest.mark.parametrize("release", ["R2.1", "", "r2.0"])
def test_a_release_without_rows_is_refused_with_those_that_have(release: str) -> None:
    with pytest.raises(PlanError, match=rf"^partition\.release: '{release}' .*R2\.0, R1\.7\.1"):
        calibration(release)


def test_a_rate_that_follows_the_sram_is_the_same_on_the_wafer_of_the_rows(
    wafers: dict[str, Wafer],
) -> None:
    peak, sram = calibration(), replace(calibration(), scales_with_sram=True)
    ratio = {
        name: sram.multiply_adds_per_cycle(wafer) / peak.multiply_adds_per_cycle(wafer)
        for name, wafer in wafers.items()
    }
    assert ratio["wse2"] == pytest.approx(1)
    assert ratio["wse3"] < 0.55  # the peak doubled, the bandwidth of a PE did not


def test_the_report_has_a_line_for_each_release() -> None:
    head, *lines = report(committed()).splitlines()
    assert "achieved share" in head
    assert "band" in head
    assert [line.split()[0] for line in lines] == list(committed().releases)
    assert "1.0000" in lines[0]


def test_the_command_prints_and_leaves_the_file_alone() -> None:
    before = CALIBRATION_FILE.read_bytes()
    done = subprocess.run(
        [sys.executable, "-m", "wse.calibrate"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.rstrip("\n") == report(committed())
    assert CALIBRATION_FILE.read_bytes() == before


def test_calibration_json_is_read_as_it_is_written() -> None:
    assert json.loads(committed().to_json()) == json.loads(CALIBRATION_FILE.read_text())
