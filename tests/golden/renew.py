"""The golden plans: every model of the ladder on every wafer of conf/wafer/.

    python -m tests.golden.renew

writes ``tests/golden/plans.json`` anew, for a change that is meant to change plans; its diff then
shows what became of them. Floats have six significant digits.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

from pipeline.config import compose
from pipeline.described_hardware import known_wafers
from pipeline.partition import plan_model
from pipeline.schema import Config

FILE = Path(__file__).parent / "plans.json"
LADDER = (
    "cerebras_gpt_111m",
    "cerebras_gpt_256m",
    "cerebras_gpt_590m",
    "cerebras_gpt_1p3b",
    "cerebras_gpt_2p7b",
    "cerebras_gpt_6p7b",
    "cerebras_gpt_13b",
    "gpt3_xl",
    "gptj_6b",
    "gpt3_13b",
    "gptneox_20b",
)


@cache
def _config(model: str) -> Config:
    return compose([f"model={model}"])


def golden_plan(model: str, wafer: str) -> dict[str, Any]:
    """The plan of a model on a wafer at the defaults of conf/partition/."""
    config = _config(model)
    return plan_model(config.model, known_wafers()[wafer], config.partition)


def kept(plan: dict[str, Any]) -> dict[str, Any]:
    """What the file keeps of a plan: all, but of the GPUs only how many."""
    gpus = {f"{one['cluster']}, {one['era']}": one["gpus"] for one in plan["gpus"]}
    return plan | {"gpus": gpus}


def rounded(value: Any) -> Any:
    """``value`` with six significant digits in every float."""
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, dict):
        return {key: rounded(inner) for key, inner in value.items()}
    return [rounded(inner) for inner in value] if isinstance(value, list) else value


def text(plans: dict[str, dict[str, Any]]) -> str:
    """JSON with a line for each field of a plan."""
    made = []
    for name, plan in plans.items():
        fields = (f"  {json.dumps(key)}: {json.dumps(value)}" for key, value in plan.items())
        made.append(f" {json.dumps(name)}: {{\n" + ",\n".join(fields) + "\n }")
    return "{\n" + ",\n".join(made) + "\n}\n"


def main() -> None:
    """Write the file."""
    plans = {
        f"{model} on {wafer}": rounded(kept(golden_plan(model, wafer)))
        for model in LADDER
        for wafer in known_wafers()
    }
    FILE.write_text(text(plans))
    print(f"{FILE}: {len(plans)} plans")


if __name__ == "__main__":
    main()
