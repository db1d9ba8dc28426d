"""Engine and reference agree on every cycle, cell, count and error of programs drawn at random.

``python -m tests.wse.fabric.agree --programs 5000`` compares more.
"""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.wse.fabric.agree import compare


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 10**9))
def test_engine_and_reference_agree(number: int) -> None:
    _, difference = compare(number)
    assert difference is None
