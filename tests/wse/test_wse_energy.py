from __future__ import annotations

import pytest

from tests.wse.cases import best, setup
from wse.energy import SHARES, step_joules
from wse.hardware import Wafer
from wse.transformer import Shape


def test_energy_lies_between_rest_and_peak(
    ladder: dict[str, Shape], wafers: dict[str, Wafer]
) -> None:
    for wafer in wafers.values():
        for shape in ladder.values():
            made = setup(shape, wafer)
            found = best(made)
            joules = step_joules(made, found)
            assert set(joules) == {"idle", *SHARES}
            assert min(joules.values()) > 0
            assert joules["idle"] == pytest.approx(wafer.system_watts_idle * found.seconds)
            assert sum(joules.values()) <= wafer.system_watts_peak * found.seconds


def test_the_shares_of_the_rise_are_a_whole() -> None:
    assert sum(SHARES.values()) == pytest.approx(1)


def test_a_sparse_step_takes_less_energy(ladder: dict[str, Shape]) -> None:
    dense, sparse = (setup(ladder["gptj_6b"], density=density) for density in (1.0, 0.3))
    assert sum(step_joules(sparse, best(sparse)).values()) < 0.6 * sum(
        step_joules(dense, best(dense)).values()
    )
