"""The train stage: a model learns the tokens of a corpus.

    python -m pipeline.train model=nano_3m
    python -m pipeline.train model=gptneox_20b train=streamed device.memory=8GiB
    python -m pipeline.train --multirun model=nano_1m,nano_3m hydra/launcher=joblib

Writes ``metrics.json``, ``history.jsonl`` and, with ``train.keep=model``, a Hugging Face model
directory to the run's folder. Started again, it goes on from where it was.
"""

from __future__ import annotations

import hashlib
import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from filelock import FileLock

from pipeline.choices import Device, Keep
from pipeline.cli import job_by_hand, stage_main
from pipeline.corpus.shards import TokenSplit, content_sha256, read_manifest
from pipeline.corpus.vocabulary import check_vocabulary
from pipeline.errors import BudgetError, NoRoomError, TrainingError
from pipeline.files import write_bytes, write_json
from pipeline.job import Job
from pipeline.models import huggingface
from pipeline.models.shape import parameter_count
from pipeline.reporting.figures import draw_timeline
from pipeline.schema import Config
from pipeline.slices import TrainSlice
from pipeline.streaming.disk import require_disk
from pipeline.streaming.forecast import Forecast
from pipeline.streaming.plan import ResidentPlan, StreamingPlan
from pipeline.streaming.trace import write_chrome_trace
from pipeline.tokenize import run as tokenize
from pipeline.tracking import training_logger
from pipeline.training import record_card
from pipeline.training.batches import Batches, in_order
from pipeline.training.build import STORE, Place, build, choose_plan, foretell
from pipeline.training.execution import Execution, Streaming
from pipeline.training.loop import TrainingLoop
from pipeline.training.memory import memory_budget_bytes
from pipeline.training.metrics import summarize


@dataclass(frozen=True)
class Prepared:
    """A run that can start: its plan, what that is forecast to take, and its loop."""

    plan: ResidentPlan | StreamingPlan
    forecast: Forecast | None
    loop: TrainingLoop


def run(job: Job[TrainSlice]) -> None:
    """Train to the last step and write the results of the run."""
    started = time.perf_counter()
    device = choose_device(job.config.device.kind)
    if is_finished(job):
        return
    with ExitStack() as stack:
        try:
            prepared = stack.enter_context(prepare(job, device))
        except (BudgetError, NoRoomError) as error:
            if not job.config.train.record:
                raise
            record_card.skip(job, str(error))
            return
        train(job, prepared, device, started)


def train(job: Job[TrainSlice], prepared: Prepared, device: torch.device, started: float) -> None:
    """Train what is prepared; ``started`` is when that began (``time.perf_counter``)."""
    loop, execution = prepared.loop, prepared.loop.execution
    manifest = read_manifest(job.corpus_directory(job.config.corpus))
    with training_logger(job, execution.name, device.type, manifest) as logger:
        loop.run(logger)
        metrics = summarize(
            job,
            loop,
            prepared.plan,
            prepared.forecast,
            device.type,
            content_sha256(manifest),
            seconds_to_first_step(prepared.loop, started),
        )
        files = write_results(job, loop)
        weights = keep_weights(job, execution)
        if job.config.train.record:
            record_card.write_card(job, metrics, loop.history, execution.resumed_after_kill)
        write_json(job.run_directory / "metrics.json", metrics)
        logger.finish(metrics, files, weights)
    execution.finish(keep_store=job.config.train.keep is Keep.store)
    print(
        f"{job.run}: {metrics['steps']} steps, {metrics['tokens']:,} tokens, validation loss "
        f"{metrics['validation_loss']:.4f}, {metrics['tokens_per_second']:,.0f} tokens/s "
        f"(measured); {'weights in ' + str(weights) if weights else 'no weights kept'}",
        flush=True,
    )


def seconds_to_first_step(loop: TrainingLoop, started: float) -> float | None:
    """From the start of the run; of one that was taken up, the filling and the step itself."""
    if loop.first_step_ended is not None and not loop.resumed:
        return loop.first_step_ended - started
    filling = loop.execution.fill_seconds
    return filling + loop.history.column("step_seconds")[0] if filling else None


def is_finished(job: Job[TrainSlice]) -> bool:
    """Whether a streamed run has ended and its store is gone, so that nothing is left to do."""
    metrics = job.trained_metrics()
    if metrics is None or metrics["config_hash"] != job.hash:
        return False
    tokens_sha256 = content_sha256(read_manifest(job.corpus_directory(job.config.corpus)))
    if metrics.get("tokens_sha256") != tokens_sha256:
        return False
    train = job.config.train
    kept = train.keep is not Keep.model or (job.run_directory / "model").exists()
    if metrics["execution"] != "streaming" or not kept:
        return False
    if train.record:
        record_card.confirm(job)
    if train.keep is not Keep.store:  # a process killed at its very end may have left it
        shutil.rmtree(job.checkpoint_directory(tokens_sha256) / STORE, ignore_errors=True)
    print(f"{job.run}: finished already; delete {job.run_directory} to train it again", flush=True)
    return True


