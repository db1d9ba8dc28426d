from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wse.calibration import committed
from wse.graph import Graph, Shape, training_graph
from wse.hardware import Wafer
from wse.mapping import layouts
from wse.memory import activation_bytes, bytes_per_token, intervals, largest_micro_batch

WAFER = committed().wafer

shapes = st.builds(
    lambda family, layers, heads, head_size, wide, length: Shape(
        "any",
        family,
        layers,
        heads * head_size,
        heads,
        wide * heads * head_size,
        5000,
        4096,
        length,
    ),
    st.sampled_from(["gpt2", "gptj", "gptneox"]),
    st.integers(1, 96),
    st.integers(1, 64),
    st.integers(1, 128),
    st.integers(1, 6),
    st.integers(1, 4096),
)


@given(shapes, st.integers(1, 4096), st.integers(1, 200))
def test_a_longer_sequence_never_takes_less_sram(shape: Shape, other: int, sequences: int) -> None:
    short, long = sorted((shape.sequence_length, other))
    for layout in layouts(WAFER):
        for interval in intervals(training_graph(shape)):
            taken = [
                activation_bytes(
                    WAFER,
                    training_graph(replace(shape, sequence_length=length)),
                    layout,
                    interval,
                    sequences,
                )
                for length in (short, long)
            ]
            assert taken[0] <= taken[1]


@given(shapes)
def test_the_largest_micro_batch_fits_and_one_more_does_not(shape: Shape) -> None:
    graph = training_graph(shape)
    for layout in layouts(WAFER):
        for interval in intervals(graph):
            largest = largest_micro_batch(WAFER, graph, layout, interval)
            room = WAFER.usable_sram_bytes
            assert activation_bytes(WAFER, graph, layout, interval, largest) <= room
            assert activation_bytes(WAFER, graph, layout, interval, largest + 1) > room


@pytest.fixture(scope="module")
def graph_13b(ladder: dict[str, Shape]) -> Graph:
    return training_graph(ladder["cerebras_gpt_13b"])


def test_13b_needs_recomputation_of_groups_for_its_published_micro_batch(
    graph_13b: Graph, wse2: Wafer
) -> None:
    every_block, groups = (
        max(largest_micro_batch(wse2, graph_13b, layout, interval) for layout in layouts(wse2))
        for interval in intervals(graph_13b)
    )
    assert every_block < 30  # published: 60
    assert groups == 51


def test_bytes_of_a_token_by_hand(graph_13b: Graph, wse2: Wafer) -> None:
    layout = layouts(wse2)[0]
    # 5120 features on 750 PEs: 7 slices. 7 groups of 6 blocks: 7 + 5 inputs; then query, key,
    # value, attention, residual, twice and once 4 wide, and the gradient of the output.
    assert bytes_per_token(graph_13b, layout, 6) == 2 * 7 * (12 + 5 + 8 + 4 + 1)
