"""What the partition stage leaves beside the plan: a trace and two pictures, if it fits."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.config import compose
from pipeline.partition import picture_and_log, request_of, run
from pipeline.reporting.plan_files import (
    FLOORPLAN,
    ROOFLINE,
    TRACE,
    draw_pictures,
    plan_files,
    write_trace,
)
from pipeline.streaming.trace import read_chrome_trace
from tests.pipeline.tracking.logged import artifact, job_of, the_run
from wse.plan import Request, plan


def request(*overrides: str) -> Request:
    config = compose(["train=none", *overrides])
    return request_of(config.model, config.wafer, config.partition)


def write_all(folder: Path, asked: Request) -> None:
    write_trace(folder, asked)
    draw_pictures(folder, asked)


@pytest.mark.parametrize(
    ("model", "wafer"),
    [("gptneox_20b", "wse1"), ("cerebras_gpt_111m", "wse2"), ("gpt3_175b", "wse3")],
)
def test_a_plan_that_fits_leaves_a_trace_and_two_pictures(
    model: str, wafer: str, tmp_path: Path
) -> None:
    asked = request(f"model={model}", f"wafer={wafer}")
    write_all(tmp_path, asked)
    assert sorted(tmp_path.iterdir()) == sorted(plan_files(tmp_path))
    spans = read_chrome_trace(tmp_path / TRACE)
    assert max(span.end_seconds for span in spans) == pytest.approx(plan(asked).step_seconds)
    assert (tmp_path / TRACE).stat().st_size < 20e6
    assert json.loads((tmp_path / TRACE).read_text())["otherData"]["numbers"] == "simulated"
    for name in (FLOORPLAN, ROOFLINE):
        content = (tmp_path / name).read_bytes()
        pixels = np.asarray(Image.open(io.BytesIO(content)).convert("L"))
        assert len(content) < 150_000
        assert 0.01 < (pixels < 250).mean() < 0.9


def test_what_no_longer_fits_leaves_nothing_of_before(tmp_path: Path) -> None:
    for path in plan_files(tmp_path):
        path.touch()
    write_all(tmp_path, request("model=gptneox_20b", "model.positions=131072"))
    assert list(tmp_path.iterdir()) == []


def test_the_stage_writes_them(stage: Callable[..., object], tmp_path: Path) -> None:
    stage("partition")
    folder = tmp_path / "results" / "tiny"
    assert all(path.exists() for path in plan_files(folder))


def test_they_are_artifacts_of_the_run_of_the_plan(tmp_path: Path) -> None:
    job = job_of(tmp_path, "partition", "train=none", "model=cerebras_gpt_111m")
    picture_and_log(job, run(job))
    logged = the_run(tmp_path, "plan")
    for name in (TRACE, f"figures/{FLOORPLAN}", f"figures/{ROOFLINE}", "partition.json"):
        assert artifact(logged, name).is_file()
    metrics = logged.data.metrics
    ends = [metrics[f"simulated/step_seconds{end}"] for end in ("_low", "", "_high")]
    assert ends == sorted(ends)
    assert metrics["simulated/seconds_by_use.useful"] > 0
