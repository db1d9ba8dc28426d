"""The table of predicted against published, its errors, and what docs/wafer_model.md says of it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from wse.calibration import calibration
from wse.validation import micro_batch_rows, training_rows
from wse.validation.table import (
    UNEXPLAINED,
    Comparison,
    lines,
    mean_error,
    wafer_comparisons,
)

ROOT = Path(__file__).resolve().parents[2]
GROUPS = ["CS-2, GPT", "CS-2, BERT", "CS-2, older releases", "CS-2, largest micro-batch"]
# Of the step time, as docs/wafer_model.md states them.
LEFT_OUT = {"CS-2, GPT": 0.10, "CS-2, BERT": 0.15}


@pytest.fixture(scope="module")
def found() -> list[Comparison]:
    return wafer_comparisons()


def _of(found: list[Comparison], group: str) -> list[Comparison]:
    return [row for row in found if row.group == group]


@pytest.mark.parametrize(("group", "most"), LEFT_OUT.items())
def test_rows_predicted_from_the_others_are_near(
    found: list[Comparison], group: str, most: float
) -> None:
    error = mean_error(_of(found, group), left_out=True)
    assert error is not None
    assert error <= most


def test_every_row_predicted_from_the_others_lies_in_the_band(found: list[Comparison]) -> None:
    left_out = [row.left_out for row in found if row.left_out is not None]
    assert len(left_out) == sum(row.fitted for row in training_rows())
    factors = [1 / (1 + error) for error in left_out]
    assert min(factors) == pytest.approx(calibration().low, rel=1e-3)
    assert max(factors) == pytest.approx(calibration().high, rel=1e-3)


def test_micro_batches_were_not_fitted_and_are_within_15_percent(found: list[Comparison]) -> None:
    rows = _of(found, "CS-2, largest micro-batch")
    assert len(rows) == len(micro_batch_rows())
    assert {row.use for row in rows} == {"not fitted"}
    assert max(abs(row.error) for row in rows) <= 0.15


def test_the_document_shows_every_row(found: list[Comparison]) -> None:
    document = (ROOT / "docs" / "wafer_model.md").read_text()
    for row in found:
        name = f"| {row.name} |"
        (line,) = [line for line in document.splitlines() if line.startswith(name)]
        assert f"| {row.published:.4g} | {row.simulated:.4g} | {row.error:+.1%} |" in line
        if row.left_out is not None:
            assert f"| {row.left_out:+.1%} |" in line


def test_the_command_prints_each_group_and_row() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "wse.validation"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    heads = [line.split(" (")[0] for line in done.stdout.splitlines()]
    assert [head for head in heads if head in GROUPS] == GROUPS
    for row in training_rows():
        assert row.id in done.stdout
    for size in micro_batch_rows():
        assert f"{size.shape.name}, {size.release}" in done.stdout
    for sentence in UNEXPLAINED:
        assert f"- {sentence}" in done.stdout


def test_a_group_is_shown_with_its_mean_and_bias() -> None:
    rows = [
        Comparison("one", "a", "s a step", 2.0, 2.2, "fitted", 0.2),
        Comparison("one", "b", "s a step", 2.0, 1.6, "fitted", -0.4),
        Comparison("two", "c", "sequences", 10, 10, "not fitted"),
    ]
    shown = lines(rows)
    assert shown[0] == "one (s a step)"
    assert "+10.0%" in shown[2]
    assert "published" in shown[1]
    assert "simulated" in shown[1]
    assert shown[4] == "  mean of |error| 15.0%, bias -5.0%, left out 30.0%"
    assert shown[-1] == "  mean of |error| 0.0%, bias +0.0%"
    assert mean_error(rows[2:], left_out=True) is None


def test_every_published_row_names_its_source() -> None:
    rows = [*training_rows(), *micro_batch_rows()]
    assert all(row.source for row in rows)
    assert len({row.id for row in training_rows()}) == len(training_rows())
    for row in training_rows():
        assert row.step_seconds * row.samples_per_second == pytest.approx(row.global_batch)
