from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

import pipeline.tracking
from pipeline.capture.planning import shape_of
from pipeline.config import CONF_DIR, compose
from pipeline.described_hardware import known_wafers
from pipeline.job import Job
from pipeline.partition import picture_and_log, plan_model, run
from pipeline.reporting import plan_screen
from pipeline.reporting.plan_screen import plan_table
from pipeline.schema import PartitionConfig, TrackingConfig
from pipeline.slices import PartitionSlice
from tests.golden.renew import LADDER, golden_plan
from wse.errors import OnewaferError
from wse.hardware import check
from wse.memory import policies
from wse.schedule import CAUSES
from wse.sensitivity import RESOURCES
from wse.transformer import training_graph

ROOT = CONF_DIR.parent
# The fields of partition.json, which others read: what a plan of a step that fits holds.
CONTRACT: dict[str, type | tuple[type, ...]] = {
    "model": str,
    "family": str,
    "parameters": int,
    "layers": int,
    "hidden": int,
    "sequence_length": int,
    "wafer": str,
    "mode": str,
    "systems": int,
    "sparsity": float,
    "fits": bool,
    "micro_batch": int,
    "gradient_accumulation": int,
    "global_batch": int,
    "step_seconds": float,
    "tokens_per_second": float,
    "samples_per_second": float,
    "model_flops_per_step": float,
    "mfu": float,
    "bottleneck": str,
    "seconds_by_cause": dict,
    "seconds_by_use": dict,
    "gain_of_ten_percent": dict,
    "arrangement": dict,
    "bytes": dict,
    "joules_per_step": float,
    "joules_per_token": float,
    "joules_by_class": dict,
    "run": dict,
    "calibration": dict,
    "unknown_operators": dict,
    "would_fit": list,
    "simulated": bool,
    "gpus": list,
}
NESTED = {
    "seconds_by_cause": {
        "compute",
        "weight_stream",
        "gradient_stream",
        "fabric",
        "fixed",
        "update",
    },
    "seconds_by_use": {
        "useful",
        "padding",
        "recomputation",
        "rate",
        "vectors",
        "streaming",
        "reduction",
        "weights",
        "gradients",
        "update",
        "fixed",
    },
    "gain_of_ten_percent": {
        "clock",
        "sram",
        "io_bandwidth",
        "fabric_height",
        "parameter_store",
        "fixed_cost",
    },
    "arrangement": {
        "hidden_axis",
        "hidden_pes",
        "token_pes",
        "features_per_pe",
        "tokens_per_pe",
        "policy",
        "policy_interval",
        "sram_bytes_per_pe",
        "fullest_moment",
    },
    "bytes": {
        "weights_in",
        "gradients_out",
        "activations_sram_peak",
        "sram_capacity",
        "activations_offloaded",
    },
    "joules_by_class": {"idle", "compute", "sram", "fabric", "io"},
    "run": {"tokens", "hours", "kilowatt_hours", "dollars_of_energy", "dollars_of_systems"},
    "calibration": {"release", "low", "high"},
}


def _slice(*overrides: str, trained: bool = False) -> PartitionSlice:
    config = compose(overrides)
    return PartitionSlice(config.model, config.wafer, config.partition, trained)


def _plan(*overrides: str) -> dict[str, Any]:
    part = _slice(*overrides)
    return plan_model(part.model, part.wafer, part.partition)


@pytest.fixture
def job(tmp_path: Path) -> Callable[..., Job[PartitionSlice]]:
    def make(*overrides: str, trained: bool) -> Job[PartitionSlice]:
        part = _slice(*overrides, trained=trained)
        tracking = TrackingConfig(experiment="test", sweep="test")
        return Job("partition", "0" * 64, "a_run", tmp_path, part, tracking)

    return make


def _screen(plan: dict[str, Any], part: PartitionSlice) -> str:
    console = Console(width=100, file=io.StringIO(), record=True)
    console.print(plan_table(plan, part.wafer))
    return console.export_text()


