from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wse.calibration import committed
from wse.errors import PlanError, WaferError
from wse.graph import Shape
from wse.hardware import Wafer
from wse.plan import plan

DERIVED = (
    "micro_batch",
    "gradient_accumulation",
    "step_seconds",
    "tokens_per_second",
    "samples_per_second",
    "mfu",
    "bottleneck",
    "joules_per_step",
    "joules_per_token",
)


@pytest.fixture(scope="module")
def long_20b(ladder: dict[str, Shape]) -> Shape:
    return replace(ladder["gptneox_20b"], positions=131072, sequence_length=131072)


def test_the_record_of_2022_fits_one_wse2(ladder: dict[str, Shape], wse2: Wafer) -> None:
    made = plan(ladder["gptneox_20b"], wse2, 120)
    assert made.fits
    assert made.parameters == 20_554_567_680
    assert made.micro_batch * made.gradient_accumulation == 120
    assert made.bottleneck == "compute"


def test_rates_agree_with_the_step_time(ladder: dict[str, Shape], wse2: Wafer) -> None:
    made = plan(ladder["gptj_6b"], wse2, 120)
    assert made.tokens_per_second * made.step_seconds == pytest.approx(120 * 2048)
    assert made.samples_per_second * made.step_seconds == pytest.approx(120)
    assert made.joules_per_token * 120 * 2048 == pytest.approx(made.joules_per_step)
    assert made.mfu == pytest.approx(made.model_flops_per_step / made.step_seconds / 7.5e15)
    assert sum(made.seconds_by_cause.values()) == pytest.approx(made.step_seconds)
    assert made.calibration.low < 1 < made.calibration.high


@settings(deadline=None, max_examples=40)
@given(
    heads=st.integers(1, 96),
    layers=st.integers(1, 100),
    power=st.integers(4, 20),
    batch=st.integers(1, 60),
)
def test_there_is_a_step_time_if_and_only_if_it_fits(
    heads: int, layers: int, power: int, batch: int
) -> None:
    length = 2**power
    shape = Shape("any", "gpt2", layers, 64 * heads, heads, 256 * heads, 1000, length, length)
    wafer = committed().wafer
    made = plan(shape, wafer, batch)
    assert all((getattr(made, name) is None) != made.fits for name in DERIVED)
    assert made.fits == (made.bytes.activations_sram_peak <= made.bytes.sram_capacity)
    if made.fits:
        watts = made.joules_per_step / made.step_seconds
        assert 0.999 * wafer.system_watts_idle <= watts <= wafer.system_watts_peak


def test_what_would_fit_does_fit(long_20b: Shape, wse2: Wafer) -> None:
    roomy = replace(
        wse2, name="roomy", sram_bytes_per_pe=4 * wse2.sram_bytes_per_pe, sram_bytes=160e9
    )
    small = replace(wse2, name="small")
    refused = plan(long_20b, wse2, 120, others={"roomy": roomy, "small": small})
    assert not refused.fits
    assert refused.would_fit == ["partition.sequence_length=65536", "wafer=roomy"]
    assert plan(replace(long_20b, sequence_length=65536), wse2, 120).fits
    assert plan(long_20b, roomy, 120).fits
    assert plan(replace(long_20b, sequence_length=65536), wse2, 120).would_fit == []


def test_a_store_that_is_too_small_fits_nothing(ladder: dict[str, Shape], wse2: Wafer) -> None:
    tiny = replace(wse2, parameter_store_bytes=100e9)
    refused = plan(ladder["gptneox_20b"], tiny, 120, others={"wse2": wse2})
    assert not refused.fits
    assert refused.would_fit == ["wafer=wse2"]


def test_systems_share_the_batch(ladder: dict[str, Shape], wse2: Wafer) -> None:
    one = plan(ladder["gptj_6b"], wse2, 60)
    two = plan(ladder["gptj_6b"], wse2, 120, systems=2)
    assert two.step_seconds == one.step_seconds
    assert two.tokens_per_second == pytest.approx(2 * one.tokens_per_second)
    assert two.joules_per_token == pytest.approx(one.joules_per_token)
    assert two.mfu == pytest.approx(one.mfu)


def test_the_band_is_wider_where_the_peak_grew_more_than_the_sram_bandwidth(
    ladder: dict[str, Shape], wafers: dict[str, Wafer]
) -> None:
    bands = {
        name: plan(ladder["gptneox_20b"], wafer, 120).calibration for name, wafer in wafers.items()
    }
    assert bands["wse2"].high == committed().high
    assert bands["wse2"].low == committed().low
    assert bands["wse3"].high > 1.5 * bands["wse2"].high  # 2.4 x the peak, 1.05 x the bandwidth
    assert bands["wse1"].low < bands["wse2"].low


@pytest.mark.parametrize(
    ("batch", "systems", "message"),
    [
        (0, 1, "partition.global_batch: 0 "),
        (-8, 1, "partition.global_batch: -8 "),
        (120, 0, "partition.systems: 0 "),
        (193 * 2, 193, "partition.systems: 193 .*192"),
        (120, 7, "partition.global_batch: 120 .*7"),
    ],
)
def test_a_wrong_batch_is_refused_by_name(
    ladder: dict[str, Shape], wse2: Wafer, batch: int, systems: int, message: str
) -> None:
    with pytest.raises(PlanError, match=message):
        plan(ladder["gptj_6b"], wse2, batch, systems)


def test_a_contradictory_wafer_gets_no_plan(ladder: dict[str, Shape], wse2: Wafer) -> None:
    with pytest.raises(WaferError, match=r"wafer\.sram_bytes: "):
        plan(ladder["gptj_6b"], replace(wse2, sram_bytes=40e6), 120)
