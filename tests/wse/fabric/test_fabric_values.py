"""What vector operations compute, bit for bit."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from wse.fabric import F16, I16, WSE2, WSE3, Program
from wse.fabric.examples import broadcast, chain_reduce
from wse.fabric.run import run

RANDOM = np.random.default_rng(7)


def test_values_do_not_depend_on_timing() -> None:
    values = RANDOM.normal(size=(7, 50)).astype(np.float16)
    slow = replace(WSE3, router_queue_words=1, input_queue_words=1, output_queue_words=1)
    quick, slower = run(chain_reduce(values, F16), WSE2), run(chain_reduce(values, F16), slow)
    assert slower.cycles > quick.cycles
    assert np.array_equal(quick.array("x", x=0), slower.array("x", x=0))


def test_fp16_arithmetic_is_numpys() -> None:
    size = 400
    program = Program(1, 1)
    code = program.code("all")
    a, b, c = (RANDOM.normal(scale=30, size=size).astype(np.float16) for _ in range(3))
    a[:4], b[:4] = [65504, 6e-8, -0.0, np.inf], [65504, 6e-8, 0.0, 1]
    x, y, z = (code.array(name, size, F16, v) for name, v in (("a", a), ("b", b), ("c", c)))
    out = {name: code.array(name, size, F16) for name in ("sum", "product", "fma", "largest")}
    with code.main():
        code.add(out["sum"], x, y)
        code.multiply(out["product"], x, y)
        code.multiply_add(out["fma"], z, x, y)
        code.maximum(out["largest"], x, y)
    result = run(program, WSE2)
    with np.errstate(over="ignore"):
        wide = c.astype(np.float32) + a.astype(np.float32) * b.astype(np.float32)
        expected = {"sum": a + b, "product": a * b, "fma": wide.astype(np.float16)}
    expected["largest"] = np.maximum(a, b)
    for name, values in expected.items():
        got = result.array(name, x=0, y=0)
        assert np.array_equal(got.view(np.uint16), values.view(np.uint16)), name


def test_integers_wrap() -> None:
    program = Program(1, 1)
    code = program.code("all")
    x = code.array("x", 2, I16, [32767, -5])
    y, count = code.array("y", 2, I16), code.register("count", values=2**31 - 1)
    with code.main():
        code.add(y, x, 1)
        code.set(count, count + 1)
    result = run(program, WSE2)
    assert result.array("y", x=0, y=0).tolist() == [-32768, -4]
    assert result.register(count, x=0, y=0) == -(2**31)


def test_rows_are_a_matrix_product() -> None:
    n = 5
    a, b = (RANDOM.normal(size=(n, n)).astype(np.float32) for _ in range(2))
    program = Program(1, 1)
    code = program.code("all")
    x, y = code.array("a", n * n, values=a.ravel("F")), code.array("b", n * n, values=b.ravel("F"))
    z = code.array("c", n * n)
    with code.main():
        code.multiply_add(
            z.at(0, n, row=n),
            z.at(0, n, row=n),
            x.at(0, n, plane=n),
            y.at(0, row=n, plane=1),
            rows=(n, n),
        )
    result = run(program, WSE3)
    product = result.array("c", x=0, y=0).reshape(n, n).T
    assert product == pytest.approx(a @ b, rel=1e-5)
    # Each row of 5 fp32 elements at half an element a cycle: 10 cycles.
    assert result.cycles == WSE3.task_start_cycles + 4 + 2 + 10 * n * n + 1


@pytest.mark.parametrize("part", range(4))
def test_every_fp16_travels_unchanged(part: int) -> None:
    bits = np.arange(part << 14, (part + 1) << 14, dtype=np.uint16)
    values = bits.view(np.float16)
    got = run(broadcast(2, values, F16), WSE2).array("x", x=1, y=0)
    number = ~np.isnan(values)
    assert np.array_equal(got.view(np.uint16)[number], bits[number])
    assert np.isnan(got[~number]).all()


def test_fp32_rounds_to_the_nearest_fp16() -> None:
    """Ties, subnormals, and what is too large, among numbers of all sizes."""
    halves = RANDOM.integers(0, 0x7C00, 2000, dtype=np.uint16)
    ties = (
        halves.view(np.float16).astype(np.float64)
        + np.nextafter(halves.view(np.float16), np.float16(np.inf)).astype(np.float64)
    ) / 2
    scales = RANDOM.normal(size=3000) * 2.0 ** RANDOM.integers(-30, 18, 3000)
    numbers = np.concatenate([ties, scales, [65519.9, 65520, -65520, 0.0, -0.0]])
    values = np.nan_to_num(numbers).astype(np.float32)
    program = Program(1, 1)
    code = program.code("all")
    x = code.array("x", len(values), values=values)
    half = code.array("half", len(values), F16)
    with code.main():
        code.move(half, x)
    got = run(program, WSE2).array(half, x=0, y=0)
    with np.errstate(over="ignore"):
        assert np.array_equal(got.view(np.uint16), values.astype(np.float16).view(np.uint16))
