"""What a sweep trains, evaluates and records."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline import sweep as sweeps
from pipeline.choices import Execution, Keep
from pipeline.sweep import Sweep, load_sweep


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Sweep]:
    """Loads a sweep from its text."""
    monkeypatch.setattr(sweeps, "SWEEP_DIR", tmp_path)

    def write_and_load(text: str) -> Sweep:
        (tmp_path / "mine.yaml").write_text(text)
        return load_sweep("mine")

    return write_and_load


def test_runs_that_keep_no_model_are_not_evaluated(load: Callable[[str], Sweep]) -> None:
    sweep = load(
        "kept: [model=nano_100k]\n"
        "store: [model=nano_100k, train.keep=store]\n"
        "nothing: [model=nano_100k, train.keep=nothing]\n"
        "recorded: [model=nano_100k, train.record=true]\n"
        "planned: [model=nano_100k, train=none]\n"
        "on_fabric: [fabric=experiment]\n"
    )
    assert sweep.trained == ["kept", "store", "nothing", "recorded"]
    assert sweep.evaluated == ["kept"]
    assert sweep.records == ["recorded"]
    stages = {run: list(hashes) for run, hashes in sweep.report().runs.items()}
    assert stages["kept"] == ["partition", "train", "evaluate"]
    assert stages["store"] == stages["recorded"] == ["partition", "train"]
    assert stages["planned"] == ["partition"]
    assert stages["on_fabric"] == ["fabric"]
    assert sweep.experiments == ["on_fabric"]
    assert sweep.planned == ["kept", "store", "nothing", "recorded", "planned"]


def test_record_runs_go_by_size(load: Callable[[str], Sweep]) -> None:
    sweep = load(
        "large: [model=gptj_6b, train=record]\n"
        "small: [model=nano_100k, train=record]\n"
        "middle: [model=gpt3_xl, train=record]\n"
    )
    assert sweep.records == ["small", "middle", "large"]


def test_the_record_ladder_streams_and_keeps_nothing() -> None:
    sweep = load_sweep("records")
    rungs = ["gpt3_xl", "gptj_6b", "gpt3_13b", "gptneox_20b", "gpt_30b"]
    assert sweep.records == [f"record_{model}" for model in rungs]
    assert sweep.evaluated == []
    for config in sweep.runs.values():
        assert config.train is not None
        assert (config.train.execution, config.train.keep) == (Execution.streaming, Keep.nothing)
        assert config.tracking.experiment == "records"
    steps = {run: config.train.steps for run, config in sweep.runs.items() if config.train}
    assert steps["record_gpt3_xl"] >= 50
    assert steps["record_gptj_6b"] >= 10
    assert min(steps.values()) >= 5


def test_the_comparison_of_precisions_has_three_seeds_of_the_same_data() -> None:
    sweep = load_sweep("precision")
    assert sweep.evaluated == list(sweep.runs)
    assert len(sweep.corpora) == 1
    kinds: dict[tuple[str, str, str], list[int]] = {}
    for config in sweep.runs.values():
        assert config.train is not None
        kind = (config.model.name, config.train.optimizer.value, config.train.precision.value)
        kinds.setdefault(kind, []).append(config.train.seed)
    assert set(kinds) == {
        (model, *kind)
        for model in ("nano_1m", "nano_3m")
        for kind in (("adamw", "fp32"), ("adafactor", "bf16"))
    }
    assert all(seeds == [0, 1, 2] for seeds in kinds.values())
