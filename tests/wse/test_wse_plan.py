from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.wse.cases import ROUNDING, WSE2, shapes
from wse.answer import Plan
from wse.calibration import calibration
from wse.cost import Prices
from wse.errors import OnewaferError
from wse.graph import Operator, OperatorKind
from wse.hardware import Wafer
from wse.plan import Request, plan, planned_step
from wse.schedule import CAUSES
from wse.transformer import Shape, training_graph

NUMBERS = (
    "micro_batch",
    "gradient_accumulation",
    "step_seconds",
    "tokens_per_second",
    "samples_per_second",
    "mfu",
    "bottleneck",
    "seconds_by_use",
    "gain_of_ten_percent",
    "arrangement",
    "joules_per_step",
    "joules_per_token",
    "joules_by_class",
    "run",
)


def _plan(shape: Shape, wafer: Wafer = WSE2, batch: int = 120, **others: Any) -> Plan:
    return plan(Request(training_graph(shape), wafer, batch, **others))


@pytest.fixture(scope="module")
def long_20b(ladder: dict[str, Shape]) -> Shape:
    return replace(ladder["gptneox_20b"], positions=524288, sequence_length=524288)


def test_the_record_of_2022_fits_one_wse2(ladder: dict[str, Shape]) -> None:
    made = _plan(ladder["gptneox_20b"])
    assert made.fits
    assert made.parameters == 20_554_567_680
    assert made.micro_batch * made.gradient_accumulation == 120
    assert made.bottleneck == "compute"


def test_rates_agree_with_the_step_time(ladder: dict[str, Shape]) -> None:
    made = _plan(ladder["gptj_6b"])
    seconds = made.step_seconds
    assert made.tokens_per_second * seconds == pytest.approx(120 * 2048)
    assert made.samples_per_second * seconds == pytest.approx(120)
    assert made.joules_per_token * 120 * 2048 == pytest.approx(made.joules_per_step)
    assert sum(made.joules_by_class.values()) == pytest.approx(made.joules_per_step)
    assert made.mfu == pytest.approx(made.model_flops_per_step / seconds / 7.5e15)
    assert sum(made.seconds_by_cause.values()) == pytest.approx(seconds)
    assert sum(made.seconds_by_use.values()) == pytest.approx(seconds)
    assert made.run.tokens == 20 * made.parameters
    assert made.run.hours * 3600 == pytest.approx(made.run.tokens / made.tokens_per_second)
    assert made.calibration.low < 1 < made.calibration.high
    lies = made.arrangement
    assert sum(lies.sram_bytes_per_pe.values()) == WSE2.sram_bytes_per_pe
    assert min(lies.sram_bytes_per_pe.values()) >= 0


@settings(deadline=None, max_examples=30)
@given(shapes(), st.integers(1, 60), st.integers(6_000, 60_000), st.sampled_from([1e9, 2.4e15]))
def test_there_is_a_rate_if_and_only_if_it_fits(
    shape: Shape, batch: int, sram: int, store: float
) -> None:
    wafer = replace(
        WSE2,
        sram_bytes_per_pe=sram,
        sram_bytes=float(sram) * WSE2.cores,
        parameter_store_bytes=store,
    )
    made = _plan(shape, wafer, batch)
    assert all((getattr(made, name) is None) != made.fits for name in NUMBERS)
    assert set(made.seconds_by_cause) == set(CAUSES)
    assert all((seconds is None) != made.fits for seconds in made.seconds_by_cause.values())
    room = made.bytes.activations_sram_peak <= made.bytes.sram_capacity
    assert made.fits == (room and 16 * made.parameters <= store)
    assert json.loads(json.dumps(made.to_dict())) == made.to_dict()
    _, found = planned_step(Request(training_graph(shape), wafer, batch))
    assert (None if found is None else found.seconds) == made.step_seconds


def test_what_would_fit_does_fit(long_20b: Shape) -> None:
    roomy = replace(
        WSE2, name="roomy", sram_bytes_per_pe=16 * WSE2.sram_bytes_per_pe, sram_bytes=640e9
    )
    small = replace(WSE2, name="small")

    def at_length(length: int) -> Shape:
        return replace(long_20b, sequence_length=length)

    refused = plan(
        Request(training_graph(long_20b), WSE2, 120),
        others={"roomy": roomy, "small": small},
        at_length=lambda length: training_graph(at_length(length)),
    )
    assert not refused.fits
    length, wafer = refused.would_fit
    assert wafer == "wafer=roomy"
    assert _plan(long_20b, roomy).fits
    tokens = int(length.removeprefix("partition.sequence_length="))
    fitting = _plan(at_length(tokens))
    assert fitting.fits
    assert fitting.would_fit == []
    assert not _plan(at_length(2 * tokens)).fits  # it is the longest power of two


def test_a_store_that_is_too_small_fits_nothing(ladder: dict[str, Shape]) -> None:
    tiny = replace(WSE2, parameter_store_bytes=100e9)
    refused = plan(Request(training_graph(ladder["gptneox_20b"]), tiny, 120), others={"wse2": WSE2})
    assert not refused.fits
    assert refused.would_fit == ["wafer=wse2"]


