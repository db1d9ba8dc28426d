from __future__ import annotations

import pytest

from wse.cost import Prices, run_cost
from wse.errors import PlanError


def test_a_run_by_hand() -> None:
    prices = Prices(dollars_per_kwh=0.1, power_usage_effectiveness=1.5, years_of_service=2.0)
    made = run_cost(7.2e9, 1e6, 1.0, 8766.0 * 2, prices)
    assert made.tokens == 7.2e9
    assert made.hours == pytest.approx(2)
    assert made.kilowatt_hours == pytest.approx(2000)
    assert made.dollars_of_energy == pytest.approx(2000 * 1.5 * 0.1)
    assert made.dollars_of_systems == pytest.approx(2)  # two of its 2 x 8766 hours


@pytest.mark.parametrize(
    ("name", "value", "wanted"),
    [
        ("dollars_per_kwh", -0.1, "0 or more"),
        ("dollars_per_kwh", float("inf"), "0 or more"),
        ("power_usage_effectiveness", 0.9, "1 or more"),
        ("power_usage_effectiveness", float("nan"), "1 or more"),
        ("years_of_service", 0.0, "more than 0"),
        ("years_of_service", -4.0, "more than 0"),
    ],
)
def test_what_is_no_price_is_refused_by_name(name: str, value: float, wanted: str) -> None:
    with pytest.raises(PlanError) as refusal:
        Prices(**{name: value})
    message = str(refusal.value)
    assert message.startswith(f"partition.prices.{name}: {value} ")
    assert message.endswith(wanted)


def test_electricity_may_be_free() -> None:
    assert run_cost(1e9, 1e6, 1.0, 1e6, Prices(dollars_per_kwh=0.0)).dollars_of_energy == 0
