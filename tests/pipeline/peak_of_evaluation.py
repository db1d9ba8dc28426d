"""Prints what evaluating a model part by part adds to the process's peak memory, in bytes.

    python tests/pipeline/peak_of_evaluation.py FOLDER float32|bfloat16

Run by a test, as a process of its own.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from pipeline.choices import Family
from pipeline.evaluation.plan import plan_streamed, resident_bytes
from pipeline.evaluation.streamed import streamed_loss
from pipeline.machine import peak_rss_bytes
from pipeline.models.huggingface import Checkpoint, export_parts
from pipeline.schema import ModelConfig
from pipeline.streaming.layout import parameter_shapes

CPU = torch.device("cpu")
SEQUENCES, BATCH, TOKENS = 16, 2, 64
GROUP_TOKENS = SEQUENCES * TOKENS // 2
WIDE = ModelConfig(
    name="wide",
    family=Family.gptneox,
    layers=12,
    hidden=1024,
    heads=16,
    feed_forward=4096,
    vocabulary=2000,
    positions=TOKENS,
    rotary_dimensions=16,
)
SMALL = replace(WIDE, name="small", layers=1, hidden=64, heads=1, feed_forward=64)


def drawn_parts(model: ModelConfig, dtype: torch.dtype) -> Iterator[tuple[str, dict[str, Tensor]]]:
    """Parts that exist one at a time."""
    for part, shapes in parameter_shapes(model).items():
        yield (
            part,
            {
                name: torch.rand(shape).to(dtype if len(shape) > 1 else torch.float32)
                for name, shape in shapes.items()
            },
        )


def evaluate(checkpoint: Checkpoint, group_tokens: int) -> int:
    """Evaluate on tokens that exist a batch at a time; return the peak so far."""
    batches = (torch.zeros(BATCH, TOKENS + 1, dtype=torch.int64) for _ in range(SEQUENCES // BATCH))
    streamed_loss(checkpoint, batches, group_tokens, CPU)
    return peak_rss_bytes()


def main(folder: Path, dtype: torch.dtype) -> None:
    """Evaluate a small model first: what is loaded only once does not count."""
    checkpoints = {}
    for model in (SMALL, WIDE):
        export_parts(drawn_parts(model, dtype), model, folder / model.name)
        checkpoints[model.name] = Checkpoint(model, folder / model.name)
    before = evaluate(checkpoints["small"], GROUP_TOKENS)
    tokens, batch_tokens = SEQUENCES * TOKENS, BATCH * TOKENS
    memory_bytes = resident_bytes(WIDE, dtype, batch_tokens)
    group_bytes = 4 * WIDE.hidden * GROUP_TOKENS
    # The plan that leaves room for just such a group.
    roomy = plan_streamed(checkpoints["wide"], tokens, batch_tokens, CPU, memory_bytes)
    planned = memory_bytes - 4 * WIDE.hidden * roomy.group_tokens + group_bytes
    plan = plan_streamed(checkpoints["wide"], tokens, batch_tokens, CPU, planned)
    added = evaluate(checkpoints["wide"], plan.group_tokens) - before
    numbers = {"added": added, "planned": planned, "whole": memory_bytes, "passes": plan.passes}
    print(json.dumps(numbers))


if __name__ == "__main__":
    main(Path(sys.argv[1]), getattr(torch, sys.argv[2]))
