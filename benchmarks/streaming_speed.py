"""Speed of streamed training beside resident training of the same model.

    python -m benchmarks.streaming_speed
    python -m benchmarks.streaming_speed --models gpt3_xl --rounds 5 --steps 6 --memory free

Both sides are the train stage by its command line, in turn, each in a fresh process and with the
page cache emptied: the same model, optimizer, micro-batch, sequence, tokens and arithmetic (bf16).
What differs is ``train.execution``; each side has as much memory as ``--memory`` says:

- ``free`` (default): what is free, as for a user who gives no budget. Nothing is computed twice;
  the store keeps what fits in memory, and writes every parameter at every step.
- ``least``: the resident side the least that it runs in, the streamed side the least with which
  transfers overlap with compute and no activation goes to disk. Both compute each layer again in
  the backward pass, and nearly all weights are read twice and written once a step.
- an amount, like ``3GiB``: of the streamed side; the resident side has what is free.

The headline is the median over the rounds of streamed / resident in tokens a second, by the median
step after the first; above 0.90 streaming costs little. All figures are *measured*.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks import comparison
from benchmarks.comparison import Measured
from benchmarks.onewafer_side import Trainer, sizes, training
from benchmarks.processes import end_on_termination
from pipeline.config import compose
from pipeline.errors import BudgetError
from pipeline.schema import Config
from pipeline.streaming.plan import (
    minimum_resident_bytes,
    minimum_streaming_bytes,
    plan_streaming,
)

TARGET = 0.90
MEBIBYTE = 2**20
EXECUTIONS = {"resident": "resident", "streamed": "streaming"}
TIMEOUT_SECONDS = 900.0
MODELS = "cerebras_gpt_111m,cerebras_gpt_590m,gpt3_xl"


def least_streamed_bytes(config: Config) -> int:
    """The smallest budget in whole MiB at which nothing but parameters goes to disk."""
    assert config.train is not None
    low = minimum_streaming_bytes(config.model, config.train) // MEBIBYTE
    high = 2 * low
    while _spills(config, high * MEBIBYTE):
        high *= 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if _spills(config, middle * MEBIBYTE) else (low, middle)
    return high * MEBIBYTE


def _spills(config: Config, budget_bytes: int) -> bool:
    assert config.train is not None
    try:
        return plan_streaming(config.model, config.train, budget_bytes).spilled_layers > 0
    except BudgetError:
        return True


def budgets(memory: str, overrides: list[str]) -> dict[str, list[str]]:
    """What each side's memory is limited to, as overrides; none where it has what is free."""
    if memory == "free":
        return {"resident": [], "streamed": []}
    if memory != "least":
        return {"resident": [], "streamed": [f"device.memory={memory}"]}
    config = compose(overrides)
    assert config.train is not None
    resident = -(-minimum_resident_bytes(config.model, config.train) // MEBIBYTE)
    return {
        "resident": [f"device.memory={resident}MiB"],
        "streamed": [f"device.memory={least_streamed_bytes(config) // MEBIBYTE}MiB"],
    }


def compare(trainer: Trainer, model: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """Measure both sides of one model in turn and print the table."""
    common = [
        f"model={model}",
        *sizes(arguments.batch, arguments.tokens, arguments.steps, arguments.optimizer),
    ]
    memory = budgets(arguments.memory, [*training(), *common])

    def side(name: str) -> Callable[[], Measured]:
        settings = [*common, f"train.execution={EXECUTIONS[name]}", *memory[name]]
        return lambda: trainer.train(settings, TIMEOUT_SECONDS)

    runs, problems = comparison.in_turn({name: side(name) for name in EXECUTIONS}, arguments.rounds)
    words = {name: " ".join(override) or "free" for name, override in memory.items()}
    title = (
        f"{model}, {arguments.optimizer}, {arguments.batch} x {arguments.tokens} tokens, bf16; "
        + ", ".join(f"{name}: {word}" for name, word in words.items())
    )
    comparison.show(comparison.table(title, runs, problems, "resident"))
    return {
        "model": model,
        "memory": words,
        "ratio": comparison.ratio(runs, "streamed", "resident"),
        "sides": comparison.as_json(runs, problems),
    }


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--models", default=MODELS, help=f"default {MODELS}")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each side (default 3)")
    parser.add_argument("--steps", type=int, default=4, help="with the untimed first (default 4)")
    parser.add_argument("--batch", type=int, default=1, help="sequences in a step (default 1)")
    parser.add_argument("--tokens", type=int, default=512, help="tokens in each (default 512)")
    parser.add_argument("--optimizer", default="adafactor", help="adafactor, adamw8bit or adamw")
    parser.add_argument("--memory", default="free", help="free (default), least or an amount")
    parser.add_argument("--folder", type=Path, default=Path(), help="on the disk to be used")
    parser.add_argument("--json", type=Path, help="also write every figure to this file")
    arguments = parser.parse_args()
    end_on_termination()
    comparison.announce()
    with tempfile.TemporaryDirectory(dir=arguments.folder.resolve(), prefix=".speed_") as folder:
        trainer = Trainer(Path(folder))
        found = [compare(trainer, model, arguments) for model in arguments.models.split(",")]
    for each in found:
        if each["ratio"] is not None:
            print(f"{each['model']}: streamed / resident {each['ratio']:.2f}, target {TARGET:.2f}")
    settings = {key: str(value) for key, value in vars(arguments).items()}
    comparison.write(arguments.json, {"settings": settings, "target": TARGET, "models": found})


if __name__ == "__main__":
    main()
