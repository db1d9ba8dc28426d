from __future__ import annotations

from dataclasses import fields, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wse.calibration import committed
from wse.choice import best_choice
from wse.graph import Shape, training_graph
from wse.hardware import Wafer
from wse.mapping import layouts
from wse.schedule import CAUSES, step

CALIBRATION = committed()

shapes = st.builds(
    lambda family, layers, heads, head_size, length: Shape(
        "any", family, layers, heads * head_size, heads, 4 * heads * head_size, 30000, 4096, length
    ),
    st.sampled_from(["gpt2", "gptj", "gptneox"]),
    st.integers(1, 60),
    st.integers(1, 64),
    st.integers(8, 128),
    st.integers(1, 4096),
)
SPEEDS = ("clock_hz", "io_bytes_per_second", "fp16_fmac_per_cycle_per_pe")


def _step_seconds(wafer: Wafer, shape: Shape, sequences: int) -> float:
    choice = best_choice(wafer, training_graph(shape), sequences, CALIBRATION)
    return float("inf") if choice is None else choice.step.seconds


@settings(deadline=None)
@given(shapes, st.integers(1, 240), st.sampled_from(SPEEDS), st.integers(2, 10))
def test_a_faster_wafer_is_never_slower(shape: Shape, batch: int, speed: str, factor: int) -> None:
    wafer = CALIBRATION.wafer
    faster = replace(wafer, **{speed: factor * getattr(wafer, speed)})
    assert _step_seconds(faster, shape, batch) <= _step_seconds(wafer, shape, batch) + 1e-9


@settings(deadline=None)
@given(shapes, st.integers(1, 240), st.integers(0, 400), st.integers(0, 400))
def test_more_pes_are_never_slower(shape: Shape, batch: int, wider: int, higher: int) -> None:
    wafer = CALIBRATION.wafer
    larger = replace(
        wafer,
        usable_width=wafer.usable_width + wider,
        usable_height=wafer.usable_height + higher,
    )
    assert _step_seconds(larger, shape, batch) <= _step_seconds(wafer, shape, batch) + 1e-9


@settings(deadline=None)
@given(shapes, st.sampled_from([1, 4]), st.integers(1, 60), st.integers(1, 8))
def test_bytes_are_conserved(shape: Shape, interval: int, micro_batch: int, count: int) -> None:
    graph = training_graph(shape)
    layout = layouts(CALIBRATION.wafer)[0]
    made = step(CALIBRATION.wafer, graph, layout, interval, micro_batch, count, CALIBRATION)
    blocks = shape.layers * graph.block.parameters
    again = blocks if interval > 1 else 0
    assert made.weights_in_bytes == 4 * count * (2 * graph.parameters + again)
    assert made.gradients_out_bytes == 4 * count * graph.parameters


@settings(deadline=None)
@given(shapes, st.integers(1, 240))
def test_a_step_lasts_at_least_as_long_as_each_resource_is_busy(shape: Shape, batch: int) -> None:
    wafer, graph = CALIBRATION.wafer, training_graph(shape)
    choice = best_choice(wafer, graph, batch, CALIBRATION)
    assert choice is not None
    made = choice.step
    tokens = batch * shape.sequence_length
    peak = wafer.usable_fp16_flops_per_second * CALIBRATION.compute_efficiency
    assert made.seconds >= made.weights_in_bytes / wafer.io_bytes_per_second
    assert made.seconds >= made.gradients_out_bytes / wafer.io_bytes_per_second
    assert made.seconds >= graph.model_flops_per_token * tokens / peak
    assert set(made.seconds_by_cause) == set(CAUSES)
    assert made.seconds == sum(made.seconds_by_cause.values())


def test_a_slow_link_binds_and_the_two_streams_share_the_backward_pass(
    wse2: Wafer, ladder: dict[str, Shape]
) -> None:
    graph = training_graph(ladder["cerebras_gpt_13b"])
    slow = replace(wse2, io_bytes_per_second=1e9)
    causes = step(slow, graph, layouts(slow)[0], 1, 20, 1, CALIBRATION).seconds_by_cause
    one_way = 4 * graph.parameters / 1e9
    assert causes["weight_stream"] == pytest.approx(1.5 * one_way)
    assert causes["gradient_stream"] == pytest.approx(0.5 * one_way)
    assert causes["compute"] == causes["fabric"] == 0


def test_the_fabric_binds_where_arithmetic_is_fast(wse2: Wafer) -> None:
    shape = Shape("any", "gptj", 1, 750, 10, 3000, 1, 994, 994)
    fast = replace(CALIBRATION, compute_efficiency=1e6)
    endless_link = replace(wse2, io_bytes_per_second=1e15)
    # A feature and a token on each PE. A row of PEs takes every weight of its feature, a column
    # every sum of its token, two to a word; once forward and twice backward.
    block = 12 * 750 + (5 * 750 + 3000) / 2
    head = 1 + 1 / 2
    made = step(endless_link, training_graph(shape), layouts(wse2)[0], 1, 1, 1, fast)
    assert made.seconds_by_cause["fabric"] == pytest.approx(3 * (block + head) / 1.1e9)


def test_every_number_of_a_wafer_has_a_unit_or_is_a_count() -> None:
    # A number that gets no unit in its name is a count, and is one of these.
    counts = {"cores", "io_links", "max_systems", "fp16_fmac_per_cycle_per_pe"}
    counts |= {f"{kind}_{axis}" for kind in ("fabric", "usable") for axis in ("width", "height")}
    units = ("_hz", "_bytes", "_bytes_per_pe", "_per_second", "_watts_idle", "_watts_peak")
    numbers = {field.name for field in fields(Wafer)} - {"name"} - counts
    assert [name for name in numbers if not name.endswith(units)] == []
