"""Prints what writing and reading a model part by part adds to the process's peak memory, in bytes.

    python tests/pipeline/models/peak_of_parts.py FOLDER

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
from pipeline.machine import peak_rss_bytes
from pipeline.models.huggingface import export_parts, read_parts
from pipeline.schema import ModelConfig
from pipeline.streaming.layout import parameter_shapes

WIDE = ModelConfig(
    name="wide",
    family=Family.gptneox,
    layers=10,
    hidden=1024,
    heads=16,
    feed_forward=4096,
    vocabulary=2000,
    positions=64,
    rotary_dimensions=16,
)
SMALL = replace(WIDE, name="small", layers=1, hidden=64, feed_forward=64)


def drawn_parts(model: ModelConfig) -> Iterator[tuple[str, dict[str, Tensor]]]:
    """Parts that exist one at a time."""
    for part, shapes in parameter_shapes(model).items():
        yield part, {name: torch.rand(shape) for name, shape in shapes.items()}


def write(model: ModelConfig, folder: Path) -> int:
    """Export in several files; return the peak so far."""
    export_parts(drawn_parts(model), model, folder / model.name, shard_bytes=200_000_000)
    return peak_rss_bytes()


def read(model: ModelConfig, folder: Path) -> int:
    """Read every part and let go of it; return the peak so far."""
    for _, tensors in read_parts(model, folder / model.name):
        del tensors
    return peak_rss_bytes()


def main(folder: Path) -> None:
    """Do both with a small model first: what is loaded only once does not count."""
    write(SMALL, folder)
    before = read(SMALL, folder)
    exporting = write(WIDE, folder) - before
    reading = read(WIDE, folder) - before
    sizes = [
        [4 * torch.Size(shape).numel() for shape in shapes.values()]
        for shapes in parameter_shapes(WIDE).values()
    ]
    peaks = {"exporting": exporting, "reading": reading}
    peaks |= {"part": max(sum(part) for part in sizes), "tensor": max(max(s) for s in sizes)}
    print(json.dumps(peaks | {"model": sum(sum(part) for part in sizes)}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
