"""Numbers as a person reads them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.reporting import humane


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (7, "7"),
        (999, "999"),
        (1_010_000, "1.01 M"),
        (999_999, "1.00 M"),
        (20_554_567_680, "20.6 B"),
        (None, humane.MISSING),
    ],
)
def test_counts_carry_three_digits_and_a_unit(value, text):
    assert humane.count(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0451, "45.1 ms"),
        (3.2, "3.20 s"),
        (59.7, "1 min"),
        (252, "4 min 12 s"),
        (3599.7, "1 h"),
        (3780, "1 h 3 min"),
        (190_000, "2 d 5 h"),
        (63_115_200, "2.00 years"),
        (5.7e9, "181 years"),
        (None, humane.MISSING),
    ],
)
def test_durations_carry_the_two_largest_units(seconds, text):
    assert humane.duration(seconds) == text


def test_bytes_energy_and_percent_have_their_units():
    assert humane.size(39.94e9) == "39.9 GB"
    assert humane.energy(0.00456) == "4.56 mJ"
    assert humane.percent(0.1234) == "12.3 %"
    assert humane.fixed(4.5601) == "4.560"


@given(st.floats(min_value=1e-3, max_value=1e15))
def test_a_count_is_never_off_by_more_than_its_rounding(value):
    number, _, unit = humane.count(value).partition(" ")
    factor = {"": 1.0, "k": 1e3, "M": 1e6, "B": 1e9, "T": 1e12}[unit]
    assert float(number.replace(",", "")) * factor == pytest.approx(value, rel=0.006)


@given(st.floats(min_value=60, max_value=6e7))
def test_a_long_duration_is_never_off_by_more_than_its_rounding(seconds):
    units = {"s": 1, "min": 60, "h": 3600, "d": 86400}
    words = humane.duration(seconds).split()
    total = sum(int(n) * units[u] for n, u in zip(words[::2], words[1::2], strict=True))
    smallest = {"min": 1, "h": 60, "d": 3600}[words[1]]
    assert abs(total - seconds) <= smallest / 2 + 1e-6
