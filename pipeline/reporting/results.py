"""What the stages wrote, as the report holds it: one type per file.

Fields are named as in the files, units included; a file may hold more than is read here.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

import numpy as np

from pipeline.reporting.experiment import Experiment
from pipeline.reporting.plan import Plan, PlanPictures
from pipeline.reporting.records import Floor, RecordCard
from pipeline.streaming.timeline import Span


@dataclass(frozen=True)
class Machine:
    """The machine a model was trained on."""

    cpu: str
    cores: int
    memory_bytes: int
    system: str
    python: str


@dataclass(frozen=True)
class Metrics:
    """``metrics.json``: what training measured, and what it had forecast of itself."""

    model: str
    parameters: int
    config_hash: str
    execution: str
    device: str
    precision: str
    steps: int
    tokens: int
    loss_last: float
    validation_loss: float | None
    tokens_per_second: float
    step_seconds_median: float
    peak_rss_bytes: int
    train_seconds: float
    machine: Machine
    versions: dict[str, str]
    memory_budget_bytes: int | None = None
    store_bytes: int = 0
    bytes_read: int = 0
    bytes_written: int = 0
    predicted_step_seconds: float | None = None
    scheduled_step_seconds: float | None = None
    floor_seconds: Floor | None = None


@dataclass(frozen=True)
class TrainSettings:
    """The settings of a training run that decide what its loss can be compared with."""

    steps: int
    sequence_length: int
    global_batch: int
    learning_rate: float
    seed: int
    optimizer: str = "adamw"
    record: bool = False


@dataclass(frozen=True)
class History:
    """``history.jsonl``: losses in nats per token against the tokens seen so far."""

    tokens: np.ndarray
    losses: np.ndarray
    validation_tokens: np.ndarray
    validation_losses: np.ndarray


@dataclass(frozen=True)
class Sample:
    """A prompt and what the model wrote after it."""

    prompt: str
    continuation: str


@dataclass(frozen=True)
class Evaluation:
    """``evaluation.json``: a trained model over the whole validation split."""

    validation_loss: float
    perplexity: float
    bits_per_byte: float
    tokens: int
    bytes: int
    seconds: float
    config_hash: str
    samples: list[Sample]


@dataclass(frozen=True)
class Training:
    """One trained model: its settings, corpus, measurements and losses, and its evaluation.

    ``timeline`` holds the spans of one of its steps, if it was streamed.
    """

    run: str
    corpus: str
    settings: TrainSettings
    metrics: Metrics
    history: History
    evaluation: Evaluation | None
    timeline: list[Span] = field(default_factory=list)

    @property
    def validation_loss(self) -> float | None:
        """Nats per token over the whole validation split; else over training's sample of it."""
        return (self.evaluation or self.metrics).validation_loss


@dataclass(frozen=True)
class StageCost:
    """What Snakemake measured of one stage; ``None`` where it took no reading."""

    seconds: float | None = None
    peak_bytes: float | None = None


@dataclass(frozen=True)
class Run:
    """One run: its plan, and its training if it has one; or its experiment on the fabric.

    ``pictures`` are those of its plan; ``skipped`` says why a record run was not trained;
    ``drawings`` are those of its experiment, SVGs by the name of their file.
    """

    name: str
    hashes: dict[str, str]
    plan: Plan | None
    training: Training | None
    costs: dict[str, StageCost]
    skipped: str | None = None
    pictures: PlanPictures | None = None
    experiment: Experiment | None = None
    drawings: dict[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True)
class SplitFacts:
    """Size of one side of a corpus."""

    tokens: int
    bytes: int
    documents: int


@dataclass(frozen=True)
class Corpus:
    """``manifest.json``: a tokenized corpus, and what making it cost."""

    corpus: str
    vocabulary: int
    splits: dict[str, SplitFacts]
    tokens_per_second: float
    cost: StageCost = field(default_factory=StageCost)

    @property
    def tokens(self) -> int:
        """Tokens of all splits."""
        return sum(split.tokens for split in self.splits.values())

    @property
    def bytes(self) -> int:
        """Bytes of text of all splits."""
        return sum(split.bytes for split in self.splits.values())

    @property
    def documents(self) -> int:
        """Documents of all splits."""
        return sum(split.documents for split in self.splits.values())


@dataclass(frozen=True)
class Results:
    """Everything a report is written from; ``finished`` is when its newest file was written."""

    sweep: str
    finished: datetime
    runs: list[Run]
    corpora: list[Corpus]
    records: list[RecordCard] = field(default_factory=list)

    @property
    def trained(self) -> list[Training]:
        """The trained models, the smallest first."""
        trained = [run.training for run in self.runs if run.training]
        return sorted(trained, key=lambda training: training.metrics.parameters)

    @property
    def streamed(self) -> list[Training]:
        """The trained models whose parameters were streamed, the smallest first."""
        return [training for training in self.trained if training.metrics.store_bytes]

    @property
    def plans(self) -> list[Plan]:
        """Each distinct plan, by wafer, then the smallest model first."""
        distinct: list[Plan] = []
        for run in self.runs:
            if run.plan and run.plan not in distinct:
                distinct.append(run.plan)
        return sorted(distinct, key=lambda plan: (plan.wafer, plan.parameters))

    @property
    def experiments(self) -> dict[str, Experiment]:
        """The experiments on the fabric, by the name of the run."""
        return {run.name: run.experiment for run in self.runs if run.experiment}

    @property
    def pictured(self) -> dict[str, PlanPictures]:
        """Of each wafer the largest model that fits on it: its pictures, by the name of the run."""
        found: dict[str, Run] = {}
        for run in self.runs:
            if run.plan and run.pictures and run.plan.step_seconds:
                best = found.setdefault(run.plan.wafer, run)
                if best.plan and run.plan.parameters > best.plan.parameters:
                    found[run.plan.wafer] = run
        return {run.name: run.pictures for _, run in sorted(found.items()) if run.pictures}
