"""Plans are those of plans.json; `python -m tests.golden.renew` writes it anew."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from pipeline.described_hardware import known_wafers
from tests.golden.renew import FILE, LADDER, golden_plan, kept, text

GOLDEN: dict[str, dict[str, Any]] = json.loads(FILE.read_text())


def _leaves(value: Any, at: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _leaves(inner, f"{at}.{key}")
    else:
        yield at, value


@pytest.mark.parametrize("model", LADDER)
@pytest.mark.parametrize("wafer", known_wafers())
def test_a_plan_is_the_golden_one(model: str, wafer: str) -> None:
    golden = dict(_leaves(GOLDEN[f"{model} on {wafer}"]))
    made = dict(_leaves(kept(golden_plan(model, wafer))))
    assert list(made) == list(golden)
    changed = {
        name: (golden[name], value)
        for name, value in made.items()
        if value
        != (pytest.approx(golden[name], rel=1e-5) if type(value) is float else golden[name])
    }
    assert changed == {}, "python -m tests.golden.renew writes them anew"


def test_there_is_a_golden_plan_for_every_model_on_every_wafer() -> None:
    assert list(GOLDEN) == [f"{model} on {wafer}" for model in LADDER for wafer in known_wafers()]
    assert text(GOLDEN) == FILE.read_text()
