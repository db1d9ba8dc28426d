"""The record ladder under Snakemake: one rung after the other, a skip is no failure, no models."""

from __future__ import annotations

import json

import pytest

from pipeline import machine
from tests.pipeline.streaming.runs import give_speed

pytestmark = pytest.mark.slow

# To import MLflow takes longer than all else that these do.
TEXT = (
    "tracking.enabled=false, data=text, 'data.paths=[books]', data.validation_fraction=0.2, "
    "tokenizer=bpe_512"
)
TINY = (
    "model=nano_100k, model.hidden=32, model.heads=2, model.feed_forward=64, "
    f"train.steps=3, train.sequence_length=32, {TEXT}"
)
SWEEP = f"""\
middle: [{TINY}, model.layers=4, train=record]
little: [{TINY}, model.layers=2, train=record]
huge: [model=gptneox_20b, train=record, {TEXT}]
unkept: [{TINY}, train=smoke, train.keep=nothing]
"""
MEMORY = "memory=2GiB"


@pytest.fixture(scope="module")
def climbed(tmp_path_factory, make_project):
    """A project whose ladder was climbed, and what Snakemake said."""
    project = make_project(tmp_path_factory.mktemp("records") / "project")
    project.sweep.write_text(SWEEP)
    give_speed(project.folder / "results", machine.usable_cores())
    return project, project.snakemake(MEMORY).stdout


def read(project, name):
    return json.loads((project.folder / "results" / name).read_text())


def test_each_rung_that_fits_leaves_a_card_and_no_model(climbed):
    project, _ = climbed
    for run in ("little", "middle"):
        assert read(project, f"{run}/record.json")["status"] == "trained"
        card = read(project, f"records/{run}.json")
        assert (card["steps"], len(card["losses"])) == (3, 3)
        assert card["memory_budget_bytes"] == 2 * 1024**3
        assert card["command"] == f"snakemake --cores all --config sweep=test {MEMORY}"
        folder = project.folder / "results" / run
        assert not (folder / "model").exists()
        assert not list(folder.glob("checkpoints/*/store"))
        assert not (folder / "evaluation.json").exists()


def test_the_smallest_rung_goes_first(climbed):
    _, out = climbed
    assert out.index("little: nano_100k") < out.index("middle: nano_100k")


def test_a_rung_that_does_not_fit_is_skipped_with_one_line_and_the_sweep_goes_on(climbed):
    project, out = climbed
    assert out.count("huge: skipped: ") == 1
    assert "Traceback" not in out
    reason = read(project, "huge/record.json")["reason"]
    page = (project.folder / "results/report.html").read_text()
    assert "huge was skipped" in page
    assert reason.split(":")[0] in page


def test_a_run_that_keeps_no_model_is_trained_and_not_evaluated(climbed):
    project, _ = climbed
    assert read(project, "unkept/metrics.json")["steps"] == 3
    assert not (project.folder / "results/unkept/model").exists()
    assert not (project.folder / "results/unkept/evaluation.json").exists()


def test_a_second_call_tries_only_what_was_skipped_whatever_the_memory(climbed):
    project, _ = climbed
    assert project.planned_jobs() == {"record": 1, "report": 1}


def test_memory_that_is_none_is_refused_before_anything_runs(climbed):
    project, _ = climbed
    done = project.snakemake("memory=much", check=False)
    assert done.returncode != 0
    assert "device.memory: much is no amount of memory" in done.stdout
    assert "Traceback" not in done.stdout
