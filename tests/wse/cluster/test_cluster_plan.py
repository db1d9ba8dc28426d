from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wse.cluster.configuration import Configuration, Recomputation, stage_layers
from wse.cluster.eras import ERAS
from wse.cluster.hardware import Cluster, ClusterError
from wse.cluster.outcome import ClusterPlan
from wse.cluster.plan import cluster_plan, configured_plan, gpus_to_match
from wse.errors import PlanError
from wse.transformer import Shape
from wse.validation.gpu_rows import clusters

DERIVED = (
    "configuration",
    "step_seconds",
    "step_seconds_low",
    "step_seconds_high",
    "tokens_per_second",
    "samples_per_second",
    "mfu",
    "bottleneck",
    "joules_per_step",
    "joules_per_token",
    "dollars_per_step",
    "dollars_per_token",
)
SMALL = Shape("small", "gpt2", 12, 1024, 16, 4096, 50304, 2048, 2048)


def test_rates_agree_with_the_step_time(gpt_175b: Shape, a100: Cluster) -> None:
    made = cluster_plan(gpt_175b, a100, 64, 64, "2022")
    assert made.fits
    assert made.simulated
    assert sum(made.seconds_by_cause.values()) == pytest.approx(made.step_seconds)
    assert made.tokens_per_second * made.step_seconds == pytest.approx(64 * 2048)
    assert made.joules_per_step == pytest.approx(8 * 6500 * made.step_seconds)
    assert made.dollars_per_token * 64 * 2048 == pytest.approx(made.dollars_per_step)
    assert made.dollars_per_step == pytest.approx(64 * 2.0 / 3600 * made.step_seconds)
    assert made.step_seconds_low < made.step_seconds < made.step_seconds_high
    assert made.memory_bytes_per_gpu == pytest.approx(sum(made.memory_bytes_by_content.values()))
    assert made.bottleneck == "matrix_products"
    # 72 b s L h^2 (1 + s / 6 h + V / 12 L h), arXiv 2205.05198
    flops = 72 * 64 * 2048 * 96 * 12288**2
    flops *= 1 + 2048 / (6 * 12288) + 51200 / (12 * 96 * 12288)
    assert made.model_flops_per_step == pytest.approx(flops)
    assert made.mfu == pytest.approx(flops / made.step_seconds / (64 * 312e12))


def test_the_search_is_as_quick_as_the_published_layout(gpt_175b: Shape, a100: Cluster) -> None:
    # Published: 13.75 s; a layout of the search may be better than the published one.
    assert 11.5 < cluster_plan(gpt_175b, a100, 64, 64, "2022").step_seconds < 14.5


def test_the_plan_is_json_and_says_what_a_person_would_design(
    gpt_175b: Shape, a100: Cluster
) -> None:
    made = cluster_plan(gpt_175b, a100, 128, 256, "2021")
    values = json.loads(json.dumps(made.to_dict()))
    assert values["configuration"]["recomputation"] == made.configuration.recomputation.value
    words = " ".join(made.design)
    assert f"{made.configuration.tensor_parallel} GPUs of a server" in words
    assert f"{made.configuration.pipeline_parallel} pipeline stages" in words


@settings(deadline=None, max_examples=30)
@given(
    heads=st.sampled_from([8, 12, 16, 40, 64]),
    layers=st.integers(1, 60),
    gpus=st.sampled_from([1, 2, 4, 8, 16, 24, 64]),
    batch=st.integers(1, 128),
    era=st.sampled_from(list(ERAS)),
)
def test_a_layout_is_legal_and_has_room_or_there_is_no_number(
    heads: int, layers: int, gpus: int, batch: int, era: str
) -> None:
    shape = Shape("any", "gpt2", layers, 128 * heads, heads, 512 * heads, 50304, 2048, 2048)
    made = cluster_plan(shape, clusters()["a100_80gb"], gpus, batch, era)
    assert all((getattr(made, name) is None) != made.fits for name in DERIVED)
    if not made.fits:
        assert set(made.seconds_by_cause.values()) == {None}
        return
    chosen = made.configuration
    assert chosen.gpus == gpus
    assert chosen.global_batch == batch
    assert heads % chosen.tensor_parallel == 0
    most, last = stage_layers(layers, chosen.pipeline_parallel)
    assert most - 1 <= last <= most
    assert made.memory_bytes_per_gpu <= made.memory_bytes_usable
    assert min(made.seconds_by_cause.values()) >= 0
    assert 0 < made.mfu < 1
    ability = ERAS[era]
    assert chosen.zero_stage in ability.zero_stages
    assert ability.sequence_parallelism or not chosen.sequence_parallel
    if chosen.recomputation is Recomputation.selective:
        assert ability.selective_recomputation


@settings(deadline=None, max_examples=20)
@given(
    field=st.sampled_from(
        [
            "peak_bf16_flops_per_second",
            "hbm_bytes_per_second",
            "hbm_bytes",
            "nvlink_bytes_per_second",
            "network_bits_per_second_per_gpu",
            "exponentials_per_second",
        ]
    ),
    factor=st.floats(1.0, 1.5),
    era=st.sampled_from(list(ERAS)),
    gpus=st.sampled_from([8, 32]),
    layers=st.sampled_from([12, 48]),
)
def test_better_hardware_is_never_slower(
    field: str, factor: float, era: str, gpus: int, layers: int
) -> None:
    shape = replace(SMALL, layers=layers, hidden=4096, feed_forward=16384, heads=32)
    cluster = clusters()["h100_80gb"]
    better = replace(cluster, **{field: factor * getattr(cluster, field)})
    before, after = (cluster_plan(shape, one, gpus, 64, era) for one in (cluster, better))
    assert after.step_seconds <= before.step_seconds * (1 + 1e-9)


