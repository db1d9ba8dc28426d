"""What a whole run takes: hours, kilowatt-hours and dollars, at prices that are stated inputs."""

from __future__ import annotations

import math
from dataclasses import dataclass

from wse.errors import PlanError

JOULES_PER_KWH = 3.6e6
SECONDS_PER_HOUR = 3600.0
HOURS_PER_YEAR = 8766.0


@dataclass(frozen=True)
class Prices:
    """Inputs, not results: electricity, cooling's factor on it, and how long a system serves."""

    dollars_per_kwh: float = 0.12
    power_usage_effectiveness: float = 1.2
    years_of_service: float = 4.0

    def __post_init__(self) -> None:
        """Refuse what is no price: :class:`PlanError` names the setting."""
        right = {
            "dollars_per_kwh": (self.dollars_per_kwh >= 0, "0 or more"),
            "power_usage_effectiveness": (self.power_usage_effectiveness >= 1, "1 or more"),
            "years_of_service": (self.years_of_service > 0, "more than 0"),
        }
        for name, (holds, wanted) in right.items():
            value = getattr(self, name)
            if not (holds and math.isfinite(value)):
                raise PlanError(f"partition.prices.{name}: {value} is not a number of {wanted}")


@dataclass(frozen=True)
class RunCost:
    """A run of ``tokens`` tokens: hours, energy of the systems, and dollars for each of both."""

    tokens: float
    hours: float
    kilowatt_hours: float
    dollars_of_energy: float
    dollars_of_systems: float


def run_cost(
    tokens: float,
    tokens_per_second: float,
    joules_per_token: float,
    system_dollars: float,
    prices: Prices,
) -> RunCost:
    """The cost of a run; systems are written off evenly over their years of service."""
    hours = tokens / tokens_per_second / SECONDS_PER_HOUR
    kilowatt_hours = tokens * joules_per_token / JOULES_PER_KWH
    return RunCost(
        tokens=tokens,
        hours=hours,
        kilowatt_hours=kilowatt_hours,
        dollars_of_energy=(
            kilowatt_hours * prices.power_usage_effectiveness * prices.dollars_per_kwh
        ),
        dollars_of_systems=system_dollars * hours / (prices.years_of_service * HOURS_PER_YEAR),
    )
