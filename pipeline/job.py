"""One stage's work: its slice of the configuration, and where its files lie.

The layout below the results folder::

    corpus/ID/             manifest.json, tokenizer.json, token shards
    RUN/config/STAGE.yaml  the frozen slice of each stage
    RUN/partition.json     the plan; plan_trace.json and its pictures beside it
    RUN/fabric.json        an experiment on the fabric; fabric/ has its pictures and its timeline
    RUN/checkpoints/       training's own; never declared to Snakemake, which would delete it
    RUN/model/             the trained model, a Hugging Face directory
    RUN/metrics.json, RUN/history.jsonl, RUN/evaluation.json
    mlflow.db, mlflow-artifacts/, report.html, figures/
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from pipeline.errors import ModelError
from pipeline.schema import TrackingConfig

SliceT = TypeVar("SliceT")


@dataclass(frozen=True)
class Job(Generic[SliceT]):
    """A stage's slice with its hash, the name of its run (or corpus) and the results folder."""

    stage: str
    hash: str
    run: str
    results: Path
    config: SliceT
    tracking: TrackingConfig

    @property
    def run_directory(self) -> Path:
        """Where a run's results lie."""
        return self.results / self.run

    def trained_metrics(self) -> dict[str, Any] | None:
        """``metrics.json`` of the run's training, if it has ended.

        Raises :class:`ModelError` if the file is damaged.
        """
        path = self.run_directory / "metrics.json"
        try:
            return json.loads(path.read_text())
        except FileNotFoundError:
            return None
        except ValueError as error:
            raise ModelError(
                f"{path}: truncated or altered ({error}); delete it and train again, which goes on "
                "from the last checkpoint"
            ) from error

    def checkpoint_directory(self, tokens_sha256: str) -> Path:
        """Where this very configuration, learning these very tokens, keeps its checkpoints."""
        return self.run_directory / "checkpoints" / f"{self.hash[:12]}-{tokens_sha256[:12]}"

    def corpus_directory(self, corpus: str) -> Path:
        """Where the tokens of ``corpus`` lie."""
        return self.results / "corpus" / corpus
