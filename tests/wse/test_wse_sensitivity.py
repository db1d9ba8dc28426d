from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.wse.cases import ROUNDING, WSE2, best, setup, shapes
from wse.choice import best_step
from wse.sensitivity import RESOURCES, gains
from wse.transformer import Shape


@settings(deadline=None, max_examples=20)
@given(shapes(), st.integers(1, 60))
def test_more_of_a_resource_is_never_a_loss(shape: Shape, batch: int) -> None:
    made = setup(shape)
    found = best_step(made, batch)
    if found is not None:
        more = gains(made, batch, found)
        assert list(more) == list(RESOURCES)
        assert min(more.values()) >= -ROUNDING


def test_gains_name_what_binds(ladder: dict[str, Shape]) -> None:
    shape = ladder["cerebras_gpt_13b"]
    changes: dict[str, dict[str, float]] = {
        "io_bandwidth": {"io_bytes_per_second": 1e8},
        "parameter_store": {"parameter_store_bytes_per_second": 1e8},
    }
    for name, change in changes.items():
        made = setup(shape, replace(WSE2, **change))
        more = gains(made, 120, best(made))
        assert max(more, key=lambda one: more[one]) == name
        assert more[name] == pytest.approx(0.1, abs=0.01)
    made = setup(shape)
    more = gains(made, 120, best(made))
    assert 0.08 < more["clock"] <= 0.1 + ROUNDING  # all but the fixed cost and the links follow it
    assert more["io_bandwidth"] < 0.01
