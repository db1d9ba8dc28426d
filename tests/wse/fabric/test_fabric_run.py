"""What programs do: routes, switches, filters, tasks, loops."""

from __future__ import annotations

import numpy as np
import pytest

from wse.fabric import (
    EAST,
    F16,
    F32,
    I32,
    NORTH,
    RAMP,
    SOUTH,
    WEST,
    WSE2,
    WSE3,
    WSE3_SIMULATOR,
    Filter,
    Machine,
    Program,
)
from wse.fabric.examples import broadcast, one_wavelet
from wse.fabric.run import run
from wse.fabric.tables import DType

RANDOM = np.random.default_rng(7)


@pytest.mark.parametrize("machine", [WSE2, WSE3, WSE3_SIMULATOR], ids=lambda m: m.name)
def test_one_wavelet_arrives(machine: Machine) -> None:
    result = run(one_wavelet(3.25), machine)
    assert result.array("x").tolist() == [[[3.25], [3.25]]]
    assert result.link_wavelets[0].tolist() == [[0, 0, 1, 0, 0, 1], [0, 0, 0, 0, 1, 0]]


@pytest.mark.parametrize("dtype", [F16, F32])
def test_broadcast_reaches_all(dtype: DType) -> None:
    values = RANDOM.normal(size=33).astype(dtype.numpy)
    result = run(broadcast(9, values, dtype), WSE2)
    assert np.array_equal(result.array("x", y=0), np.tile(values, (9, 1)))
    # Two fp16 elements share a wavelet; the last one is half empty.
    assert result.link_wavelets[0, 0, 2] == (17 if dtype == F16 else 33)


def test_loops_conditions_registers_and_strides() -> None:
    """Each PE sums every second element up to its own column, by a loop and by one reduction."""
    program = Program(4, 1)
    code = program.code("all")
    x = code.array("x", 8, values=np.arange(8))
    total, at_once = code.array("total", 1), code.array("at_once", 1)
    column = code.register("column", values=program.x)
    with code.main():
        with code.loop(column) as i, code.when(i.differs(1)):
            code.add(total[0], total[0], x.at(i + 4))
        code.add(at_once[0], at_once[0], x.at(0, length=column, stride=2))
    result = run(program, WSE3)
    assert result.array("total")[0, :, 0].tolist() == [0, 4, 4, 10]
    assert result.array("at_once")[0, :, 0].tolist() == [0, 0, 2, 6]


def test_a_data_task_runs_for_each_wavelet_and_a_control_task_for_its_own() -> None:
    program = Program(2, 1)
    data = program.colour("data")
    program.route(data, RAMP, EAST, x=0)
    program.route(data, WEST, RAMP, x=1)
    sender, receiver = program.code("sender", x=0), program.code("receiver", x=1)
    with sender.main():
        sender.move(data.stream(F16, per_wavelet=1), sender.array("w", 3, F16, [2, 3, 5]))
        sender.send_control(data, 7)
    x = receiver.array("x", 4, F16, [1, 10, 100, 1000])
    y, weight = receiver.array("y", 4, F16), receiver.register("weight", F16)
    last = receiver.register("last", I32)
    with receiver.data_task(data, weight):
        receiver.multiply_add(y, y, weight, x)
    with receiver.control_task(data, last):
        receiver.set(last, last + 1)
    result = run(program, WSE3)
    assert result.array("y", x=1, y=0).tolist() == [10, 100, 1000, 10000]
    assert result.register("last", x=1, y=0) == 8


def test_a_switch_advances_after_its_control_wavelet() -> None:
    """The first PE of a column gets the first words, the second PE the others."""
    program = Program(1, 3)
    data = program.colour("data")
    program.route(data, RAMP, SOUTH, y=0)
    program.switch(data, [(NORTH, RAMP), (NORTH, SOUTH)], y=1)
    program.route(data, NORTH, RAMP, y=2)
    head, tail = program.code("head", y=0), program.code("tail", y=slice(1, None))
    with head.main():
        x = head.array("x", 4, values=[1, 2, 3, 4])
        head.move(data, x[:2])
        head.send_control(data)
        head.move(data, x[2:])
    with tail.main():
        tail.move(tail.array("y", 2), data)
    result = run(program, WSE2)
    assert result.array("y", x=0, y=slice(1, None)).tolist() == [[1, 2], [3, 4]]


def test_a_filter_deals_words_out() -> None:
    """A scatter: every PE keeps two words of each eight."""
    width, words = 4, 16
    program = Program(width, 1)
    data = program.colour("data")
    program.route(data, RAMP, EAST, x=0)
    for column in range(1, width):
        onward = EAST | RAMP if column < width - 1 else RAMP
        own = Filter(limit=1, period=8, start=(8 - 2 * column) % 8)
        program.route(data, WEST, onward, x=column, filter=own)
    root, leaf = program.code("root", x=0), program.code("leaf", x=slice(1, None))
    with root.main():
        root.move(data, root.array("x", words, values=np.arange(words)))
    with leaf.main():
        leaf.move(leaf.array("y", 4), data)
    result = run(program, WSE2)
    expected = [[2, 3, 10, 11], [4, 5, 12, 13], [6, 7, 14, 15]]
    assert result.array("y", x=slice(1, None), y=0).tolist() == expected
