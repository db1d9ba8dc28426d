"""What runs again, and what does not, on real Snakemake runs."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing

import pytest

pytestmark = pytest.mark.slow


def test_the_whole_chain_leaves_what_it_promises(finished):
    results = finished.folder / "results"
    assert (results / "report.html").stat().st_size > 10_000
    for run in ("small", "other"):
        assert json.loads((results / run / "metrics.json").read_text())["measured"] is True
        assert (results / run / "model" / "model.safetensors").exists()
        assert json.loads((results / run / "evaluation.json").read_text())["bits_per_byte"] > 0
    assert json.loads((results / "gptj_6b/partition.json").read_text())["simulated"] is True
    assert len(list((results / "corpus").iterdir())) == 1


def test_snakemake_and_a_run_by_hand_log_to_one_experiment_and_one_parent(finished):
    with closing(sqlite3.connect(finished.folder / "results/mlflow.db")) as database:
        names = database.execute(
            "SELECT r.name FROM runs r JOIN experiments e USING (experiment_id) "
            "WHERE e.name = 'onewafer' ORDER BY r.name"
        ).fetchall()
    assert [name for (name,) in names] == ["gptj_6b", "other", "small", "test"]


def test_a_second_run_has_nothing_to_do(finished):
    assert "Nothing to be done" in finished.snakemake().stdout


def test_a_comment_or_another_order_in_conf_reruns_nothing(project):
    for path in (project.folder / "conf").rglob("*.yaml"):
        lines = path.read_text().splitlines(keepends=True)
        # A package directive must stay the first line.
        path.write_text("".join([*lines[:1], "# a comment\n", *lines[1:]]))
    assert project.planned_jobs() == {}


def test_a_changed_learning_rate_reruns_that_run_and_what_follows(project):
    text = project.sweep.read_text()
    project.sweep.write_text(
        text.replace("train.seed=1", "train.seed=1, train.learning_rate=3.0e-3")
    )
    assert project.planned_jobs() == {
        "freeze": 2,
        "freeze_report": 1,
        "train": 1,
        "evaluate": 1,
        "report": 1,
    }
    out = project.snakemake().stdout
    assert "other: nano_100k" in out
    assert "small: nano_100k" not in out
    assert project.planned_jobs() == {}


def test_an_added_run_runs_alone(project):
    text = project.sweep.read_text()
    added = text.splitlines()[1].replace("other:", "third:").replace("seed=1", "seed=2")
    project.sweep.write_text(f"{text}{added}\n")
    assert project.planned_jobs() == {
        "freeze": 3,
        "freeze_report": 1,
        "partition": 1,
        "train": 1,
        "evaluate": 1,
        "report": 1,
    }


def test_another_tokenizer_is_another_corpus_and_leaves_the_first(project):
    text = project.sweep.read_text()
    project.sweep.write_text(text.replace("seed=1", "seed=1, tokenizer.vocabulary=400"))
    jobs = project.planned_jobs()
    assert jobs["tokenize"] == 1
    assert jobs["train"] == 1


def test_a_slice_edited_by_hand_is_made_again(project):
    path = project.folder / "results/other/config/evaluate.yaml"
    good = path.read_text()
    path.write_text(good.replace("temperature: 0.8", "temperature: 0.1"))
    assert project.planned_jobs() == {"freeze": 1, "evaluate": 1, "report": 1}
    project.snakemake("--", "results/other/config/evaluate.yaml")
    assert path.read_text() == good


def test_a_result_that_was_deleted_is_made_again(project):
    (project.folder / "results/other/evaluation.json").unlink()
    assert project.planned_jobs() == {"evaluate": 1, "report": 1}


def test_another_sweep_shares_the_runs_that_are_the_same(project):
    first = project.sweep.read_text().splitlines()[0]
    project.sweep.with_name("one.yaml").write_text(f"{first}\n")
    out = project.snakemake("--dry-run", "--config", "sweep=one").stdout
    assert "rule train" not in out
    assert "rule tokenize" not in out


def test_a_bad_key_in_a_sweep_is_named_before_anything_runs(project):
    project.sweep.write_text(project.sweep.read_text().replace("train.seed", "train.sede"))
    done = project.snakemake(check=False)
    assert done.returncode != 0
    assert "conf/sweep/test.yaml: run other: train.sede: no such key" in done.stdout
    assert "Traceback" not in done.stdout


def test_snakemake_reports_on_itself(project):
    project.snakemake("--report", "snakemake.zip")
    assert (project.folder / "snakemake.zip").stat().st_size > 10_000


@pytest.mark.long
def test_text_that_changed_is_tokenized_and_learned_anew(project):
    (project.folder / "books/00.txt").write_text("something else altogether, twice as long " * 40)
    jobs = project.planned_jobs()
    assert jobs["tokenize"] == 1
    assert jobs["train"] == 2
    first = project.sweep.read_text().splitlines()[0]
    project.sweep.write_text(f"{first}\n")
    out = project.snakemake().stdout
    assert "small: nano_100k" in out
    assert "resuming" not in out
    assert project.planned_jobs() == {}
