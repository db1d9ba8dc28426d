"""The reference implementation keeps the laws of the fabric on programs drawn at random."""

from __future__ import annotations

from contextlib import suppress
from random import Random

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tests.wse.fabric.flows import SIDES, Flow
from tests.wse.fabric.programs import counting_program, random_machine, random_program
from wse.fabric import F32, RAMP, WSE2, WSE3, Machine, Program
from wse.fabric.assemble import assemble, from_bits
from wse.fabric.errors import CycleLimitError, DeadlockError, MemoryRangeError
from wse.fabric.examples import broadcast, chain_reduce, one_wavelet
from wse.fabric.reference.run import Mesh, run
from wse.fabric.tables import I32

SEEDS = st.integers(0, 10**9)
CYCLES = 5000


def certain_program(make, seed: int) -> tuple[Machine, Program, list[Flow]]:
    random = Random(seed)
    machine = random_machine(random)
    program, flows = make(random, machine)
    assume(all(flow.is_certain for flow in flows))
    return machine, program, flows


def test_a_word_takes_the_cycles_that_the_specification_says():
    # Issue at the task's start, 2 descriptors and the start of the vector unit, a step; then the
    # ramp, one hop, the ramp, and a step of the receiver; a synchronous operation's finish.
    m = WSE2
    start = m.task_start_cycles + 2 * m.descriptor_load_cycles + m.vector_start_cycles
    way = 1 + m.ramp_cycles + m.hop_cycles + m.ramp_cycles
    assembled = assemble(one_wavelet(3.5), m)
    outcome = run(assembled, m, CYCLES)
    assert outcome.cycles == start + way + 1 + m.vector_finish_cycles
    assert from_bits(outcome.memory, F32).tolist() == [3.5, 3.5]


@pytest.mark.parametrize("machine", [WSE2, WSE3], ids=lambda machine: machine.name)
def test_a_chain_reduce_takes_its_closed_form_and_a_launch(machine):
    values = np.random.default_rng(0).random((6, 40)).astype(np.float32)
    outcome = run(assemble(chain_reduce(values), machine), machine, CYCLES)
    total = values[5]
    for row in values[4::-1]:
        total = total + row
    assert (from_bits(outcome.memory, F32).reshape(6, 40)[0] == total).all()
    hop = 2 * machine.ramp_cycles + 1 + machine.hop_cycles
    words = 40 if machine is WSE2 else 40 * 9 / 8
    assert words + 5 * hop <= outcome.cycles <= words + 5 * hop + 20


def test_a_broadcast_reaches_every_pe():
    words = np.arange(20.0)
    outcome = run(assemble(broadcast(5, words), WSE3), WSE3, CYCLES)
    assert (from_bits(outcome.memory, F32).reshape(5, 20) == words).all()


def test_a_run_has_exactly_the_cycles_that_it_needs():
    assembled = assemble(one_wavelet(), WSE2)
    needed = run(assembled, WSE2, CYCLES).cycles
    assert run(assembled, WSE2, needed + 1).cycles == needed
    with pytest.raises(CycleLimitError):
        run(assembled, WSE2, needed - 1)


@settings(max_examples=40, deadline=None)
@given(SEEDS)
def test_no_wavelet_is_lost_or_made_and_order_is_kept(seed):
    machine, program, flows = certain_program(counting_program, seed)
    assembled = assemble(program, machine)
    outcome = run(assembled, machine, CYCLES)
    received = from_bits(outcome.memory, I32)
    for flow in flows:
        for (x, y), node in flow.nodes.items():
            pe = y * program.width + x
            if not node.delivers:
                continue
            numbers = flow.passing[(x, y), RAMP]
            data = [number for number in numbers if not flow.wavelets[number]]
            code = assembled.codes[assembled.code_of[pe]]
            name = f"{flow.colour.name} received"
            [place] = [array for array in code.arrays if array.name == name]
            first = assembled.memory_first[pe] + place.first
            assert received[first : first + len(data)].tolist() == data


@settings(max_examples=40, deadline=None)
@given(SEEDS)
def test_every_link_carries_what_the_routes_send_over_it(seed):
    machine, program, flows = certain_program(random_program, seed)
    try:
        outcome = run(assemble(program, machine), machine, CYCLES)
    except (DeadlockError, MemoryRangeError):
        return
    expected = np.zeros_like(outcome.link_wavelets)
    ports = {side: port for port, side in enumerate([*SIDES, RAMP])}
    for flow in flows:
        for ((x, y), side), numbers in flow.passing.items():
            expected[y * program.width + x, ports[side]] += len(numbers)
    assert (outcome.link_wavelets[:, :5] == expected).all()


@settings(max_examples=20, deadline=None)
@given(SEEDS)
def test_queues_never_hold_more_than_their_places(seed):
    machine, program, _ = certain_program(random_program, seed)
    mesh = Mesh(assemble(program, machine), machine)
    queues = mesh.queues()
    with suppress(MemoryRangeError):
        for cycle in range(200):
            mesh.advance(cycle)
            assert all(len(queue.wavelets) <= queue.places for queue in queues)
