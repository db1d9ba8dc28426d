from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.wse.cases import RELEASES, WSE2, shapes
from wse.hardware import Wafer
from wse.mapping import Layout, layouts
from wse.memory import (
    Policy,
    largest_micro_batch,
    policies,
    sram_use,
    weight_buffer_bytes,
)
from wse.transformer import Shape, training_graph
from wse.validation import MicroBatchRow, micro_batch_rows

releases = st.sampled_from(["R1.6.0", *RELEASES])
wafers_of_any_size = st.builds(
    lambda width, height, sram: replace(
        WSE2, usable_width=width, usable_height=height, sram_bytes_per_pe=sram
    ),
    st.integers(1, 1000),
    st.integers(1, 1000),
    st.integers(5_000, 200_000),
)


@given(shapes(), wafers_of_any_size, releases)
def test_the_largest_micro_batch_fits_and_one_more_does_not(
    shape: Shape, wafer: Wafer, release: str
) -> None:
    graph = training_graph(shape)
    for layout in layouts(wafer):
        for policy in policies(graph, release):
            largest = largest_micro_batch(wafer, graph, layout, policy)
            if largest:
                used = sram_use(wafer, graph, layout, policy, largest)
                assert used.total <= wafer.sram_bytes_per_pe
            assert (
                sram_use(wafer, graph, layout, policy, largest + 1).total > wafer.sram_bytes_per_pe
            )


def test_parts_of_a_byte_are_not_rounded_up_twice() -> None:
    # 5396 is no multiple of 1395: what is kept and what is worked on both end within a byte.
    shape = Shape("any", "gpt2", 2, 1395, 45, 5396, 570, 4096, 1)
    graph, policy = training_graph(shape), Policy("keep_all", 0)
    for sram in range(300_000, 301_000):
        wafer = replace(WSE2, usable_width=4000, usable_height=1, sram_bytes_per_pe=sram)
        layout = layouts(wafer)[0]
        largest = largest_micro_batch(wafer, graph, layout, policy)
        assert sram_use(wafer, graph, layout, policy, largest).total <= sram


@given(shapes(), releases, st.integers(0, 100_000))
def test_more_sram_never_holds_fewer_sequences(shape: Shape, release: str, more: int) -> None:
    graph = training_graph(shape)
    larger = replace(WSE2, sram_bytes_per_pe=WSE2.sram_bytes_per_pe + more)
    for layout in layouts(WSE2):
        for policy in policies(graph, release):
            before = largest_micro_batch(WSE2, graph, layout, policy)
            assert largest_micro_batch(larger, graph, layout, policy) >= before


@given(shapes(), st.integers(1, 4096), st.integers(1, 200), releases)
def test_a_longer_sequence_never_takes_less_sram(
    shape: Shape, other: int, sequences: int, release: str
) -> None:
    short, long = (
        training_graph(replace(shape, sequence_length=length))
        for length in sorted((shape.sequence_length, other))
    )
    for layout in layouts(WSE2):
        for policy in policies(short, release):
            taken = sram_use(WSE2, short, layout, policy, sequences).total
            assert taken <= sram_use(WSE2, long, layout, policy, sequences).total


@pytest.mark.parametrize("row", micro_batch_rows(), ids=lambda row: row.shape.name)
def test_published_micro_batches_are_explained_by_one_policy_of_the_release(
    row: MicroBatchRow,
) -> None:
    graph = training_graph(row.shape)
    (policy,) = policies(graph, row.release)
    largest = max(largest_micro_batch(WSE2, graph, layout, policy) for layout in layouts(WSE2))
    assert largest == pytest.approx(row.micro_batch, rel=0.15)


@pytest.mark.parametrize(
    ("release", "names"),
    [
        ("R1.6.0", ["groups"]),
        ("R1.7.1", ["keep_inputs"]),
        ("R1.9.2", ["keep_inputs", "groups"]),
        ("R2.0", ["keep_all", "keep_inputs", "groups", "offload"]),
    ],
)
def test_policies_of_a_release(ladder: dict[str, Shape], release: str, names: list[str]) -> None:
    found = policies(training_graph(ladder["cerebras_gpt_13b"]), release)
    assert [policy.name for policy in found] == names
    assert all(policy.interval == 6 for policy in found if policy.name == "groups")


def test_13b_needs_recomputation_of_groups_for_its_published_micro_batch(
    ladder: dict[str, Shape],
) -> None:
    graph = training_graph(ladder["cerebras_gpt_13b"])
    largest = {
        policy.name: max(
            largest_micro_batch(WSE2, graph, layout, policy) for layout in layouts(WSE2)
        )
        for policy in policies(graph, "R2.0")
    }
    assert largest["keep_all"] < 10
    assert largest["keep_inputs"] < 30
    assert 51 <= largest["groups"] <= 69  # published: 60
    assert largest["offload"] >= largest["groups"]


@pytest.mark.parametrize(
    ("policy", "kept", "working"),
    [
        # 5120 features on 750 PEs: 7 slices. All of a block is its input, query, key, value,
        # attention, residual, and twice 4 wide; its gradients are one of its output and one 4 wide.
        (Policy("keep_all", 0), 40 * (6 + 8), 1 + 4),
        (Policy("keep_inputs", 1), 40, (5 + 8) + 1 + 4),
        # The larger part of a block is its feed-forward: its input, and twice 4 wide.
        (Policy("groups", 6, in_parts=True), 7, 5 + (1 + 8) + 1 + 4),
        (Policy("offload", 1, offload=True), 2, (5 + 8) + 1 + 4),
    ],
)
def test_bytes_of_a_token_by_hand(
    ladder: dict[str, Shape], policy: Policy, kept: int, working: int
) -> None:
    graph, layout = training_graph(ladder["cerebras_gpt_13b"]), layouts(WSE2)[0]
    used = sram_use(WSE2, graph, layout, policy, 1)
    tokens = 3  # of 2048 on 994 PEs
    assert used.kept_activations == 2 * 7 * kept * tokens
    logits = 2 * 7 + -(-50257 // 750)
    assert used.working_set == 2 * max(7 * working, logits) * tokens
    assert used.moment == ("head" if logits > 7 * working else "block")


def test_two_layers_weights_lie_beside_the_activations(ladder: dict[str, Shape]) -> None:
    graph = training_graph(ladder["gptneox_20b"])
    block = max(layer.parameters for layer in graph.layers)
    assert weight_buffer_bytes(WSE2, graph) == -(-2 * 2 * block // 745_500)


def test_what_does_not_fit_is_no_sequence(ladder: dict[str, Shape]) -> None:
    graph = training_graph(ladder["gptneox_20b"])
    tiny = replace(WSE2, sram_bytes_per_pe=WSE2.code_bytes_per_pe + 1)
    for policy in policies(graph, "R2.0"):
        assert largest_micro_batch(tiny, graph, Layout(750, 994, "width"), policy) == 0
