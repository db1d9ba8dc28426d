from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wse.hardware import Wafer
from wse.mapping import Layout, layouts

sizes = st.integers(1, 2000)


def test_the_two_layouts_turn_the_axes(wse2: Wafer) -> None:
    width, height = layouts(wse2)
    assert (width.hidden_pes, width.token_pes) == (750, 994)
    assert (height.hidden_pes, height.token_pes) == (994, 750)
    assert (width.hidden_axis, height.hidden_axis) == ("width", "height")


@given(sizes, sizes, sizes, sizes)
def test_slices_hold_everything_and_none_could_be_smaller(
    across: int, along: int, features: int, tokens: int
) -> None:
    layout = Layout(across, along, "width")
    assert (layout.slices(features) - 1) * across < features <= layout.slices(features) * across
    held = layout.tokens_per_pe(tokens)
    assert (held - 1) * along < tokens <= held * along
    assert 0 <= layout.idle_share(features, tokens) < 1


def test_what_divides_leaves_nothing_idle() -> None:
    layout = Layout(750, 994, "width")
    assert layout.idle_share(1500, 994 * 3) == 0
    # 768 features on 750 PEs take two slices of each.
    assert layout.idle_share(768, 994) == pytest.approx(1 - 768 / 1500)