@pytest.mark.parametrize("wafer", ["wse1", "wse2", "wse3"])
def test_every_ladder_model_has_a_whole_plan(wafer: str) -> None:
    for name in LADDER:
        plan = golden_plan(name, wafer)
        assert list(plan) == list(CONTRACT)
        assert plan["fits"]
        assert plan["simulated"] is True
        for field, kind in CONTRACT.items():
            assert isinstance(plan[field], kind), field
        for field, keys in NESTED.items():
            assert set(plan[field]) == keys
        assert plan["micro_batch"] * plan["gradient_accumulation"] == 120
        assert json.loads(json.dumps(plan)) == plan


def test_parameters_agree_with_the_models_own_count() -> None:
    shape = pytest.importorskip("pipeline.models.shape")
    for name in ["nano_1m", "nano_gptj", "nano_gptneox", *LADDER]:
        model = compose([f"model={name}"]).model
        assert training_graph(shape_of(model, PartitionConfig())).parameters == (
            shape.parameter_count(model)
        )


def test_wafers_compose_and_are_consistent() -> None:
    assert set(known_wafers()) >= {"wse1", "wse2", "wse3"}
    for name, wafer in known_wafers().items():
        check(wafer)
        assert compose([f"wafer={name}"]).wafer == wafer


def test_sequences_take_all_positions_unless_a_length_is_set() -> None:
    model = compose(["model=gptj_6b"]).model
    assert shape_of(model, PartitionConfig(global_batch=1)).sequence_length == 2048
    short = PartitionConfig(global_batch=1, sequence_length=512)
    assert shape_of(model, short).sequence_length == 512