def test_systems_share_the_batch_and_the_tree_takes_its_part(ladder: dict[str, Shape]) -> None:
    one = _plan(ladder["gptj_6b"], batch=60)
    for systems, levels in ((2, 1), (3, 2), (16, 4), (192, 8)):
        many = _plan(ladder["gptj_6b"], batch=60 * systems, systems=systems)
        efficiency = WSE2.tree_efficiency_per_level**levels
        assert many.tokens_per_second == pytest.approx(systems * one.tokens_per_second * efficiency)
        assert many.mfu == pytest.approx(one.mfu * efficiency)
        assert many.bytes == one.bytes  # of each system
        assert many.joules_per_token >= one.joules_per_token
        assert many.run.dollars_of_systems == pytest.approx(one.run.dollars_of_systems / efficiency)


def test_the_band_is_wider_where_the_peak_grew_more_than_the_sram_bandwidth(
    ladder: dict[str, Shape], wafers: dict[str, Wafer]
) -> None:
    bands = {
        name: _plan(ladder["gptneox_20b"], wafer).calibration for name, wafer in wafers.items()
    }
    main = calibration()
    assert (bands["wse2"].low, bands["wse2"].high) == (main.low, main.high)
    assert bands["wse3"].high > 1.5 * bands["wse2"].high  # 2.1 x the peak, 1.05 x the bandwidth
    assert bands["wse1"].low < bands["wse2"].low


def test_a_release_is_planned_with_its_constants(ladder: dict[str, Shape]) -> None:
    old, new = (_plan(ladder["gptj_6b"], release=release) for release in ("R1.7.1", None))
    assert (old.calibration.release, new.calibration.release) == ("R1.7.1", "R2.0")
    assert old.arrangement.policy == "keep_inputs"
    assert old.step_seconds > 1.2 * new.step_seconds


def test_operators_that_could_not_be_placed_are_told(ladder: dict[str, Shape]) -> None:
    graph = training_graph(ladder["cerebras_gpt_111m"])
    block = graph.layers[1]
    odd = replace(block, forward=(*block.forward, Operator("scan", OperatorKind.unknown, 7)))
    made = plan(Request(replace(graph, layers=(graph.layers[0], odd, graph.layers[2])), WSE2, 8))
    assert made.unknown_operators == {"scan": 10}
    plain = plan(Request(graph, WSE2, 8))
    assert made.step_seconds == pytest.approx(plain.step_seconds, rel=1e-4)


def test_a_sparse_plan_is_quicker(ladder: dict[str, Shape]) -> None:
    dense, sparse = (_plan(ladder["gptj_6b"], sparsity=share) for share in (0.0, 0.7))
    assert sparse.step_seconds < dense.step_seconds * (1 - ROUNDING)
    assert sparse.bytes.weights_in < 0.5 * dense.bytes.weights_in
    assert sparse.model_flops_per_step == dense.model_flops_per_step


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"global_batch": 0}, "partition.global_batch: 0 is not a positive number"),
        ({"global_batch": -120}, "partition.global_batch: -120 is not a positive number"),
        ({"systems": 0}, "partition.systems: 0 is not between 1 and 192"),
        ({"systems": 193}, "partition.systems: 193 is not between 1 and 192"),
        ({"systems": 7}, "partition.global_batch: 120 is not a multiple of partition.systems, 7"),
        ({"sparsity": 1.0}, "partition.sparsity: 1.0 is not a share from 0 to below 1"),
        ({"sparsity": -0.1}, "partition.sparsity: -0.1 is not a share from 0 to below 1"),
        ({"sparsity": math.nan}, "partition.sparsity: nan is not a share from 0 to below 1"),
        ({"run_tokens": 0.0}, "partition.run_tokens: 0.0 is not a positive number"),
        ({"run_tokens": -1e9}, "partition.run_tokens: -1000000000.0 is not a positive number"),
        ({"run_tokens": math.inf}, "partition.run_tokens: inf is not a positive number"),
        ({"release": "R3.0"}, "partition.release: 'R3.0' is none of .* R2.0"),
        ({"release": ""}, "partition.release: '' is none of .* R2.0"),
        ({"wafer": {"clock_hz": math.nan}}, "wafer.clock_hz: nan is not a positive"),
        ({"wafer": {"usable_width": 0}}, "wafer.usable_width: 0 is not a positive"),
        ({"wafer": {"usable_height": 0}}, "wafer.usable_height: 0 is not a positive"),
        ({"wafer": {"sram_bytes": 40e6}}, r"wafer.sram_bytes: 4e\+07 contradicts"),
    ],
)
def test_a_wrong_setting_is_refused_by_name_in_one_line(
    ladder: dict[str, Shape], changes: dict[str, Any], said: str
) -> None:
    settings = {"graph": training_graph(ladder["gptj_6b"]), "wafer": WSE2, "global_batch": 120}
    wafer = replace(WSE2, **changes.get("wafer", {}))
    with pytest.raises(OnewaferError, match=f"^{said}") as refusal:
        plan(Request(**settings | changes | {"wafer": wafer}))
    assert "\n" not in str(refusal.value)


def test_prices_change_dollars_alone(ladder: dict[str, Shape]) -> None:
    cheap = _plan(ladder["gptj_6b"])
    dear = _plan(ladder["gptj_6b"], prices=Prices(dollars_per_kwh=0.24, years_of_service=2.0))
    assert dear.run.dollars_of_energy == pytest.approx(2 * cheap.run.dollars_of_energy)
    assert dear.run.dollars_of_systems == pytest.approx(2 * cheap.run.dollars_of_systems)
    assert replace(dear, run=None) == replace(cheap, run=None)
