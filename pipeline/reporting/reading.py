"""Reads and checks the files of a results folder.

A file that is missing or not what it should be raises :class:`ReportError`, which names it and
the command that makes it. Only Snakemake's own readings may be missing: a stage that was run by
hand has none.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import TypeAdapter, ValidationError
from yaml import YAMLError

from pipeline.errors import ReportError
from pipeline.job import Job
from pipeline.reporting.experiment import Experiment, picture_paths
from pipeline.reporting.plan import Plan, PlanPictures
from pipeline.reporting.plan_files import plan_files
from pipeline.reporting.records import RecordCard
from pipeline.reporting.results import (
    Corpus,
    Evaluation,
    History,
    Metrics,
    Results,
    Run,
    StageCost,
    Training,
    TrainSettings,
)
from pipeline.slices import ReportSlice
from pipeline.streaming.timeline import Span
from pipeline.streaming.trace import read_chrome_trace

RecordT = TypeVar("RecordT")
MEBIBYTE = 1024**2  # Snakemake's "MB" of a benchmark file


@dataclass(frozen=True)
class HistoryLine:
    """A line of ``history.jsonl``: a step of training, or a validation after it."""

    step: int
    loss: float | None = None
    validation_loss: float | None = None


@dataclass(frozen=True)
class FrozenTraining:
    """The part of ``config/train.yaml`` that the report reads."""

    train: TrainSettings
    corpus: str


@dataclass(frozen=True)
class FrozenStage:
    """A frozen slice; ``config`` is a training's."""

    config: FrozenTraining


@dataclass(frozen=True)
class RecordStatus:
    """``record.json`` of a record run: ``trained``, or ``skipped`` for a reason."""

    config_hash: str
    status: Literal["trained", "skipped"]
    reason: str | None = None


PLAN = TypeAdapter(Plan)
EXPERIMENT = TypeAdapter(Experiment)
RECORD_CARD = TypeAdapter(RecordCard)
RECORD_STATUS = TypeAdapter(RecordStatus)
METRICS = TypeAdapter(Metrics)
EVALUATION = TypeAdapter(Evaluation)
CORPUS = TypeAdapter(Corpus)
HISTORY_LINE = TypeAdapter(HistoryLine)
FROZEN = TypeAdapter(FrozenStage)


def read_results(job: Job[ReportSlice]) -> Results:
    """Read what the sweep's runs and corpora left below ``job.results``."""
    reader = Reader(job.results, job.config.sweep)
    runs = [reader.run(name, hashes) for name, hashes in job.config.runs.items()]
    corpora = [reader.corpus(name) for name in job.config.corpora]
    cards = sorted((job.results / "records").glob("*.json"))
    records = [reader.record(card, RECORD_CARD) for card in cards]
    records.sort(key=lambda card: card.parameters)
    finished = datetime.fromtimestamp(max(reader.times, default=0.0)).astimezone()
    return Results(
        sweep=job.config.sweep, finished=finished, runs=runs, corpora=corpora, records=records
    )


