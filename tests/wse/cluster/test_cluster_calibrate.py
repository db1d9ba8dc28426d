"""The committed constants are those that the published rows give, with the errors we state."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

import pytest

from wse.cluster.calibrate import (
    CONSTANTS,
    calibrated,
    error,
    left_out_errors,
    other_source_errors,
    report,
)
from wse.cluster.calibration import CALIBRATION_FILE, committed
from wse.cluster.plan import configured_plan
from wse.transformer import training_graph
from wse.validation.gpu_rows import clusters, gpu_rows

ROOT = Path(__file__).resolve().parents[3]
ROWS = gpu_rows()
GROUPS = sorted({row.group for row in ROWS})
DOCUMENT = (ROOT / "docs" / "gpu_cluster.md").read_text()


def _mean_absolute(errors: list[float], group: str) -> float:
    chosen = [abs(one) for row, one in zip(ROWS, errors, strict=True) if row.group == group]
    return sum(chosen) / len(chosen)


def test_the_committed_constants_are_the_fit_to_the_rows() -> None:
    again = json.loads(calibrated(ROWS, committed()).to_json())
    assert again == json.loads(CALIBRATION_FILE.read_text())


def test_the_constants_mean_what_they_can_mean() -> None:
    made = committed()
    assert 0.8 < made.matrix_efficiency <= 1  # of what single products reach
    assert 0.4 < made.kernel_share <= 1
    assert 0 < made.exposed_share <= 1


@pytest.mark.parametrize("group", GROUPS)
def test_the_mean_error_of_each_source_is_small(group: str) -> None:
    assert _mean_absolute([error(row, committed()) for row in ROWS], group) < 0.05
    assert _mean_absolute(left_out_errors(ROWS, committed()), group) < 0.05
    assert _mean_absolute(other_source_errors(ROWS, committed()), group) < 0.05


def test_the_band_spans_every_error_of_rows_predicted_from_others() -> None:
    for errors in (left_out_errors(ROWS, committed()), other_source_errors(ROWS, committed())):
        for row, one in zip(ROWS, errors, strict=True):
            low, high = committed().low[row.era], committed().high[row.era]
            assert low * 0.999 <= 1 / (1 + one) <= high * 1.001


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.id)
def test_a_published_layout_can_be_planned(row: object) -> None:
    made = configured_plan(row.shape, clusters()[row.cluster], row.configuration, row.era)
    assert made.fits
    assert made.step_seconds == pytest.approx((1 + error(row, committed())) * row.step_seconds)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.id)
def test_the_document_shows_each_row_and_its_error(row: object) -> None:
    line = next(line for line in DOCUMENT.splitlines() if row.id in line)
    shown = line.split("|")[4].strip().rstrip("%")
    assert float(shown) == pytest.approx(100 * error(row, committed()), abs=0.06)


def test_the_document_shows_the_constants() -> None:
    for name in CONSTANTS:
        assert f"| `{name}` | {getattr(committed(), name):g} |" in DOCUMENT


def test_the_shapes_of_llmfoundry_have_the_published_numbers_of_parameters() -> None:
    file = ROOT / "wse" / "validation" / "gpu_llmfoundry_a100.csv"
    with file.open(newline="") as lines:
        published = {row["id"]: int(row["NumParams"]) for row in csv.DictReader(lines)}
    rows = [row for row in ROWS if row.group == "llmfoundry_a100"]
    assert {row.id: training_graph(row.shape).parameters for row in rows} == published


def test_the_layouts_of_the_rows_take_the_published_gpus_and_batches() -> None:
    for name, gpus, batch in (
        ("gpu_megatron2022.csv", "n_gpus", "batch"),
        ("gpu_llmfoundry_a100.csv", "# GPUs", "GlobalBatchSize"),
    ):
        with (ROOT / "wse" / "validation" / name).open(newline="") as lines:
            published = {
                one["id"]: (int(one[gpus]), int(one[batch])) for one in csv.DictReader(lines)
            }
        for row in ROWS:
            if row.id in published:
                layout = row.configuration
                assert (layout.gpus, layout.global_batch) == published[row.id]


def test_the_command_prints_every_row_and_leaves_the_file_alone() -> None:
    before = CALIBRATION_FILE.read_bytes()
    done = subprocess.run(
        [sys.executable, "-m", "wse.cluster.calibrate"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == report(committed()).strip()
    for row in ROWS:
        assert row.id in done.stdout
    assert CALIBRATION_FILE.read_bytes() == before
