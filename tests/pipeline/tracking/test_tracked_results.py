"""Plans and evaluations in MLflow: a run of their own, or joined to that of the training."""

from __future__ import annotations

import json
from pathlib import Path

from pipeline import tracking
from tests.pipeline.tracking.logged import (
    EVALUATION,
    MANIFEST,
    PLAN,
    artifact,
    history,
    job_of,
    the_run,
    train,
)


def test_a_plan_without_training_is_a_simulated_run(results: Path) -> None:
    job = job_of(results, "partition", "train=none", "model=gptneox_20b")
    job.run_directory.joinpath("partition.json").write_text(json.dumps(PLAN))
    for _ in range(2):
        tracking.log_plan(job, PLAN | {"fits": False, "step_seconds": None})
    run = the_run(results, "plan")
    expected = {"execution": "simulated", "numbers": "simulated", "config_hash": job.hash}
    assert expected.items() <= run.data.tags.items()
    assert (run.data.tags["device"], run.info.status) == ("wse2", "FINISHED")
    assert run.data.metrics["simulated/fits"] == 0
    assert "simulated/step_seconds" not in run.data.metrics
    assert all(name.startswith("simulated/") for name in run.data.metrics)
    assert run.data.params["model.layers"] == "44"
    assert artifact(run, "partition.json").is_file()


def test_an_evaluation_joins_the_run_of_its_training(results: Path) -> None:
    train(job_of(results), range(1, 3))
    ended = the_run(results).info.end_time
    job = job_of(results, "evaluate")
    (job.run_directory / "evaluation.json").write_text(json.dumps(EVALUATION))
    for _ in range(2):
        tracking.log_evaluation(job, EVALUATION, MANIFEST)
    tracking.log_evaluation(job, EVALUATION | {"validation_loss": 1.0}, MANIFEST)
    run = the_run(results)
    assert run.data.metrics["evaluation/validation_loss"] == 1.0
    assert len(history(results, "evaluation/perplexity")) == 1
    assert (run.info.status, run.info.end_time) == ("FINISHED", ended)
    names = ("evaluation.json", "config/evaluate.yaml")
    assert all(artifact(run, name).is_file() for name in names)


def test_an_evaluation_alone_makes_the_run(results: Path) -> None:
    job = job_of(results, "evaluate")
    tracking.log_evaluation(job, EVALUATION, MANIFEST)
    run = the_run(results)
    assert run.data.tags["config_hash"] == job.config.train_hash == job_of(results).hash
    assert run.info.status == "FINISHED"
