"""The closed forms are near the simulation over a grid of sizes, and exact where they say so."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from wse.fabric import WSE2, WSE3, Machine
from wse.fabric.library import closed_forms
from wse.fabric.library.broadcast import broadcast
from wse.fabric.library.experiment import Experiment
from wse.fabric.library.mesh_gemm import mesh_gemm
from wse.fabric.library.reduce import chain_reduce, two_phase_reduce
from wse.fabric.library.streaming_backward import streaming_backward
from wse.fabric.library.streaming_layer import streaming_layer
from wse.fabric.library.summa import pipelined_summa
from wse.fabric.run import run

NEAR = 0.10


def cycles(experiment: Experiment, machine: Machine) -> int:
    return run(experiment.program, machine).cycles


@pytest.mark.parametrize(("pes", "words"), [(8, 16), (64, 16), (100, 300), (300, 64), (16, 2000)])
def test_collectives(pes: int, words: int) -> None:
    group = {8: 2, 64: 8, 100: 20, 300: 15, 16: 4}[pes]
    for machine, near in ((WSE2, 1e-9), (WSE3, NEAR)):
        simulated = (
            cycles(broadcast(pes, 1, words), machine),
            cycles(chain_reduce(pes, 1, words), machine),
            cycles(two_phase_reduce(pes, 1, words, group=group), machine),
        )
        expected = (
            closed_forms.broadcast_cycles(machine, pes, words),
            closed_forms.chain_reduce_cycles(machine, pes, words),
            closed_forms.two_phase_reduce_cycles(machine, pes, words, group),
        )
        assert simulated == pytest.approx(expected, rel=near)


@pytest.mark.parametrize("tile", [5, 6, 12, 20])
def test_steps_of_products(tile: int) -> None:
    def step(product: Callable[..., Experiment], machine: Machine) -> float:
        small, large = (cycles(product(pes, pes, tile, fixed_cycles=0), machine) for pes in (4, 6))
        return (large - small) / 2

    for machine in (WSE2, WSE3):
        assert step(mesh_gemm, machine) == pytest.approx(
            closed_forms.mesh_gemm_step_cycles(machine, tile), rel=0.05
        )
        assert step(pipelined_summa, machine) == pytest.approx(
            closed_forms.pipelined_summa_step_cycles(machine, tile), rel=NEAR
        )


@pytest.mark.parametrize(("tokens", "features"), [(16, 4), (64, 4), (128, 8), (32, 16), (250, 3)])
def test_outputs_of_the_weight_streaming_layer(tokens: int, features: int) -> None:
    def output(layer: Callable[..., Experiment], machine: Machine) -> float:
        narrow, wide = (
            cycles(layer(width, 3, tokens, features=features), machine) for width in (4, 8)
        )
        return (wide - narrow) / (4 * features)

    for machine in (WSE2, WSE3):
        assert output(streaming_layer, machine) == pytest.approx(
            closed_forms.streaming_output_cycles(machine, features, tokens), rel=NEAR
        )
        assert output(streaming_backward, machine) == pytest.approx(
            closed_forms.streaming_backward_output_cycles(machine, features, tokens), rel=NEAR
        )
