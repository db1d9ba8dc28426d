"""A record card says what was reached and how to do it again, and no paths of the machine."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from pipeline import machine
from pipeline.cli import MEMORY_VARIABLE, job_by_hand
from pipeline.config import compose
from pipeline.freeze import skipped
from pipeline.job import Job
from pipeline.reporting.reading import RECORD_CARD, RECORD_STATUS
from pipeline.training import record_card
from pipeline.training.history import History
from pipeline.training.record_card import command, confirm, portable, skip, write_card


@pytest.fixture
def job(tmp_path: Path) -> Job[Any]:
    results = f"results={tmp_path / 'results'}"
    return job_by_hand(compose(["model=gptneox_20b", "train=record", "run=big", results]), "train")


def metrics(**changes: Any) -> dict[str, Any]:
    return {
        "model": "gptneox_20b",
        "parameters": 20_554_567_680,
        "tokens_per_second": 3.9,
        "step_seconds_median": 132.0,
        "floor_seconds": {"compute": 120.0, "transfer": 90.0, "update": 20.0},
        "seconds_to_first_step": 400.0,
        "peak_rss_bytes": 8_100_000_000,
        "memory_budget_bytes": 8_589_934_592,
        "store_bytes": 41_000_000_000,
        "bytes_read": 400_000_000_000,
        "bytes_written": 200_000_000_000,
        "validation_loss": 9.1,
        "execution": "streaming",
        "device": "cpu",
        "machine": machine.describe(),
        "versions": machine.versions(),
    } | changes


def history(folder: Path) -> History:
    made = History(folder / "history.jsonl", 0)
    for step, loss in enumerate((10.9, 10.2, 9.8), start=1):
        made.add({"step": step, "loss": loss, "tokens": 512 * step})
    made.add({"step": 3, "validation_loss": 9.1})
    return made


def test_a_card_holds_what_the_report_reads(job: Job[Any], tmp_path: Path) -> None:
    path = write_card(job, metrics(), history(tmp_path), [2])
    assert path == job.results / "records" / "big.json"
    card = RECORD_CARD.validate_json(path.read_text(), strict=True)
    assert card.losses == [10.9, 10.2, 9.8]
    assert (card.steps, card.tokens_per_step, card.resumed_after_kill) == (3, 512, [2])
    assert card.floor_seconds is not None
    assert card.floor_seconds.seconds == 120.0
    # The same step on a wafer takes at least as long as its weights need to get in.
    assert card.simulated["wse2"] == pytest.approx(1.107, rel=0.01)
    assert re.match(r"\w+, [\d.]+ .B$", card.machine.disk)
    assert json.loads(path.read_text())["measured"] is True


def test_a_card_holds_no_path_of_the_machine(
    job: Job[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ["model=gptneox_20b", "train=record", f"results={tmp_path}/results", "run=big"]
    monkeypatch.setattr("sys.argv", ["/somewhere/pipeline/train.py", *arguments])
    text = write_card(job, metrics(), history(tmp_path), []).read_text()
    assert str(tmp_path) not in text
    assert str(record_card.REPOSITORY) not in text
    assert str(Path.home()) not in text
    assert json.loads(text)["command"] == (
        "python -m pipeline.train model=gptneox_20b train=record results=.../results run=big"
    )


def test_a_run_of_a_sweep_names_the_command_of_the_sweep(monkeypatch: pytest.MonkeyPatch) -> None:
    frozen = ["--frozen", "results/big/config/train.yaml"]
    monkeypatch.setenv(MEMORY_VARIABLE, "8GiB")
    told = "snakemake --cores all --config sweep=records memory=8GiB"
    assert command(frozen, "records") == told
    monkeypatch.setenv(MEMORY_VARIABLE, "")
    assert command(frozen, "records") == told.removesuffix(" memory=8GiB")
    assert command(frozen, "by_hand") == f"python -m pipeline.train {' '.join(frozen)}"


@pytest.mark.parametrize(
    ("argument", "told"),
    [
        ("model=gptj_6b", "model=gptj_6b"),
        ("data.paths=[books/a.txt,notes/*.txt]", "data.paths=[books/a.txt,notes/*.txt]"),
        ("data.paths=[/mnt/me/a.txt,/srv/b.txt]", "data.paths=[.../a.txt,.../b.txt]"),
        (f"model.path={Path.cwd()}/checkpoint", "model.path=checkpoint"),
    ],
)
def test_absolute_paths_lose_their_folders(argument: str, told: str) -> None:
    assert portable(argument) == told


def test_the_status_says_trained_or_skipped_and_why(
    job: Job[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    path = job.run_directory / "record.json"
    skip(job, "needs 66.0 GB of disk, 50.0 GB are free")
    assert capsys.readouterr().out == "big: skipped: needs 66.0 GB of disk, 50.0 GB are free\n"
    assert skipped(path)
    status = RECORD_STATUS.validate_json(path.read_text(), strict=True)
    assert (status.status, status.config_hash) == ("skipped", job.hash)
    assert not (job.results / "records").exists()
    confirm(job)
    assert not skipped(path)
    assert json.loads(path.read_text())["card"] == "records/big.json"


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with one file of code."""
    folder = tmp_path / "checkout"
    (folder / "pipeline").mkdir(parents=True)
    (folder / "pipeline" / "train.py").write_text("first")
    identity = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    for arguments in (["init", "-q"], ["add", "."], [*identity, "commit", "-q", "-m", "first"]):
        subprocess.run(["git", "-C", str(folder), *arguments], check=True)
    monkeypatch.setattr(record_card, "REPOSITORY", folder)
    return folder


def test_the_commit_says_whether_the_code_was_changed(checkout: Path) -> None:
    clean = record_card.commit()
    assert clean is not None
    assert re.fullmatch(r"[0-9a-f]{40}", clean)
    # Results are no code.
    (checkout / "results").mkdir()
    (checkout / "results" / "card.json").write_text("{}")
    assert record_card.commit() == clean
    (checkout / "pipeline" / "train.py").write_text("second")
    assert record_card.commit() == f"{clean}+changes"


def test_outside_of_a_repository_there_is_no_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(record_card, "REPOSITORY", tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert record_card.commit() is None
