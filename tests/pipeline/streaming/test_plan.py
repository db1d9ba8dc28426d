"""A plan stays within its budget, uses what it has, and a refusal names what would fit."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.choices import Optimizer
from pipeline.config import compose
from pipeline.errors import BudgetError, StoreError
from pipeline.schema import ModelConfig, TrainConfig
from pipeline.streaming import disk
from pipeline.streaming.ladder import ladder
from pipeline.streaming.layout import part_layouts
from pipeline.streaming.plan import (
    StreamingPlan,
    minimum_resident_bytes,
    minimum_streaming_bytes,
    plan_resident,
    plan_streaming,
)
from pipeline.streaming.slots import minimum_memory_bytes, store_disk_bytes
from pipeline.training.memory import parse_memory

GIB = 2**30


@cache
def configured(overrides: tuple[str, ...]) -> tuple[ModelConfig, TrainConfig]:
    config = compose(["train=streamed", *overrides])
    assert config.train is not None
    return config.model, config.train


def planned(budget: float, *overrides: str) -> StreamingPlan:
    return plan_streaming(*configured(overrides), int(budget * GIB))


MODELS = st.sampled_from(["nano_gptj", "nano_gptneox", "cerebras_gpt_111m", "gpt3_xl"])
OPTIMIZERS = st.sampled_from(["adamw", "adamw8bit", "adafactor"])
CLIPS = st.sampled_from(["norm", "update"])


@settings(max_examples=25, deadline=None)
@given(MODELS, OPTIMIZERS, CLIPS, st.sampled_from([1, 2, 8]), st.floats(0.6, 40))
def test_whatever_fits_stays_within_its_budget_and_feeds_its_store(
    model: str, optimizer: str, clip: str, batch: int, budget: float
) -> None:
    shape, train = configured(
        (
            f"model={model}",
            f"train.optimizer={optimizer}",
            f"train.clip_by={clip}",
            "train.sequence_length=128",
            f"train.global_batch={batch}",
        )
    )
    least = minimum_streaming_bytes(shape, train)
    if least > budget * GIB:
        with pytest.raises(BudgetError):
            plan_streaming(shape, train, int(budget * GIB))
        return
    plan = plan_streaming(shape, train, int(budget * GIB))
    assert plan.memory_bytes <= plan.memory_budget_bytes
    assert plan.memory_bytes == sum(plan.terms.values())
    layouts = part_layouts(shape, train)
    assert plan.store_memory_bytes >= minimum_memory_bytes(layouts)
    assert plan.disk_bytes >= store_disk_bytes(layouts)
    assert not (plan.kept_layers and plan.spilled_layers)


@settings(max_examples=15, deadline=None)
@given(MODELS, OPTIMIZERS, st.floats(0.7, 20), st.floats(1, 3))
def test_more_memory_never_fits_less(
    model: str, optimizer: str, budget: float, factor: float
) -> None:
    overrides = (f"model={model}", f"train.optimizer={optimizer}", "train.sequence_length=128")
    try:
        less = planned(budget, *overrides)
    except BudgetError:
        return
    more = planned(budget * factor, *overrides)
    assert more.kept_layers >= less.kept_layers
    assert more.spilled_layers <= less.spilled_layers


def test_the_least_budget_is_enough_and_a_byte_less_is_not() -> None:
    shape, train = configured(("model=gpt3_xl",))
    for least, plan in (
        (minimum_streaming_bytes(shape, train), plan_streaming),
        (minimum_resident_bytes(shape, train), plan_resident),
    ):
        assert plan(shape, train, least).memory_bytes <= least
        with pytest.raises(BudgetError):
            plan(shape, train, least - 1)


def test_twenty_billion_parameters_fit_into_8_gib_with_two_bytes_each() -> None:
    plan = planned(8, "model=gptneox_20b", "train.keep=nothing")
    assert plan.spilled_layers == 0
    assert plan.disk_bytes < 50e9
    assert plan.exported_bytes == 0
    assert plan.bytes_per_parameter == pytest.approx(2, rel=0.01)
    text = "\n".join(plan.lines())
    assert "8.00 GiB" in text
    assert "43.3 GB of disk" in text
    assert "adafactor takes 2.00 bytes a parameter, clips each tensor's update at 1" in text


@pytest.mark.parametrize(("optimizer", "each"), [("adamw", 12), ("adamw8bit", 6.03)])
def test_bytes_per_parameter_are_those_of_the_optimizer(optimizer: str, each: float) -> None:
    plan = planned(16, "model=gpt3_xl", f"train.optimizer={optimizer}")
    assert plan.bytes_per_parameter == pytest.approx(each, rel=0.01)
    assert plan.exported_bytes == pytest.approx(4 * plan.parameters)


def test_activations_that_memory_has_no_room_for_go_to_disk_and_the_plan_says_so() -> None:
    wide = ("model=gpt3_xl", "train.global_batch=32")
    shape, train = configured(wide)
    tight = minimum_streaming_bytes(shape, train) / GIB
    plan = planned(tight, *wide)
    assert plan.spilled_layers == 24
    assert plan.spilled_bytes == 24 * 32 * 512 * 2048 * 4
    assert "lowest 24 layers go to disk" in " ".join(plan.lines())
    some = planned(tight + 2, *wide)
    assert 0 < some.spilled_layers < 24
    assert planned(tight + 6, *wide).spilled_layers == 0


def test_spare_memory_keeps_the_topmost_layers() -> None:
    few, many = planned(2, "model=gpt3_xl"), planned(12, "model=gpt3_xl")
    assert 0 < few.kept_layers < 12
    assert many.kept_layers == 24
    assert "topmost 24 layers are not computed again" in " ".join(many.lines())


def remedies(message: str) -> Sequence[str]:
    return re.split(r", or ", message.split("what would fit: ")[1])


@pytest.mark.parametrize("plan", [plan_streaming, plan_resident])
def test_every_remedy_of_a_refusal_would_fit(plan) -> None:
    shape, train = configured(
        ("model=gptj_6b", "train.global_batch=4", "train.micro_batch=4", "train.optimizer=adamw")
    )
    budget = GIB * 3
    with pytest.raises(BudgetError) as refused:
        plan(shape, train, budget)
    message = str(refused.value)
    assert "\n" not in message
    assert message.startswith("model=gptj_6b: ")
    assert "the budget is 3.00 GiB" in message
    by_name = {model.name: model for model in ladder()}
    tried = 0
    for remedy in remedies(message):
        key, _, value = remedy.partition("=")
        if key == "device.memory":
            assert plan(shape, train, parse_memory(value))
        elif key == "model":
            assert plan(by_name[value], train, budget)
        elif key == "train.optimizer":
            assert plan(shape, replace(train, optimizer=Optimizer[value]), budget)
        else:
            continue
        tried += 1
    assert tried >= 2


def test_a_smaller_micro_batch_is_offered_where_it_is_enough() -> None:
    shape, train = configured(("model=gpt3_xl", "train.global_batch=32", "train.micro_batch=32"))
    smaller = replace(train, micro_batch=1)
    budget = minimum_streaming_bytes(shape, smaller)
    with pytest.raises(BudgetError, match=r"what would fit: train.micro_batch=1, or"):
        plan_streaming(shape, train, budget)
    assert plan_streaming(shape, smaller, budget)


def test_a_plan_can_be_written_as_json() -> None:
    assert asdict(planned(4, "model=gpt3_xl"))["terms"]["parameters in memory"] > 0


def test_too_little_disk_is_refused_with_what_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = planned(8, "model=gpt3_xl")
    store = tmp_path / "store"
    store.mkdir()
    monkeypatch.setattr(disk, "free_bytes", lambda _: plan.disk_bytes + 10**6)
    with pytest.raises(StoreError, match=r"gpt3_xl with adafactor takes 6.0 GB of disk") as refused:
        disk.require_disk(plan, tmp_path)
    assert "train.keep=nothing" in str(refused.value)
    assert "train.optimizer" not in str(refused.value)
    # What an interrupted run has on the disk is not asked for twice.
    (store / "plane").write_bytes(b"x" * 4_000_000)
    disk.require_disk(replace(plan, exported_bytes=3_000_000), tmp_path)
    disk.require_disk(replace(plan, exported_bytes=0), tmp_path)


def test_free_disk_is_told_of_folders_that_are_not_there_yet(tmp_path: Path) -> None:
    assert disk.free_bytes(tmp_path / "a" / "b") == pytest.approx(
        disk.free_bytes(tmp_path), rel=0.1
    )


def test_the_ladder_rises_and_has_the_models_of_conf() -> None:
    names = [model.name for model in ladder()]
    assert names[0] == "nano_100k"
    assert {"gpt3_xl", "gptj_6b", "gpt3_13b", "gptneox_20b"} < set(names)
    assert "hf" not in names
