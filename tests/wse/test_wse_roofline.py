"""Operators lie below their roofs, their shares make the block, their FLOPs the model's."""

from __future__ import annotations

import pytest

from wse.calibration import calibrated_wafer
from wse.graph import Layer, LayerKind
from wse.plan import Request, planned_step
from wse.roofline import WAYS, Point, Roofline, roofline
from wse.step import Setup, Step
from wse.transformer import Shape, training_graph

SHAPE = Shape("20b", "gptneox", 44, 6144, 64, 24576, 50432, 2048, 2048)
PRODUCTS = ("linear", "input_gradient", "weight_gradient", "attention")


def planned(sparsity: float = 0.0) -> tuple[Setup, Step]:
    request = Request(training_graph(SHAPE), calibrated_wafer(), 120, sparsity=sparsity)
    setup, made = planned_step(request)
    assert made is not None
    return setup, made


def block_of(setup: Setup) -> Layer:
    [block] = [layer for layer in setup.graph.layers if layer.kind is LayerKind.block]
    return block


@pytest.fixture(scope="module")
def made() -> Roofline:
    return roofline(*planned())


def point(made: Roofline, kind: str, phase: str) -> Point:
    [found] = [one for one in made.points if (one.kind, one.phase) == (kind, phase)]
    return found


def test_shares_are_those_of_a_whole_block(made: Roofline) -> None:
    assert sum(one.share for one in made.points) == pytest.approx(1.0)
    assert point(made, "linear", "forward").share > 0.3


def test_no_operator_is_above_a_roof_of_the_calibrated_wafer(made: Roofline) -> None:
    assert made.achieved <= made.peak
    for one in made.points:
        assert one.flops_per_second <= made.achieved
        for way, intensity in one.flops_per_byte.items():
            assert one.flops_per_second <= made.roof(way, intensity) * (1 + 1e-9), (one, way)


@pytest.mark.parametrize("phase", ["forward", "backward"])
def test_useful_flops_are_those_of_the_block(made: Roofline, phase: str) -> None:
    setup, step = planned()
    block, way = block_of(setup), step.way
    tokens = way.layout.tokens_per_pe(way.micro_batch * setup.graph.sequence_length)
    (forward, _), (backward, _) = setup.pass_seconds(block, way.layout, tokens)
    repeats = 1 + min(way.policy.interval, 2)
    seconds = repeats * forward + backward
    runs = repeats if phase == "forward" else 1
    flops = sum(
        one.flops_per_second * one.share * seconds / runs
        for one in made.points
        if one.phase == phase and one.kind in PRODUCTS
    )
    expected = block.forward_flops if phase == "forward" else block.backward_flops
    assert flops * made.pes == pytest.approx(expected * way.micro_batch)


def test_a_weight_that_comes_in_serves_the_tokens_of_a_micro_batch(made: Roofline) -> None:
    _, step = planned()
    tokens = step.way.micro_batch * SHAPE.sequence_length
    for kind, phase in (
        ("linear", "forward"),
        ("input_gradient", "backward"),
        ("weight_gradient", "backward"),
    ):
        by_way = point(made, kind, phase).flops_per_byte
        assert by_way["I/O links"] == pytest.approx(2 * tokens / 4), kind  # 4 bytes on the wire
        assert tuple(by_way) == WAYS
    assert "I/O links" not in point(made, "attention", "forward").flops_per_byte
    assert set(point(made, "softmax", "forward").flops_per_byte) == {"SRAM"}


def test_sparse_weights_leave_attention_as_it_is(made: Roofline) -> None:
    sparse = roofline(*planned(sparsity=0.5))
    dense = point(made, "attention", "forward").flops_per_second
    assert point(sparse, "attention", "forward").flops_per_second == pytest.approx(dense, rel=0.1)
    linear = point(sparse, "linear", "forward")
    assert linear.flops_per_second <= sparse.achieved
    assert linear.flops_per_second > 0.5 * point(made, "linear", "forward").flops_per_second
    assert linear.share < point(made, "linear", "forward").share
