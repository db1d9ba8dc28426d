"""Published measurements of a CS-2 in training, with their sources, as the model reads them.

The files hold published values as their sources give them; what a source leaves out was filled
in by the family's usual sizes (``vocabulary``, ``positions``, a feed-forward of 4 x hidden).
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from wse.transformer import Shape

_FOLDER = Path(__file__).parent
_SIZES = (
    "layers",
    "hidden",
    "heads",
    "feed_forward",
    "vocabulary",
    "positions",
    "sequence_length",
)


@dataclass(frozen=True)
class TrainingRow:
    """A published training rate; ``fitted`` says whether the calibration may use it."""

    id: str
    release: str
    fitted: bool
    shape: Shape
    systems: int
    global_batch: int
    samples_per_second: float
    source: str

    @property
    def step_seconds(self) -> float:
        """Seconds of a step, from the published rate."""
        return self.global_batch / self.samples_per_second


@dataclass(frozen=True)
class MicroBatchRow:
    """The micro-batch of a published configuration, in sequences on one system."""

    release: str
    shape: Shape
    micro_batch: int
    source: str


def training_rows() -> list[TrainingRow]:
    """The published training rates."""
    return [
        TrainingRow(
            id=row["id"],
            release=row["release"],
            fitted=row["fitted"] == "yes",
            shape=_shape(row),
            systems=int(row["systems"]),
            global_batch=int(row["global_batch"]),
            samples_per_second=float(row["samples_per_second"]),
            source=row["source"],
        )
        for row in _read("cs2_throughput.csv")
    ]


def micro_batch_rows() -> list[MicroBatchRow]:
    """The published micro-batches."""
    return [
        MicroBatchRow(row["release"], _shape(row), int(row["micro_batch"]), row["source"])
        for row in _read("cs2_microbatch.csv")
    ]


def _read(name: str) -> Iterator[dict[str, str]]:
    with (_FOLDER / name).open(newline="") as file:
        yield from csv.DictReader(file)


def _shape(row: dict[str, str]) -> Shape:
    return Shape(row["model"], row["family"], **{size: int(row[size]) for size in _SIZES})