def test_the_stage_writes_shows_and_logs_the_plan(
    job: Callable[..., Job[PartitionSlice]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    logged = []
    monkeypatch.setattr(pipeline.tracking, "log_plan", lambda job, plan: logged.append(plan))
    one = job("model=gptneox_20b", trained=False)
    picture_and_log(one, run(one))
    plan = json.loads((one.run_directory / "partition.json").read_text())
    assert plan == plan_model(one.config.model, one.config.wafer, one.config.partition)
    assert logged == [plan]
    shown = capsys.readouterr().out
    lines = [line for line in shown.splitlines() if line.strip()]
    assert "simulated" in lines[0]
    assert "step time" in lines[2]  # the headline comes first
    assert "15.9 s (band 13.8 s to 20.7 s)" in lines[2]


# What stands at the left of a plan that fits, in order; the first answers the first question.
LINES = [
    "step time",
    "tokens a second",
    "batch",
    "bottleneck",
    "time goes to",
    "a tenth more of",
    "MFU",
    "on the fabric",
    "activations",
    "SRAM",
    "links",
    "energy",
    "a whole run",
    "the same in GPUs",
    "model",
    "calibrated to",
]


def _names(text: str) -> list[str]:
    cells = [line.split("\N{BOX DRAWINGS LIGHT VERTICAL}") for line in text.splitlines()]
    return [line[1].strip() for line in cells if len(line) > 2 and line[1].strip()]


def test_the_screen_says_what_binds_where_time_goes_and_what_more_would_give() -> None:
    plan = _plan("model=gptneox_20b")
    text = _screen(plan, _slice("model=gptneox_20b"))
    assert _names(text) == LINES
    assert "the PEs' arithmetic, 98.0 % of the step" in text
    assert "useful 58.8 %" in text
    assert "clock +9.78 %" in text
    assert "R2.0" in text
    assert "16 a100_80gb (software of 2022: matrices over 4 GPUs, layers over 2 stages," in text
    assert len(text.splitlines()) <= 40


def test_the_screen_names_systems_and_sparsity_where_there_are_any() -> None:
    overrides = ("model=gptj_6b", "partition.systems=4", "partition.sparsity=0.5")
    text = _screen(_plan(*overrides), _slice(*overrides))
    assert "4 x wse2" in text
    assert "50.0 % of weights zero" in text


def test_every_policy_cause_and_resource_has_words() -> None:
    shape = training_graph(shape_of(_slice("model=gptj_6b").model, PartitionConfig()))
    for release in ("R1.6", "R1.7", "R1.8", "R2.0"):
        assert {policy.name for policy in policies(shape, release)} <= set(plan_screen.POLICIES)
    assert set(plan_screen.BOTTLENECKS) == set(CAUSES)
    assert set(plan_screen.RESOURCES) == set(RESOURCES)


def test_a_run_that_trains_leaves_logging_to_its_training(
    job: Callable[..., Job[PartitionSlice]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: object) -> None:
        raise AssertionError("logged")

    monkeypatch.setattr(pipeline.tracking, "log_plan", refuse)
    one = job("model=nano_1m", trained=True)
    picture_and_log(one, run(one))
    assert (one.run_directory / "partition.json").exists()


def test_what_does_not_fit_shows_what_would_and_no_time() -> None:
    overrides = ("model=gptneox_20b", "model.positions=131072")
    plan = _plan(*overrides)
    assert not plan["fits"]
    assert plan["step_seconds"] is None
    assert plan["would_fit"]
    text = _screen(plan, _slice(*overrides))
    assert "does not fit" in text
    assert "tokens a second" not in text
    for change in plan["would_fit"]:
        assert change in text
        assert _plan(*overrides, change)["fits"]


def test_another_wafer_is_proposed_where_it_fits() -> None:
    overrides = ("model=cerebras_gpt_13b", "model.positions=98304", "wafer=wse1")
    plan = _plan(*overrides)
    assert not plan["fits"]
    assert "wafer=wse2" in plan["would_fit"]
    for change in plan["would_fit"]:
        assert _plan(*[one for one in overrides if change[:6] != one[:6]], change)["fits"]


@pytest.mark.parametrize(
    ("override", "named"),
    [
        ("partition.global_batch=0", "partition.global_batch: 0"),
        ("partition.systems=7", "partition.systems, 7"),
        ("partition.sequence_length=100000", "partition.sequence_length: 100000"),
        ("wafer.sram_bytes_per_second=20e9", "wafer.sram_bytes_per_second: 2e+10"),
        ("wafer.clock_hz=nan", "wafer.clock_hz: nan"),
        ("wafer.clock_hz=???", "wafer.clock_hz"),
        ("wafer.usable_width=0", "wafer.usable_width: 0"),
        ("wafer.mixed_fmac_per_cycle_per_pe=8", "wafer.mixed_fmac_per_cycle_per_pe: 8"),
        ("wafer.tree_efficiency_per_level=2", "wafer.tree_efficiency_per_level: 2"),
        ("wafer.parameter_store_bytes_per_second=0", "wafer.parameter_store_bytes_per_second: 0"),
        ("wafer.system_dollars=-1", "wafer.system_dollars: -1"),
        ("partition.sparsity=1", "partition.sparsity: 1"),
        ("partition.release=R9", "partition.release: 'R9'"),
        ("partition.run_tokens=0", "partition.run_tokens: 0"),
        ("partition.prices.dollars_per_kwh=-1", "partition.prices.dollars_per_kwh: -1"),
        ("partition.prices.years_of_service=0", "partition.prices.years_of_service: 0"),
        ("partition.batch=8", "partition.batch"),
        ("wafer=wse9", "wse9"),
    ],
)
def test_bad_input_is_refused_by_name(override: str, named: str) -> None:
    with pytest.raises(OnewaferError) as refusal:
        _plan(override)
    assert named in str(refusal.value)


def test_bad_input_on_the_command_line_is_one_line_and_an_exit_code(tmp_path: Path) -> None:
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pipeline.partition",
            f"results={tmp_path}",
            "partition.global_batch=0",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert "partition.global_batch: 0" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not list(tmp_path.rglob("partition.json"))


def test_a_wafer_of_ones_own_needs_only_a_description() -> None:
    part = _slice("model=gptj_6b")
    twin = replace(part.wafer, name="mine", usable_height=900)
    plan = plan_model(part.model, twin, part.partition)
    assert plan["wafer"] == "mine"
    assert plan["step_seconds"] > _plan("model=gptj_6b")["step_seconds"]