def test_software_of_later_years_is_quicker(gpt_22b: Shape, a100: Cluster) -> None:
    plans = [cluster_plan(gpt_22b, a100, 64, 512, era) for era in ERAS]
    rates = [made.tokens_per_second for made in plans]
    assert rates == sorted(rates)


def test_what_does_not_fit_has_no_rate_but_what_would_fit_does(
    gpt_175b: Shape, a100: Cluster
) -> None:
    refused = cluster_plan(gpt_175b, a100, 8, 64, "2022")
    assert not refused.fits
    assert refused.tokens_per_second is None
    assert refused.memory_bytes_per_gpu > refused.memory_bytes_usable
    change = next(one for one in refused.would_fit if one.startswith("cluster.gpus="))
    enough = int(change.partition("=")[2])
    assert cluster_plan(gpt_175b, a100, enough, 64, "2022").fits


def test_a_step_that_no_layout_divides_is_refused_too(a100: Cluster) -> None:
    refused = cluster_plan(SMALL, a100, 7, 12, "2022")
    assert not refused.fits
    assert refused.memory_bytes_per_gpu is None
    assert refused.would_fit[0] == "cluster.gpus=8"


def test_the_fewest_gpus_that_reach_a_rate(gpt_7b: Shape, a100: Cluster) -> None:
    made = gpus_to_match(gpt_7b, a100, 100_000.0, 480, "2024")
    assert isinstance(made, ClusterPlan)
    assert made.tokens_per_second >= 100_000
    assert made.to_dict() == cluster_plan(gpt_7b, a100, made.gpus, 480, "2024").to_dict()
    for fewer in range(a100.gpus_per_node, made.gpus, a100.gpus_per_node):
        less = cluster_plan(gpt_7b, a100, fewer, 480, "2024")
        assert not less.fits or less.tokens_per_second < 100_000


def test_older_software_needs_more_gpus(gpt_7b: Shape, a100: Cluster) -> None:
    old, new = (gpus_to_match(gpt_7b, a100, 70_000.0, 512, era) for era in ("2021", "2024"))
    assert old.gpus > new.gpus


def test_a_rate_out_of_reach_has_no_plan(a100: Cluster) -> None:
    assert gpus_to_match(SMALL, a100, 1e12, 8, "2024") is None


@pytest.mark.parametrize("gpus", [0, -8, 12, 100_000])
def test_a_wrong_number_of_gpus_is_refused(a100: Cluster, gpus: int) -> None:
    with pytest.raises(PlanError, match=rf"cluster\.gpus: {gpus} "):
        cluster_plan(SMALL, a100, gpus, 64, "2022")


@pytest.mark.parametrize("batch", [0, -1])
def test_an_empty_batch_is_refused(a100: Cluster, batch: int) -> None:
    with pytest.raises(PlanError, match=r"cluster\.global_batch: "):
        cluster_plan(SMALL, a100, 8, batch, "2022")


@pytest.mark.parametrize("rate", [0.0, -1.0, math.nan, math.inf])
def test_a_rate_that_is_none_is_refused(a100: Cluster, rate: float) -> None:
    with pytest.raises(PlanError, match=r"cluster\.tokens_per_second: "):
        gpus_to_match(SMALL, a100, rate, 64, "2022")


def test_an_unknown_era_is_refused_with_those_there_are(a100: Cluster) -> None:
    with pytest.raises(PlanError, match=r"cluster\.era: '1999' is none of 2021, 2022, 2024"):
        cluster_plan(SMALL, a100, 8, 64, "1999")


def test_a_cluster_with_a_wrong_number_is_refused(a100: Cluster) -> None:
    with pytest.raises(ClusterError, match=r"cluster\.hbm_bytes: nan"):
        cluster_plan(SMALL, replace(a100, hbm_bytes=math.nan), 8, 64, "2022")


def test_another_card_than_that_of_the_rows_has_a_wider_band(
    gpt_7b: Shape, a100: Cluster, h100: Cluster
) -> None:
    known, other = (cluster_plan(gpt_7b, one, 8, 64, "2024") for one in (a100, h100))
    widths = [made.step_seconds_high / made.step_seconds_low for made in (known, other)]
    assert widths[1] > 1.2 * widths[0]
    assert other.tokens_per_second > known.tokens_per_second
    assert other.mfu < known.mfu


def test_a_layout_of_your_own_that_has_no_room(gpt_7b: Shape, a100: Cluster) -> None:
    own = Configuration(1, 1, 1, 8, 64, 1, False, Recomputation.none, 3)
    made = configured_plan(gpt_7b, a100, own, "2024")
    assert not made.fits
    assert made.tokens_per_second is None
    assert made.memory_bytes_per_gpu > made.memory_bytes_usable
    assert made.would_fit[0] == "another layout: ask cluster_plan"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("tensor_parallel", 3),
        ("tensor_parallel", 0),
        ("pipeline_parallel", 5),
        ("interleave", 3),
        ("zero_stage", 2),
        ("micro_batch", 0),
        ("accumulation", -1),
    ],
)
def test_a_layout_that_cannot_be_is_refused_by_its_number(
    gpt_7b: Shape, a100: Cluster, field: str, value: int
) -> None:
    own = Configuration(2, 4, 1, 2, 1, 8, True, Recomputation.full, 1)
    with pytest.raises(PlanError, match=rf"cluster\.{field}: {value} "):
        configured_plan(gpt_7b, a100, replace(own, **{field: value}), "2022")
