"""Bytes per GPU against numbers computed by hand from arXiv 2205.05198."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wse.cluster.configuration import Configuration, Recomputation
from wse.cluster.eras import ERAS
from wse.cluster.hardware import Cluster
from wse.cluster.memory import block_activation_bytes, memory_bytes, usable_bytes
from wse.transformer import Shape
from wse.validation.gpu_rows import clusters, gpu_rows

OF_2022 = ERAS["2022"]
PUBLISHED_175B = Configuration(
    tensor_parallel=8,
    pipeline_parallel=8,
    interleave=3,
    data_parallel=1,
    micro_batch=1,
    accumulation=64,
    sequence_parallel=True,
    recomputation=Recomputation.selective,
    zero_stage=0,
)


# s b h of the 22B model is 2048 x 4 x 6144 = 50,331,648 and 5 a s / h is 106 2/3; of the 175B
# model 2048 x 1 x 12288 = 25,165,824 and 80.
@pytest.mark.parametrize(
    ("model", "micro_batch", "shards", "recomputation", "by_hand"),
    [
        ("22B", 4, 1, Recomputation.none, 1_325_400_064),  # 10 + 24/8 + 106.667/8
        ("22B", 4, 8, Recomputation.none, 884_998_144),  # 34/8 + 106.667/8
        ("22B", 4, 1, Recomputation.selective, 654_311_424),  # 10 + 24/8
        ("22B", 4, 8, Recomputation.selective, 213_909_504),  # 34/8
        ("22B", 4, 1, Recomputation.full, 100_663_296),  # 2
        ("175B", 1, 1, Recomputation.none, 578_813_952),  # 10 + 24/8 + 80/8
        ("175B", 1, 8, Recomputation.none, 358_612_992),  # 34/8 + 80/8
        ("175B", 1, 8, Recomputation.selective, 106_954_752),  # 34/8
    ],
)
def test_activations_of_a_block(
    gpt_22b: Shape,
    gpt_175b: Shape,
    model: str,
    micro_batch: int,
    shards: int,
    recomputation: Recomputation,
    by_hand: int,
) -> None:
    shape = gpt_22b if model == "22B" else gpt_175b
    made = block_activation_bytes(shape, OF_2022, micro_batch, 8, shards, recomputation)
    assert made == pytest.approx(by_hand, abs=1)


def test_the_first_stage_of_the_published_175b(gpt_175b: Shape) -> None:
    made = memory_bytes(gpt_175b, OF_2022, PUBLISHED_175B)
    # 12 blocks of 12 h^2 and a table of 51200 h, split over 8 GPUs.
    parameters = (12 * 12 * 12288**2 + 51200 * 12288) / 8
    assert made.weights == pytest.approx(2 * parameters)
    assert made.gradients == pytest.approx(4 * parameters)
    assert made.optimizer == pytest.approx(12 * parameters)
    # s b h L / t x 34 x (1 + (p - 1) / (p m)), and one block whose scores are computed again.
    kept = 25_165_824 * 96 / 8 * 34 * (1 + 7 / 24)
    assert made.activations == pytest.approx(kept + 358_612_992)
    assert made.logits == 0


def test_sharing_out_states_saves_their_bytes(gpt_175b: Shape) -> None:
    copies = replace(PUBLISHED_175B, data_parallel=4, accumulation=16)
    plain, shared = (
        memory_bytes(gpt_175b, OF_2022, replace(copies, zero_stage=stage)) for stage in (0, 1)
    )
    assert shared.optimizer == pytest.approx(plain.optimizer / 4)
    assert shared.weights == plain.weights


@pytest.mark.parametrize("row", gpu_rows(), ids=lambda row: row.id)
def test_every_published_step_has_room(row: object) -> None:
    made = memory_bytes(row.shape, ERAS[row.era], row.configuration)
    assert made.total < usable_bytes(clusters()[row.cluster])


@settings(deadline=None, max_examples=60)
@given(
    era=st.sampled_from(list(ERAS.values())),
    recomputation=st.sampled_from(list(Recomputation)),
    micro_batch=st.integers(1, 8),
    stages=st.sampled_from([1, 2, 4, 8]),
    split=st.sampled_from([1, 2, 4]),
    sharded=st.booleans(),
)
def test_memory_falls_with_the_tensor_group(
    era: object,
    recomputation: Recomputation,
    micro_batch: int,
    stages: int,
    split: int,
    sharded: bool,
) -> None:
    shape = Shape("any", "gpt2", 16, 1024, 16, 4096, 50304, 2048, 2048)
    small = Configuration(split, stages, 1, 1, micro_batch, 8, sharded, recomputation, 0)
    large = replace(small, tensor_parallel=2 * split)
    assert memory_bytes(shape, era, large).total < memory_bytes(shape, era, small).total


def test_more_is_recomputed_less_is_kept(gpt_22b: Shape, a100: Cluster) -> None:
    kept = [
        block_activation_bytes(gpt_22b, OF_2022, 4, 8, 8, recomputation)
        for recomputation in Recomputation
    ]
    assert kept == sorted(kept, reverse=True)
    # Without flash attention, keeping all of 48 blocks leaves no room for the model's states.
    states = 18 * 22e9 / 8
    assert 48 * kept[0] + states > usable_bytes(a100) > 48 * kept[1] + states
