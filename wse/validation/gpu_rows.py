"""Published training steps on GPU clusters, with their sources, as the cluster model reads them.

The files hold published values as their sources give them, after a first column ``id``. The rows
of llm-foundry state the number of parameters, not the shape: ``layers``, ``hidden`` and ``heads``
were added, and give that number exactly for a GPT-2 block with biases, learned positions (2048),
a tied head and a vocabulary of 50368.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from wse.cluster.configuration import Configuration, Recomputation
from wse.cluster.hardware import Cluster
from wse.transformer import Shape

_FOLDER = Path(__file__).parent
_MPT_VOCABULARY = 50368
_MPT_POSITIONS = 2048


@dataclass(frozen=True)
class GpuRow:
    """A published step: where it ran, how it was laid out, and how long it took."""

    id: str
    group: str
    cluster: str
    era: str
    shape: Shape
    configuration: Configuration
    step_seconds: float
    source: str


@cache
def clusters() -> dict[str, Cluster]:
    """The clusters of ``conf/cluster/`` by name, for programs that read no configuration."""
    described = json.loads((_FOLDER / "gpu_clusters.json").read_text())
    return {one["name"]: Cluster(**one) for one in described}


def gpu_rows() -> list[GpuRow]:
    """The published steps."""
    return [
        *map(_megatron_row, _read("gpu_megatron2022.csv")),
        *map(_llmfoundry_row, _read("gpu_llmfoundry_a100.csv")),
    ]


def _megatron_row(row: dict[str, str]) -> GpuRow:
    hidden, length = int(row["hidden"]), int(row["seq_len"])
    selective = row["mode"].startswith("selective")
    copies, micro_batch = int(row["dp"]), int(row["microbatch"])
    return GpuRow(
        id=row["id"],
        group="megatron_2022",
        cluster="a100_80gb",
        era="2022",
        shape=Shape(
            name=row["model"],
            family="gpt2",
            layers=int(row["layers"]),
            hidden=hidden,
            heads=int(row["heads"]),
            feed_forward=4 * hidden,
            vocabulary=int(row["vocab"]),
            positions=length,
            sequence_length=length,
        ),
        configuration=Configuration(
            tensor_parallel=int(row["tp"]),
            pipeline_parallel=int(row["pp"]),
            interleave=int(row["interleave"]),
            data_parallel=copies,
            micro_batch=micro_batch,
            accumulation=int(row["batch"]) // (copies * micro_batch),
            sequence_parallel=selective,
            recomputation=Recomputation.selective if selective else Recomputation.full,
            zero_stage=0,
        ),
        step_seconds=float(row["iter_time_s"]),
        source=row["source"],
    )


def _llmfoundry_row(row: dict[str, str]) -> GpuRow:
    hidden, length = int(row["hidden"]), int(row["SeqLen (T)"])
    gpus, batch = int(row["# GPUs"]), int(row["GlobalBatchSize"])
    recomputes = row["Activation Checkpointing"] == "True"
    return GpuRow(
        id=row["id"],
        group="llmfoundry_a100",
        cluster="a100_80gb",
        era="2024",
        shape=Shape(
            name=row["Model"],
            family="gpt2",
            layers=int(row["layers"]),
            hidden=hidden,
            heads=int(row["heads"]),
            feed_forward=4 * hidden,
            vocabulary=_MPT_VOCABULARY,
            positions=_MPT_POSITIONS,
            sequence_length=length,
        ),
        configuration=Configuration(
            tensor_parallel=1,
            pipeline_parallel=1,
            interleave=1,
            data_parallel=gpus,
            micro_batch=int(row["MicroBatchSize"]),
            accumulation=int(row["GradAccum"]),
            sequence_parallel=False,
            recomputation=Recomputation.full if recomputes else Recomputation.none,
            zero_stage=3,
        ),
        step_seconds=batch * length / (float(row["Throughput (T/s/GPU)"]) * gpus),
        source=row["source"],
    )


def _read(name: str) -> Iterator[dict[str, str]]:
    with (_FOLDER / name).open(newline="") as file:
        yield from csv.DictReader(file)
