"""Laws of a step: what it moves, its least time, and that more of the machine is never slower."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import fields, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.wse.cases import RELEASES, ROUNDING, WSE2, setup, shapes
from wse.choice import best_step, ways
from wse.hardware import Wafer
from wse.step import Setup, Way, least_seconds, link_words_per_cycle, step, step_costs
from wse.transformer import Shape

releases = st.sampled_from(RELEASES)
batches = st.integers(1, 240)


def _each_way(made: Setup, sequences: int) -> list[Way]:
    """One way of each layout and policy: the one of the largest micro-batch."""
    found = {(way.layout, way.policy): way for way in ways(made, sequences)}
    return list(found.values())


@settings(deadline=None, max_examples=60)
@given(shapes(), batches, releases, st.sampled_from([1.0, 0.4]))
def test_bytes_are_conserved(shape: Shape, batch: int, release: str, density: float) -> None:
    made = setup(shape, release=release, density=density)
    graph = made.graph
    blocks = sum(one.parameters * one.count for one in graph.layers if one.kind.value == "block")
    for way in _each_way(made, batch):
        moved = step(made, way).bytes
        passes = 2 * graph.parameters + (blocks if way.policy.interval > 1 else 0)
        assert moved.weights_in == round(4 * passes * density * way.accumulation)
        assert moved.gradients_out == round(4 * graph.parameters * density * way.accumulation)
        inputs = 2 * graph.hidden * graph.sequence_length * graph.blocks * batch
        assert moved.activations_each_way == (inputs if way.policy.offload else 0)


@settings(deadline=None, max_examples=20)
@given(shapes(), st.integers(1, 12), releases)
def test_every_byte_has_its_time_on_a_link(shape: Shape, batch: int, release: str) -> None:
    made = setup(shape, release=release)
    for way in _each_way(made, batch):
        found = step(made, way, record=True)
        assert found.seconds == pytest.approx(step(made, way).seconds)
        busy: dict[str, float] = defaultdict(float)
        passed: dict[tuple[str, str], int] = defaultdict(int)
        for event in found.timeline.events:
            busy[event.resource] += event.end - event.begin
            if event.resource == "wafer":
                passed[event.layer, event.phase] += 1
        moved = found.bytes
        into = moved.weights_in + moved.activations_each_way
        out = moved.gradients_out + moved.activations_each_way
        rate = WSE2.io_bytes_per_second
        assert busy["link in"] * rate == pytest.approx(into)
        assert busy["link out"] * rate >= out * (1 - ROUNDING)
        update = 28 * made.graph.parameters / WSE2.parameter_store_bytes_per_second
        assert busy["update"] == pytest.approx(update)
        again = way.policy.interval > 1
        for layer in made.graph.layers:
            each = layer.count * way.accumulation
            assert passed[layer.name, "forward"] == passed[layer.name, "backward"] == each
            is_block = layer.kind.value == "block"
            assert passed[layer.name, "recompute"] == (each if again and is_block else 0)


@settings(deadline=None, max_examples=60)
@given(shapes(), batches, releases, st.integers(1, 8))
def test_no_way_is_quicker_than_its_least(
    shape: Shape, batch: int, release: str, systems: int
) -> None:
    made = setup(shape, release=release, systems=systems)
    for way in _each_way(made, batch):
        found = step(made, way)
        assert least_seconds(made, way) <= found.seconds * (1 + ROUNDING)
        assert found.bytes.weights_in / WSE2.io_bytes_per_second <= found.seconds * (1 + ROUNDING)
        cost, again = step_costs(made, way)
        rate = made.calibration.multiply_adds_per_cycle(WSE2)
        assert cost.compute_cycles(rate) / WSE2.clock_hz <= found.seconds * (1 + ROUNDING)
        assert (again.multiply_adds > 0) == (way.policy.interval > 0)


MORE = {
    "io_bytes_per_second": lambda wafer, by: wafer.io_bytes_per_second * by,
    "fabric_bytes_per_second": lambda wafer, by: wafer.fabric_bytes_per_second * by,
    "parameter_store_bytes_per_second": (
        lambda wafer, by: wafer.parameter_store_bytes_per_second * by
    ),
    "clock_hz": lambda wafer, by: wafer.clock_hz * by,
    "mixed_fmac_per_cycle_per_pe": lambda wafer, by: wafer.mixed_fmac_per_cycle_per_pe * by,
    "usable_width": lambda wafer, by: int(wafer.usable_width * by),
    "usable_height": lambda wafer, by: int(wafer.usable_height * by),
    "sram_bytes_per_pe": lambda wafer, by: int(wafer.sram_bytes_per_pe * by),
    "tree_efficiency_per_level": lambda wafer, by: min(1.0, wafer.tree_efficiency_per_level * by),
}


def _best_seconds(made: Setup, batch: int) -> float:
    found = best_step(made, batch)
    return float("inf") if found is None else found.seconds


@pytest.mark.parametrize("name", MORE)
@settings(deadline=None, max_examples=25)
@given(shape=shapes(), batch=batches, by=st.floats(1.0, 8.0), io=st.sampled_from([1.0, 0.01]))
def test_more_of_anything_is_never_slower(
    name: str, shape: Shape, batch: int, by: float, io: float
) -> None:
    wafer = replace(WSE2, io_bytes_per_second=io * WSE2.io_bytes_per_second)
    more: Wafer = replace(wafer, **{name: MORE[name](wafer, by)})
    before = _best_seconds(setup(shape, wafer, systems=4), batch)
    after = _best_seconds(setup(shape, more, systems=4), batch)
    assert after <= before * (1 + ROUNDING) + ROUNDING


@settings(deadline=None, max_examples=30)
@given(shapes(), batches, st.floats(0.05, 1.0), st.floats(0.05, 1.0))
def test_sparser_weights_are_fewer_bytes_and_never_slower(
    shape: Shape, batch: int, one: float, other: float
) -> None:
    sparse, dense = sorted((one, other))
    made = [setup(shape, density=density) for density in (sparse, dense)]
    steps = [best_step(each, batch) for each in made]
    if steps[0] is None or steps[1] is None:
        assert steps == [None, None]
        return
    assert steps[0].seconds <= steps[1].seconds + ROUNDING
    moved = [step(each, steps[1].way).bytes for each in made]
    assert moved[0].weights_in <= moved[1].weights_in
    assert moved[0].gradients_out <= moved[1].gradients_out


def test_the_tree_takes_its_share_of_each_level(ladder: dict[str, Shape]) -> None:
    alone = setup(ladder["gptj_6b"])
    way = next(ways(alone, 1))
    seconds = step(alone, way).seconds
    for systems in range(1, 193):
        levels = (systems - 1).bit_length()  # 0 of one system, 4 of 16, 8 of 192
        found = step(alone.changed(systems=systems), way)
        assert found.seconds == pytest.approx(seconds / 0.9889**levels)
        assert found.bytes == step(alone, way).bytes
    sixteen = step(alone.changed(systems=16), way)
    assert 16 * seconds / sixteen.seconds == pytest.approx(15.3, rel=1e-3)  # published


def test_a_slow_link_binds_both_ways(ladder: dict[str, Shape]) -> None:
    made = setup(ladder["cerebras_gpt_13b"], replace(WSE2, io_bytes_per_second=1e9))
    way = next(way for way in ways(made, 20) if way.policy.name == "keep_inputs")
    found = step(made, replace(way, micro_batch=20, accumulation=1))
    one_way = 4 * made.graph.parameters / 1e9
    assert found.timeline.seconds_by_cause["weight_stream"] > 1.5 * one_way
    # In twice; out from the backward pass on, so that only the last layer's way out is left.
    assert 2 * one_way <= found.seconds <= 2.1 * one_way


def test_the_fabric_binds_where_arithmetic_is_fast() -> None:
    # A feature and a token on each PE: every weight takes a word of a link, and a multiply-add.
    shape = Shape("any", "gptj", 8, 750, 10, 3000, 750, 994, 994)
    slow_links = replace(WSE2, fabric_bytes_per_second=WSE2.fabric_bytes_per_second / 20)
    made = setup(shape, slow_links)
    found = best_step(made, 1)
    assert found is not None
    causes = found.timeline.seconds_by_cause
    assert causes["fabric"] > 0.5 * (found.seconds - causes["fixed"])


def test_links_carry_what_is_published_and_no_more_than_a_word_a_cycle(wse2: Wafer) -> None:
    assert link_words_per_cycle(wse2) == pytest.approx(27.5e15 / (850_000 * 32 * 1.1e9))
    assert link_words_per_cycle(replace(wse2, fabric_bytes_per_second=40e15)) == 1


def test_one_token_on_each_pe_by_hand() -> None:
    # 750 x 994 PEs, one feature of one token each; one micro-batch of one sequence of 994 tokens.
    shape = Shape("any", "gptj", 1, 750, 1, 750, 750, 994, 994)
    made = setup(shape)
    way = next(way for way in ways(made, 1) if way.policy.name == "keep_all")
    assert way.layout.hidden_axis == "width"
    cost, again = step_costs(made, way)
    weights = (4 * 750 + 750 + 750) + 750  # of a PE's feature: the block's columns, and logits
    attention = 2 * 994 * 0.5
    assert cost.multiply_adds == pytest.approx(3 * (weights + attention))
    assert again.multiply_adds == 0
    # Each weight is taken in twice, issued once, and its gradient cleared and sent.
    assert cost.stream_cycles >= (1 + 8 + 1.5) * weights


def test_every_number_of_a_wafer_has_a_unit_or_is_a_count() -> None:
    # A number that gets no unit in its name is a count, and is one of these.
    counts = {"cores", "io_links", "max_systems"}
    counts |= {f"{kind}_fmac_per_cycle_per_pe" for kind in ("fp16", "mixed")}
    counts |= {f"{kind}_{axis}" for kind in ("fabric", "usable") for axis in ("width", "height")}
    units = ("_hz", "_bytes", "_bytes_per_pe", "_per_second", "_watts_idle", "_watts_peak")
    units += ("_dollars", "_efficiency_per_level")
    numbers = {field.name for field in fields(Wafer)} - {"name"} - counts
    assert [name for name in numbers if not name.endswith(units)] == []