@contextmanager
def prepare(job: Job[TrainSlice], device: torch.device) -> Iterator[Prepared]:
    """Check that the run can start, say what it will take, and build its loop where it was left.

    What the run holds is given back at the end, however that comes. Raises :class:`BudgetError`
    or :class:`NoRoomError` for too little memory or disk.
    """
    config, train = job.config, job.config.train
    corpus = job.corpus_directory(config.corpus)
    split = TokenSplit.open(corpus, "train")
    check_vocabulary(split.vocabulary, config.model.vocabulary)
    batches = Batches(split, train.sequence_length, train.global_batch, train.seed)
    held_out = TokenSplit.open(corpus, "validation")
    limit = train.validation_sequences
    validation = list(in_order(held_out, train.sequence_length, train.micro_batch, limit))
    print(
        f"{job.run}: {config.model.name}, {parameter_count(config.model):,} parameters, "
        f"{train.steps} steps of {train.global_batch * train.sequence_length:,} tokens, "
        f"{train.precision.value} on {device.type}",
        flush=True,
    )
    plan = choose_plan(config, memory_budget_bytes(config.device))
    tokens_sha256 = content_sha256(read_manifest(corpus))
    folder = job.checkpoint_directory(tokens_sha256)
    forecast = state(job, plan, folder)
    run_hash = hashlib.sha256(f"{job.hash} {tokens_sha256}".encode()).hexdigest()
    with closing(build(config, plan, Place(device, folder, run_hash))) as execution:
        loop = TrainingLoop(execution, train, batches, validation, folder, run_hash)
        yield Prepared(plan, forecast, loop)


def state(
    job: Job[TrainSlice], plan: ResidentPlan | StreamingPlan, folder: Path
) -> Forecast | None:
    """Say what the run will take before it starts; refuse it if the disk cannot hold it."""
    for line in plan.lines():
        print(f"  {line}", flush=True)
    if isinstance(plan, ResidentPlan):
        return None
    require_disk(plan, folder)
    forecast = foretell(job.config, plan, job.results)
    for line in forecast.lines():
        print(f"  {line}", flush=True)
    return forecast


def choose_device(device: Device) -> torch.device:
    """The device to train on; raise :class:`TrainingError` if there is no such one."""
    if device is Device.cuda and not torch.cuda.is_available():
        raise TrainingError("device.kind: cuda, but torch finds no GPU; use auto or cpu")
    cuda = device is Device.cuda or (device is Device.auto and torch.cuda.is_available())
    return torch.device("cuda" if cuda else "cpu")


def write_results(job: Job[TrainSlice], loop: TrainingLoop) -> list[Path]:
    """Write the history, its picture and the timeline of the last step to the run's folder."""
    folder = job.run_directory
    write_bytes(folder / "history.jsonl", loop.history.path.read_bytes())
    write_bytes(folder / "loss.png", loop.history.plotted())
    files = [folder / "history.jsonl", folder / "loss.png"]
    if loop.last_spans and isinstance(loop.execution, Streaming):
        title = f"{job.run}, step {loop.progress.step}"
        write_chrome_trace(loop.last_spans, folder / "timeline.json", title)
        write_bytes(folder / "timeline.png", draw_timeline(loop.last_spans))
        files += [folder / "timeline.json", folder / "timeline.png"]
    return files


def keep_weights(job: Job[TrainSlice], execution: Execution) -> Path | None:
    """Leave of the weights what ``train.keep`` says; return where it lies."""
    train = job.config.train
    if train.keep is Keep.model:
        tokenizer = job.corpus_directory(job.config.corpus) / "tokenizer.json"
        directory = job.run_directory / "model"
        huggingface.export_parts(execution.parts(), job.config.model, directory, tokenizer)
        return directory
    return execution.folder if train.keep is Keep.store else None


def tokenize_if_missing(config: Config) -> None:
    """Make the tokens of a run started by hand, once, if they are not there."""
    job = job_by_hand(config, "tokenize")
    folder = job.corpus_directory(job.run)
    with FileLock(folder / ".lock"):
        if not (folder / "manifest.json").exists():
            tokenize(job)


if __name__ == "__main__":
    stage_main("train", run, before=tokenize_if_missing)
