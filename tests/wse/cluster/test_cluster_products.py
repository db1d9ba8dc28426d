from __future__ import annotations

from dataclasses import fields, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wse.cluster.block import Slice, passes
from wse.cluster.calibration import committed
from wse.cluster.communication import gather_seconds, transfer_seconds
from wse.cluster.eras import ERAS
from wse.cluster.hardware import Cluster
from wse.cluster.products import product_seconds
from wse.transformer import Shape
from wse.validation.gpu_rows import clusters

SIZES = st.integers(1, 20_000)


@settings(deadline=None, max_examples=80)
@given(rows=SIZES, columns=SIZES, reduction=SIZES, batches=st.integers(1, 64))
def test_no_product_beats_the_peak_or_the_memory(
    rows: int, columns: int, reduction: int, batches: int
) -> None:
    for cluster in clusters().values():
        gpu = committed().machine(cluster, ERAS["2022"])
        seconds = product_seconds(gpu, rows, columns, reduction, batches)
        flops = 2.0 * rows * columns * reduction * batches
        assert flops / seconds < cluster.peak_bf16_flops_per_second
        moved = 2.0 * batches * (rows * reduction + reduction * columns + rows * columns)
        assert moved / seconds < cluster.hbm_bytes_per_second


@settings(deadline=None, max_examples=60)
@given(
    rows=SIZES,
    columns=SIZES,
    reduction=SIZES,
    field=st.sampled_from(["matrix_flops_per_second", "hbm_bytes_per_second"]),
)
def test_a_better_gpu_is_never_slower(rows: int, columns: int, reduction: int, field: str) -> None:
    gpu = committed().machine(clusters()["a100_80gb"], ERAS["2024"])
    better = replace(gpu, **{field: 1.3 * getattr(gpu, field)})
    slow = product_seconds(gpu, rows, columns, reduction)
    assert product_seconds(better, rows, columns, reduction) <= slow * (1 + 1e-12)


def test_large_products_run_near_the_rate_of_single_products(a100: Cluster) -> None:
    gpu = committed().machine(a100, ERAS["2022"])
    seconds = product_seconds(gpu, 16384, 27648, 12288)
    share = 2 * 16384 * 27648 * 12288 / seconds / a100.peak_bf16_flops_per_second
    assert 0.7 < share < a100.matrix_share_of_peak


def test_a_last_wave_costs_as_much_as_a_full_one(a100: Cluster) -> None:
    gpu = committed().machine(a100, ERAS["2022"])
    full = product_seconds(gpu, 128 * 27, 256 * 40, 8192)  # 10 waves of 108 tiles
    assert product_seconds(gpu, 128 * 27, 256 * 40 + 1, 8192) > full


def test_flash_attention_is_as_quick_as_its_paper_says(a100: Cluster) -> None:
    # arXiv 2307.08691, figure 5: forward and backward with a mask run at about half to two thirds
    # of an A100's peak, more with longer sequences; FLOPs of the half that is not masked.
    gpu = replace(committed().machine(a100, ERAS["2024"]), kernel_share=1.0)
    shares = []
    for length in (2048, 16384):
        shape = Shape("any", "gpt2", 1, 2048, 16, 8192, 50304, length, length)
        made = passes(Slice(shape, 16, 1, 1), a100, gpu, ERAS["2024"])
        seconds = made.forward.attention + made.backward.attention
        flops = 3.5 * 4 * 2048 * 16 * length * length / 2
        shares.append(flops / seconds / a100.peak_bf16_flops_per_second)
    assert 0.45 < shares[0] < 0.55
    assert 0.55 < shares[1] < 0.67


def test_sequence_parallelism_shares_the_vector_operators(a100: Cluster, gpt_22b: Shape) -> None:
    gpu = committed().machine(a100, ERAS["2022"])
    alone, shared = (
        passes(Slice(gpt_22b, 4, 8, shards), a100, gpu, ERAS["2022"]) for shards in (1, 8)
    )
    assert shared.forward.vector_operators < 0.5 * alone.forward.vector_operators
    for field in fields(shared.forward):
        if field.name != "vector_operators":
            assert getattr(shared.forward, field.name) == getattr(alone.forward, field.name)


def test_a_gather_within_a_server_runs_over_nvlink_alone(a100: Cluster) -> None:
    inside = gather_seconds(a100, 8, 8, 8e9)
    assert inside == pytest.approx(7e9 / (0.75 * 300e9), rel=1e-3)
    # Of four servers, each brings in three quarters through its eight network ports.
    outside = gather_seconds(a100, 32, 8, 8e9)
    assert outside == pytest.approx(max(6e9 / (8 * 0.8 * 25e9), 7.75e9 / (0.75 * 300e9)), rel=1e-3)
    assert gather_seconds(a100, 1, 1, 8e9) == 0


def test_one_gpu_per_server_gathers_over_the_network(a100: Cluster) -> None:
    assert gather_seconds(a100, 4, 1, 4e9) == pytest.approx(3e9 / (0.8 * 25e9), rel=1e-3)
    assert transfer_seconds(a100, 1e9, leaves_node=True) > transfer_seconds(a100, 1e9, False)
