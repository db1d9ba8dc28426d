"""Plans beside each other: a table that fits a screen, a file, a multirun's end."""

from __future__ import annotations

import csv
import io
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from pipeline.config import compose
from pipeline.partition import plan_model
from pipeline.reporting.plan_comparison import comparison_csv, comparison_table

REPOSITORY = Path(__file__).parents[3]


def planned(*overrides: str) -> dict[str, Any]:
    config = compose(["train=none", *overrides])
    return plan_model(config.model, config.wafer, config.partition)


@pytest.fixture(scope="module")
def plans() -> list[dict[str, Any]]:
    return [
        planned("model=gpt3_1t"),
        planned("model=cerebras_gpt_111m", "wafer=wse3"),
        planned("model=cerebras_gpt_111m", "partition.systems=4"),
    ]


def screen(plans: list[dict[str, Any]], width: int) -> str:
    console = Console(width=width, file=io.StringIO(), record=True)
    console.print(comparison_table(plans))
    return console.export_text()


@pytest.mark.parametrize("width", [80, 120])
def test_the_table_shows_every_plan_on_a_screen(plans: list[dict[str, Any]], width: int) -> None:
    text = screen(plans, width)
    assert max(len(line.rstrip()) for line in text.splitlines()) <= width
    assert "3 plans, simulated" in text
    assert "simulated, not measured" in text
    small, other, large = [line for line in text.splitlines() if "gpt" in line]
    assert small.split()[:5] == ["cerebras_gpt_111m", "4", "x", "wse2", "yes"]
    assert other.split()[:3] == ["cerebras_gpt_111m", "wse3", "yes"]
    assert f"{plans[2]['tokens_per_second']:,.0f}" in small
    assert large.split()[:3] == ["gpt3_1t", "wse2", "no"]
    assert not any(character.isdigit() for character in large.split("no", 1)[1])


def test_the_file_holds_full_numbers_and_none_where_nothing_fits(
    plans: list[dict[str, Any]],
) -> None:
    small, _, large = csv.DictReader(io.StringIO(comparison_csv(plans)))
    made = plans[2]
    assert float(small["step_seconds"]) == made["step_seconds"]
    low, high = (made["step_seconds"] * made["calibration"][end] for end in ("low", "high"))
    ends = [float(small[f"step_seconds_{end}"]) for end in ("low", "high")]
    assert ends == pytest.approx([low, high])
    assert (small["wafer"], small["systems"], small["numbers"]) == ("wse2", "4", "simulated")
    assert (large["fits"], large["numbers"]) == ("False", "simulated")
    for column in ("micro_batch", "step_seconds", "tokens_per_second", "joules_per_token"):
        assert large[column] == ""


def multirun(results: Path, *overrides: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pipeline.partition", "--multirun", f"results={results}"]
    return subprocess.run(
        [*command, "tracking.enabled=false", *overrides],
        cwd=REPOSITORY,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["basic", pytest.param("joblib", marks=pytest.mark.long)])
def test_a_multirun_ends_with_all_its_plans(tmp_path: Path, launcher: str) -> None:
    models = "model=gptj_6b,gptneox_20b"
    done = multirun(tmp_path, models, "wafer=wse2,wse3", f"hydra/launcher={launcher}")
    assert (done.returncode, done.stderr) == (0, "")
    assert "4 plans, simulated" in done.stdout
    assert done.stdout.rstrip().endswith(f"plans: {tmp_path / 'plans.csv'}")
    rows = list(csv.DictReader((tmp_path / "plans.csv").read_text().splitlines()))
    assert [(row["model"], row["wafer"]) for row in rows] == [
        (model, wafer) for model in ("gptj_6b", "gptneox_20b") for wafer in ("wse2", "wse3")
    ]


@pytest.mark.slow
def test_plans_are_compared_although_another_failed(tmp_path: Path) -> None:
    done = multirun(tmp_path, "model=gptj_6b", "partition.global_batch=0,120,240")
    assert done.returncode == 1
    assert "partition.global_batch: 0" in done.stderr
    rows = list(csv.DictReader((tmp_path / "plans.csv").read_text().splitlines()))
    assert [row["global_batch"] for row in rows] == ["120", "240"]


def test_one_plan_is_not_compared(stage, tmp_path: Path) -> None:
    done = stage("partition")
    assert done.returncode == 0
    assert "plans, simulated" not in done.stdout
    assert not list(tmp_path.rglob("plans.csv"))
