"""``python -m pipeline.capacity`` answers on one screen, and refuses in one line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline import capacity
from pipeline.machine_speed.measure import FILE_NAME, machine_key
from tests.pipeline.machine_speed.speeds import speed_of

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def measured(tmp_path: Path) -> Path:
    """A folder of results whose machine is measured already."""
    stored = {**speed_of().to_json(), "key": machine_key(tmp_path)}
    (tmp_path / FILE_NAME).write_text(json.dumps(stored))
    return tmp_path


def test_one_screen_answers_for_every_model_and_optimizer(
    measured: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "130")
    capacity.main([f"results={measured}", "device.memory=8GiB"])
    shown = capsys.readouterr().out
    assert "this machine, measured" in shown
    assert "512 tokens in bf16, predicted" in shown
    assert len(shown.splitlines()) < 40
    for name in ("cerebras_gpt_111m", "gptneox_20b", "largest GPT"):
        assert name in shown
    assert "nano" not in shown
    found = json.loads((measured / "capacity.json").read_text())
    assert found["rates"]["measured"] is True
    assert found["step_times"] == "predicted"
    assert found["room"]["memory_bytes"] == 8 * 2**30
    assert {answer["optimizer"] for answer in found["answers"]} == {
        "adamw",
        "adamw8bit",
        "adafactor",
    }
    assert all(answer["step_seconds"] or answer["limit"] for answer in found["answers"])


def test_one_model_can_be_asked_for_with_settings_of_training(measured: Path) -> None:
    capacity.main(
        [f"results={measured}", "model=nano_1m", "train.sequence_length=64", "train.global_batch=2"]
    )
    found = json.loads((measured / "capacity.json").read_text())
    assert {answer["model"] for answer in found["answers"]} == {"nano_1m"}
    assert found["train"]["sequence_length"] == 64
    assert all(answer["trains"] for answer in found["answers"])


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["device.memory=8"], "device.memory: 8 is no amount of memory"),
        (["train.sequence=9"], "train.sequence"),
        (["model=gpt5"], "model/gpt5: no such choice"),
        (["train=none"], "train: nothing is trained with train=none"),
    ],
)
def test_bad_input_is_one_line(
    measured: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], expected: str
) -> None:
    with pytest.raises(SystemExit) as stopped:
        capacity.main([f"results={measured}", *arguments])
    assert stopped.value.code == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("onewafer capacity: ")
    assert expected in line


@pytest.mark.slow
def test_the_command_measures_this_machine(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pipeline.capacity", f"results={tmp_path}", "model=nano_1m"],
        cwd=REPOSITORY,
        env={**os.environ, capacity.SECONDS_VARIABLE: "2"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "nano_1m" in done.stdout
    assert sorted(path.name for path in tmp_path.iterdir()) == ["capacity.json", FILE_NAME]
    stored = json.loads((tmp_path / FILE_NAME).read_text())
    assert stored["measured"] is True
    assert stored["disk"]["read"] > 0
