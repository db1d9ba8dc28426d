"""The simulated step opens in Perfetto, says what it is, and lasts as long as the plan."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest

from wse.calibration import calibrated_wafer
from wse.plan import Request, planned_step
from wse.step import Setup, Step, step
from wse.trace import LANES, step_trace
from wse.transformer import Shape, training_graph

LAYERS = 10
SHAPE = Shape("small", "gpt2", LAYERS, 768, 12, 3072, 50257, 2048, 2048)


def planned(batch: int = 240, systems: int = 1) -> tuple[Setup, Step]:
    setup, made = planned_step(
        Request(training_graph(SHAPE), calibrated_wafer(), batch, systems=systems)
    )
    assert made is not None
    return setup, made


def in_micro_batches(count: int, systems: int = 1) -> tuple[Setup, Step]:
    """A step of ``count`` micro-batches of a sequence each."""
    setup, made = planned(systems=systems)
    return setup, step(setup, replace(made.way, micro_batch=1, accumulation=count))


def lanes(text: str) -> dict[str, list[dict[str, Any]]]:
    """The spans of each named thread."""
    events = json.loads(text)["traceEvents"]
    names = {e["tid"]: e["args"]["name"] for e in events if e["name"] == "thread_name"}
    return {
        name: [event for event in events if event["ph"] == "X" and event["tid"] == thread]
        for thread, name in names.items()
    }


def end(text: str) -> float:
    """Microseconds until the last span ends."""
    return max(span["ts"] + span["dur"] for spans in lanes(text).values() for span in spans)


def test_every_layer_passes_each_lane_and_says_so() -> None:
    setup, made = planned()
    text = step_trace(setup, made)
    found = lanes(text)
    assert tuple(found) == LANES
    assert json.loads(text)["otherData"]["numbers"] == "simulated"
    count = made.way.accumulation
    names = [span["name"] for span in found["wafer"]]
    assert names.count("forward block") == names.count("backward block") == LAYERS * count
    assert {span["args"]["micro_batch"] for span in found["wafer"]} == set(range(1, count + 1))
    updates = [span["name"] for span in found["update"]]
    assert updates.count("backward block") == LAYERS, "only the last micro-batch's are updates"


def test_the_trace_lasts_as_long_as_the_step_in_microseconds() -> None:
    for setup, made in (planned(), in_micro_batches(7), in_micro_batches(500)):
        assert end(step_trace(setup, made)) == pytest.approx(1e6 * made.seconds)


def test_a_lane_does_one_thing_at_a_time() -> None:
    for setup, made in (in_micro_batches(5), in_micro_batches(500)):
        for spans in lanes(step_trace(setup, made)).values():
            spans.sort(key=lambda span: span["ts"])
            for before, after in pairwise(spans):
                assert before["ts"] + before["dur"] <= after["ts"] + 1e-3


@pytest.mark.parametrize("systems", [1, 4])
def test_a_long_step_keeps_three_micro_batches_as_they_are_and_says_so(systems: int) -> None:
    setup, made = in_micro_batches(500, systems)
    text = step_trace(setup, made)
    assert len(text) < 20_000_000 / 4
    content = json.loads(text)
    assert content["otherData"]["left_out"] == "micro-batches 3 to 499, each as the second"
    wafer = lanes(text)["wafer"]
    numbers = [span["args"].get("micro_batch") for span in wafer]
    assert set(numbers) == {1, 2, 500, None}
    [stand_in] = [span for span in wafer if "micro_batch" not in span["args"]]
    assert stand_in["name"] == content["otherData"]["left_out"]
    whole = step(setup, made.way, record=True).timeline.events
    last = [e.begin for e in whole if e.resource == "wafer" and e.micro_batch == 499]
    kept = [span["ts"] / 1e6 for span in wafer if span["args"].get("micro_batch") == 500]
    assert kept == pytest.approx(last)


def test_systems_that_sum_gradients_show_what_that_takes() -> None:
    for count in (3, 500):
        setup, made = in_micro_batches(count, systems=4)
        text = step_trace(setup, made)
        assert "sum over 4 systems" in [span["name"] for span in lanes(text)["link out"]]
        assert end(text) == pytest.approx(1e6 * made.seconds)
