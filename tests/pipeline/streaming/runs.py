"""The tiny runs of these tests, and what must be equal between two ways to the same end."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

from pipeline.files import write_json
from pipeline.machine_speed.measure import FILE_NAME, machine_key
from tests.pipeline.machine_speed.speeds import speed_of

FAMILIES = {
    "gpt2": ["model=nano_100k"],
    "gptj": ["model=nano_gptj", "model.rotary_dimensions=8"],
    "gptneox": ["model=nano_gptneox", "model.rotary_dimensions=8"],
}
OPTIMIZERS = ("adamw", "adamw8bit", "adafactor")
SMALL = [
    "model.layers=3",
    "model.hidden=32",
    "model.heads=2",
    "model.feed_forward=96",
    "model.vocabulary=512",
    "train.steps=4",
    "train.warmup_steps=2",
    "train.sequence_length=16",
    "train.global_batch=4",
    "train.micro_batch=2",
    "train.validate_every=2",
    "train.validation_sequences=6",
    "train.checkpoint_every=2",
    "train.gradient_clip=0.5",
]
"""Overrides of a training of 4 steps, of two micro-batches each."""

MEBIBYTE = 2**20
LARGEST_BYTES = 2**33
"""A budget with room for all of these runs at once."""

COMPARED = ("step", "loss", "gradient_norm", "learning_rate", "tokens", "validation_loss")


def give_speed(results: Path, threads: int = 1) -> None:
    """Let runs of so many threads know a speed of this machine, instead of measuring it."""
    results.mkdir(parents=True, exist_ok=True)
    speed = replace(speed_of(), key=machine_key(results) | {"threads": threads})
    write_json(results / FILE_NAME, speed.to_json())


def small(family: str, optimizer: str, *more: str) -> list[str]:
    """The overrides of a small run of a family and an optimizer."""
    return [*FAMILIES[family], *SMALL, f"train.optimizer={optimizer}", *more]


def history(folder: Path) -> list[dict[str, float]]:
    """The record of a run, but for the times, exactly as it was written."""
    lines = (folder / "history.jsonl").read_text().splitlines()
    return [
        {key: value for key, value in json.loads(line).items() if key in COMPARED} for line in lines
    ]


def model_files(folder: Path) -> dict[str, str]:
    """SHA-256 of each file of the exported model, by name."""
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted((folder / "model").iterdir())
    }


def left_behind(folder: Path) -> list[str]:
    """The names of all that a run left, hidden and unfinished files included.

    The timeline of the last step is left out: a process that took no step has none to draw.
    """
    paths = (path for path in folder.rglob("*") if path.stem != "timeline")
    return sorted(str(path.relative_to(folder)) for path in paths)


def metrics(folder: Path) -> dict[str, object]:
    """The run's ``metrics.json``."""
    return json.loads((folder / "metrics.json").read_text())


def assert_same_end(one: Path, other: Path) -> None:
    """Both runs ended with the same record and, bit for bit, the same model."""
    assert history(one) == history(other)
    assert model_files(one) == model_files(other)


def finite(records: list[dict[str, float]]) -> bool:
    """Whether no number of a record is infinite or not a number."""
    return all(abs(value) < float("inf") for record in records for value in record.values())