class Reader:
    """Reads files below ``results``; ``times`` collects when each was written."""

    def __init__(self, results: Path, sweep: str) -> None:
        self.results = results
        self.command = f"snakemake --cores all --config sweep={sweep}"
        self.times: list[float] = []

    def run(self, name: str, hashes: dict[str, str]) -> Run:
        """Read one run; ``hashes`` says which stages it has."""
        directory = self.results / name
        frozen = self.frozen(directory / "config" / "train.yaml") if "train" in hashes else None
        skipped = self.skipped(name, hashes) if frozen and frozen.train.record else None
        return Run(
            name=name,
            hashes=hashes,
            plan=self.record(directory / "partition.json", PLAN) if "partition" in hashes else None,
            training=self.training(name, frozen, hashes) if frozen and not skipped else None,
            costs={s: self.cost(directory / "benchmarks" / f"{s}.tsv") for s in hashes},
            skipped=skipped,
            pictures=self.pictures(directory) if "partition" in hashes else None,
            experiment=self.experiment(directory, hashes["fabric"]) if "fabric" in hashes else None,
            drawings=self.drawings(directory) if "fabric" in hashes else {},
        )

    def experiment(self, directory: Path, expected: str) -> Experiment:
        """Read what an experiment on the fabric took."""
        path = directory / "fabric.json"
        experiment = self.record(path, EXPERIMENT)
        self.check_hash(path, experiment.config_hash, expected)
        return experiment

    def drawings(self, directory: Path) -> dict[str, bytes]:
        """Read the pictures of an experiment, those that were drawn."""
        paths = [path for path in picture_paths(directory) if path.exists()]
        return {path.stem: path.read_bytes() for path in paths}

    def pictures(self, directory: Path) -> PlanPictures | None:
        """Read the pictures of a plan, if they were drawn."""
        _, floorplan, roofline = plan_files(directory)
        if not (floorplan.exists() and roofline.exists()):
            return None
        return PlanPictures(floorplan.read_bytes(), roofline.read_bytes())

    def skipped(self, name: str, hashes: dict[str, str]) -> str | None:
        """Why a record run was not trained, if it was not."""
        path = self.results / name / "record.json"
        status = self.record(path, RECORD_STATUS)
        self.check_hash(path, status.config_hash, hashes["train"])
        return (status.reason or "no reason given") if status.status == "skipped" else None

    def training(self, name: str, frozen: FrozenTraining, hashes: dict[str, str]) -> Training:
        """Read a trained model's measurements, losses and evaluation."""
        directory = self.results / name
        metrics = self.record(directory / "metrics.json", METRICS)
        self.check_hash(directory / "metrics.json", metrics.config_hash, hashes["train"])
        evaluation = None
        if "evaluate" in hashes:
            evaluation = self.record(directory / "evaluation.json", EVALUATION)
            # An evaluation names the training whose model it took.
            found = evaluation.config_hash
            self.check_hash(directory / "evaluation.json", found, hashes["train"])
        return Training(
            run=name,
            corpus=frozen.corpus,
            settings=frozen.train,
            metrics=metrics,
            history=self.history(directory / "history.jsonl", metrics.tokens / metrics.steps),
            evaluation=evaluation,
            timeline=self.timeline(directory / "timeline.json") if metrics.store_bytes else [],
        )

    def corpus(self, name: str) -> Corpus:
        """Read a corpus' manifest and what tokenizing it cost."""
        directory = self.results / "corpus" / name
        corpus = self.record(directory / "manifest.json", CORPUS)
        return replace(corpus, cost=self.cost(directory / "benchmarks" / "tokenize.tsv"))

    def history(self, path: Path, tokens_per_step: float) -> History:
        """Read the losses of a training, ``tokens_per_step`` apart."""
        lines = [
            self.parse(path, text, HISTORY_LINE, f"line {number}: ")
            for number, text in enumerate(self.content(path).splitlines(), start=1)
        ]
        steps = [line for line in lines if line.loss is not None]
        if not steps:
            raise self.damaged(path, "it holds no training step")
        validations = [line for line in lines if line.validation_loss is not None]
        return History(
            tokens=np.array([line.step * tokens_per_step for line in steps]),
            losses=np.array([line.loss for line in steps]),
            validation_tokens=np.array([line.step * tokens_per_step for line in validations]),
            validation_losses=np.array([line.validation_loss for line in validations]),
        )

    def timeline(self, path: Path) -> list[Span]:
        """Read the spans of a streamed step, if they were written."""
        if not path.exists():
            return []
        try:
            return read_chrome_trace(path)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise self.damaged(path, "it is not the trace of a step") from error

    def cost(self, path: Path) -> StageCost:
        """Read a Snakemake benchmark file, if there is one."""
        if not path.exists():
            return StageCost()
        rows = list(csv.DictReader(self.content(path).splitlines(), delimiter="\t"))
        try:
            peak = _number(rows[0]["max_rss"])
            return StageCost(_number(rows[0]["s"]), None if peak is None else peak * MEBIBYTE)
        except (IndexError, KeyError, TypeError, ValueError) as error:
            raise self.damaged(path, "it is not a benchmark file of Snakemake") from error

    def frozen(self, path: Path) -> FrozenTraining:
        """Read a training's frozen slice."""
        try:
            content = OmegaConf.to_container(OmegaConf.create(self.content(path)))
            return FROZEN.validate_python(content).config
        except ValidationError as error:
            raise self.damaged(path, _first(error)) from error
        except (OmegaConfBaseException, YAMLError) as error:
            raise self.damaged(path, "it is not YAML") from error

    def record(self, path: Path, kind: TypeAdapter[RecordT]) -> RecordT:
        """Read one JSON object of type ``kind``."""
        return self.parse(path, self.content(path), kind)

    def parse(self, path: Path, text: str, kind: TypeAdapter[RecordT], where: str = "") -> RecordT:
        """Check a JSON text against ``kind``; numbers must be numbers, not strings."""
        try:
            return kind.validate_json(text, strict=True)
        except ValidationError as error:
            raise self.damaged(path, where + _first(error)) from error

    def content(self, path: Path) -> str:
        """The text of a file."""
        try:
            self.times.append(path.stat().st_mtime)
            return path.read_text(encoding="utf-8")
        except FileNotFoundError as error:
            raise ReportError(f"{path}: missing; make it with `{self.command}`") from error
        except (OSError, UnicodeDecodeError) as error:
            raise self.damaged(path, str(error)) from error

    def check_hash(self, path: Path, found: str, expected: str) -> None:
        """Refuse the result of another configuration."""
        if found != expected:
            text = f"it comes from configuration {found[:12]}, this sweep's is {expected[:12]}"
            raise self.damaged(path, text)

    def damaged(self, path: Path, reason: str) -> ReportError:
        """The error for a file that stands but cannot be used."""
        return ReportError(f"{path}: {reason}; delete it and make it anew with `{self.command}`")


def _first(error: ValidationError) -> str:
    """The first complaint of a failed check: the key, what is wrong and the value."""
    detail = error.errors(include_url=False)[0]
    key = ".".join(str(part) for part in detail["loc"])
    value = "" if detail["type"] in ("missing", "json_invalid") else f", not {detail['input']!r}"
    return f"{key or 'content'}: {detail['msg'][0].lower()}{detail['msg'][1:]}{value}"


def _number(text: str) -> float | None:
    """A reading of Snakemake; a job too short to be sampled has ``NA`` or ``-``."""
    return None if text in ("NA", "-") else float(text)
