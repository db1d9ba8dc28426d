"""The law finds what made the data, and its band says how little three points know."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.reporting.scaling import CONFIDENCE, fit_scaling_law

THREE = np.array([1e6, 3e6, 1e7])
EIGHT = np.geomspace(1e6, 1e9, 8)
FAR = np.array([2e10])


@given(a=st.floats(1.0, 100.0), b=st.floats(0.01, 0.5))
def test_exact_power_laws_are_recovered_and_carried_on(a, b):
    law = fit_scaling_law(THREE, a * THREE**-b)
    assert law.factor == pytest.approx(a, rel=1e-6)
    assert law.exponent == pytest.approx(b, rel=1e-6, abs=1e-9)
    assert law.irreducible == 0
    assert law.loss(FAR) == pytest.approx(a * FAR**-b, rel=1e-6)


@given(a=st.floats(50.0, 1000.0), b=st.floats(0.25, 0.5), e=st.floats(0.5, 3.0))
def test_an_irreducible_loss_is_recovered_from_enough_sizes(a, b, e):
    law = fit_scaling_law(EIGHT, e + a * EIGHT**-b)
    assert law.irreducible == pytest.approx(e, rel=1e-3)
    assert law.exponent == pytest.approx(b, rel=1e-2)


@pytest.mark.parametrize(("sizes", "irreducible"), [(THREE, 0.0), (EIGHT, 1.7)])
def test_the_band_covers_a_new_model_as_often_as_it_claims(sizes, irreducible):
    random = np.random.default_rng(0)

    def observed(at):
        return (irreducible + 400 * at**-0.34) * np.exp(random.normal(0, 0.01, at.shape))

    hits = 0
    for _ in range(300):
        law = fit_scaling_law(sizes, observed(sizes))
        low, high = law.band(FAR)
        hits += low[0] <= observed(FAR)[0] <= high[0]
    assert hits / 300 == pytest.approx(CONFIDENCE, abs=0.04)


def test_the_band_widens_beyond_the_measured_sizes():
    law = fit_scaling_law(THREE, np.array([5.2, 4.8, 4.3]))
    low, high = law.band(np.array([3e6, 1e8, 1e10]))
    widths = np.log(high / low)
    assert widths[0] < widths[1] < widths[2]


def test_fewer_than_three_sizes_make_no_law():
    assert fit_scaling_law(THREE[:2], np.array([5.0, 4.0])) is None
