from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.wse.cases import RELEASES, ROUNDING, setup, shapes
from wse.choice import ways
from wse.losses import seconds_by_use
from wse.step import step
from wse.transformer import Shape


@settings(deadline=None, max_examples=40)
@given(
    shapes(), st.integers(1, 24), st.sampled_from(RELEASES), st.floats(0.1, 1), st.integers(1, 4)
)
def test_losses_add_up_and_none_is_a_gain(
    shape: Shape, batch: int, release: str, density: float, systems: int
) -> None:
    made = setup(shape, release=release, density=density, systems=systems)
    for way in list(ways(made, batch))[:8]:
        found = step(made, way)
        uses = seconds_by_use(made, found)
        assert sum(uses.values()) == pytest.approx(found.seconds)
        assert min(uses.values()) >= -ROUNDING * found.seconds


def test_sizes_that_divide_lose_nothing_to_padding() -> None:
    # 750 heads of one feature on 750 PEs; 994 tokens on as many. Attention is not sparse.
    shape = Shape("any", "gptj", 4, 750, 750, 1500, 750, 994, 994)
    for density in (1.0, 0.5):
        made = setup(shape, density=density)
        found = next(step(made, way) for way in ways(made, 1) if way.layout.hidden_axis == "width")
        uses = seconds_by_use(made, found)
        assert uses["padding"] == pytest.approx(0, abs=ROUNDING * found.seconds)
        assert uses["useful"] > 0


def test_recomputation_costs_a_forward_pass_of_the_blocks(ladder: dict[str, Shape]) -> None:
    made = setup(ladder["gptneox_20b"])
    once, twice = (
        next(step(made, way) for way in ways(made, 4) if way.policy.name == name)
        for name in ("keep_inputs", "groups")
    )
    uses = [seconds_by_use(made, one) for one in (once, twice)]
    assert uses[1]["recomputation"] == pytest.approx(2 * uses[0]["recomputation"])
