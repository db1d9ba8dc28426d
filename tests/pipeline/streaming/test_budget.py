"""A training larger than its memory stays within it, from the first byte to the last."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.models.shape import parameter_count
from pipeline.streaming.plan import minimum_streaming_bytes
from tests.pipeline.streaming.processes import REPOSITORY
from tests.pipeline.streaming.runs import MEBIBYTE, give_speed

THREADS = 2
pytestmark = pytest.mark.slow

LARGE = [
    "model=nano_gptneox",
    "model.layers=20",
    "model.hidden=768",
    "model.heads=12",
    "model.feed_forward=3072",
    "model.vocabulary=512",
    "model.initializer_range=0.02",
    "train.execution=streaming",
    "train.steps=2",
    "train.warmup_steps=0",
    "train.sequence_length=64",
    "train.global_batch=2",
    "train.validate_every=2",
    "train.validation_sequences=2",
    "train.precision=bf16",
]
"""142 million parameters: with AdamW 1.7 GB of weights and state."""


MEASURING = """
import os, subprocess, sys
process = subprocess.Popen(sys.argv[1:], stdout=sys.stderr)
_, status, usage = os.wait4(process.pid, 0)
print(usage.ru_maxrss * 1024)
sys.exit(os.waitstatus_to_exitcode(status))
"""


def run_measured(command: list[str]) -> tuple[str, int]:
    """Run a process to its good end; its output, and the kernel's own count of its peak bytes.

    That count begins with what the parent takes, which is much here: so a small process measures.
    """
    done = subprocess.run(
        [sys.executable, "-c", MEASURING, *command],
        cwd=REPOSITORY,
        env=os.environ | {"OMP_NUM_THREADS": str(THREADS)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stderr, int(done.stdout)


@pytest.mark.parametrize(
    ("more_bytes", "train"),
    [
        pytest.param(
            0,
            ["train.optimizer=adamw", "train.clip_by=update", "train.micro_batch=2"],
            marks=pytest.mark.long,
        ),
        pytest.param(
            0,
            ["train.optimizer=adamw", "train.clip_by=norm", "train.micro_batch=1"],
            marks=pytest.mark.long,
        ),
        (0, ["train.optimizer=adafactor", "train.clip_by=norm", "train.micro_batch=1"]),
        (300 * MEBIBYTE, ["train.optimizer=adamw", "train.clip_by=update", "train.micro_batch=1"]),
    ],
    ids=["adamw-update", "adamw-norm-accumulated", "adafactor-norm", "adamw-and-room-for-a-cache"],
)
def test_the_peak_is_within_the_budget(job, overrides, tmp_path, more_bytes, train):
    config = job("train", *LARGE, *train).config
    least = minimum_streaming_bytes(config.model, config.train)
    budget_bytes = math.ceil((least + more_bytes) / MEBIBYTE) * MEBIBYTE
    memory = f"device.memory={budget_bytes // MEBIBYTE}MiB"
    command = [sys.executable, "-m", "pipeline.train", *overrides, *LARGE, *train, memory]
    give_speed(tmp_path / "results", THREADS)
    out, peak_bytes = run_measured(command)
    metrics = read_metrics(tmp_path / "results" / "tiny")
    assert metrics["memory_budget_bytes"] == budget_bytes
    assert metrics["peak_rss_bytes"] <= budget_bytes, out
    assert peak_bytes <= budget_bytes, out
    # What the budget says would mean little for a model that fits into it.
    if config.train.optimizer.value == "adamw":
        stored_bytes = 12 * parameter_count(config.model)
        assert metrics["store_bytes"] >= stored_bytes
        assert metrics["bytes_read"] >= stored_bytes
        assert stored_bytes > budget_bytes


def read_metrics(folder: Path) -> dict[str, int]:
    return json.loads((folder / "metrics.json").read_text())
