"""Cycles of the library's programs: closed forms, and steps that do not depend on the mesh."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from wse.fabric import WSE2, WSE3, WSE3_SIMULATOR, Machine
from wse.fabric.library.all_reduce import chain_all_reduce, two_tree_all_reduce
from wse.fabric.library.broadcast import broadcast
from wse.fabric.library.experiment import Experiment
from wse.fabric.library.mesh_gemm import mesh_gemm
from wse.fabric.library.reduce import balanced_group, chain_reduce, tree_reduce, two_phase_reduce
from wse.fabric.library.relay import relay
from wse.fabric.library.streaming_layer import streaming_layer
from wse.fabric.library.summa import collectives_summa, pipelined_summa
from wse.fabric.run import run


def cycles(experiment: Experiment, machine: Machine = WSE2) -> int:
    return run(experiment.program, machine).cycles


@pytest.mark.parametrize(("pes", "words"), [(8, 16), (8, 128), (64, 16), (100, 300)])
def test_collectives_on_wse2_take_what_the_published_closed_forms_say(pes: int, words: int) -> None:
    chain = cycles(chain_reduce(pes, 1, words)) - (words + 6 * (pes - 1))
    multicast = cycles(broadcast(pes, 1, words)) - (words + pes - 1)
    assert (chain, multicast) == (10, 15)


@pytest.mark.parametrize(
    ("pes", "group", "words"), [(64, 4, 64), (64, 8, 64), (64, 8, 512), (256, 32, 100)]
)
def test_two_phase_reduce_takes_its_closed_form_for_any_group(
    pes: int, group: int, words: int
) -> None:
    form = 2 * words + 6 * (group - 1) + (pes // group - 1) * (group + 5)
    assert cycles(two_phase_reduce(pes, 1, words, group=group)) - form == 15


def test_trees_are_quick_for_few_words_and_chains_for_many() -> None:
    few, many, pes = 8, 1024, 64
    assert cycles(tree_reduce(pes, 1, few)) < cycles(chain_reduce(pes, 1, few)) / 2
    assert cycles(chain_reduce(pes, 1, many)) < cycles(tree_reduce(pes, 1, many)) / 3


@pytest.mark.parametrize(("width", "height"), [(64, 64), (100, 3), (300, 2)])
def test_trees_of_large_meshes_are_wider_and_fit_the_queues(width: int, height: int) -> None:
    experiment = tree_reduce(width, height, 4)
    experiment.check(run(experiment.program, WSE2))


def test_two_trees_beat_the_chain() -> None:
    assert (
        cycles(two_tree_all_reduce(64, 1, 8), WSE3) < cycles(chain_all_reduce(64, 1, 8), WSE3) / 2
    )


@pytest.mark.parametrize("pes", [4, 9, 120, 600, 13])
def test_balanced_groups_are_divisors_near_the_root(pes: int) -> None:
    group = balanced_group(pes)
    assert pes % group == 0
    others = [abs(size - pes**0.5) for size in range(1, pes + 1) if pes % size == 0]
    assert abs(group - pes**0.5) == min(others)


@pytest.mark.parametrize("words", [64, 512])
def test_relay_takes_the_published_law(words: int) -> None:
    for hops in (1, 4, 8):
        law = 1.001 * hops * words + 16.1 * hops + 16.5
        assert cycles(relay(hops + 1, 1, words), WSE3_SIMULATOR) == pytest.approx(law, rel=0.01)


@pytest.mark.parametrize(
    ("product", "tile", "near"),
    [(mesh_gemm, 6, 0.0), (pipelined_summa, 6, 0.01), (collectives_summa, 3, 0.01)],
)
def test_steps_do_not_depend_on_the_mesh(
    product: Callable[[int, int, int], Experiment], tile: int, near: float
) -> None:
    small, middle, large = (cycles(product(pes, pes, tile), WSE3) for pes in (4, 6, 8))
    assert large - middle == pytest.approx(middle - small, rel=near, abs=0)


def test_a_fixed_cycle_of_a_step_is_a_cycle_a_step() -> None:
    bare, with_ten = (cycles(mesh_gemm(4, 4, 6, fixed_cycles=n), WSE3) for n in (0, 10))
    assert with_ten - bare == 4 * 10


@pytest.mark.parametrize(("tokens", "features"), [(16, 4), (64, 4), (128, 4), (32, 16)])
def test_streaming_layer_takes_its_closed_form_an_output(tokens: int, features: int) -> None:
    narrow, wide = (cycles(streaming_layer(w, 3, tokens, features=features), WSE3) for w in (4, 8))
    output = (wide - narrow) / (4 * features)
    row = max(WSE3.vector_row_cycles, tokens / (WSE3.multiply_add.width16_milli / 1000))
    assert output == pytest.approx(features * row + features + tokens + 60, rel=0.06)
