"""The train stage: a model learns the tokens of a corpus.

    python -m pipeline.train model=nano_3m
    python -m pipeline.train --multirun model=nano_1m,nano_3m hydra/launcher=joblib

Writes a Hugging Face model directory, ``metrics.json`` and ``history.jsonl`` to the run's
folder. Started again, it goes on from its last checkpoint.
"""

from __future__ import annotations

import hashlib
import time
from pathlib import Path

import torch
from filelock import FileLock

from pipeline.cli import job_by_hand, stage_main
from pipeline.corpus.shards import TokenSplit, content_sha256, read_manifest
from pipeline.corpus.vocabulary import check_vocabulary
from pipeline.errors import TrainingError
from pipeline.files import write_bytes, write_json
from pipeline.job import Job
from pipeline.models import huggingface
from pipeline.models.decoder import Decoder, allocate
from pipeline.models.initialization import initialize
from pipeline.models.shape import parameter_count
from pipeline.schema import Config, Device, TrainSlice
from pipeline.tokenize import run as tokenize
from pipeline.tracking import training_logger
from pipeline.training.batches import Batches, in_order
from pipeline.training.execution import Resident
from pipeline.training.history import History
from pipeline.training.loop import TrainingLoop
from pipeline.training.memory import available_bytes, require_resident_fits
from pipeline.training.metrics import summarize


def run(job: Job[TrainSlice]) -> None:
    """Train to the last step and write the results of the run."""
    started = time.perf_counter()
    budget_bytes = available_bytes()
    device = choose_device(job.config.train.device)
    loop = prepare(job, device, budget_bytes)
    execution = loop.execution
    manifest = read_manifest(job.corpus_directory(job.config.corpus))
    with training_logger(job, execution.name, device.type, manifest) as logger:
        loop.run(logger)
        first = loop.first_step_ended
        metrics = summarize(
            job,
            loop.history,
            execution.name,
            device.type,
            train_seconds=loop.progress.train_seconds,
            seconds_to_first_step=None if first is None else first - started,
            memory_budget_bytes=budget_bytes,
        )
        model_directory = export(job, execution.decoder(), loop.history)
        write_json(job.run_directory / "metrics.json", metrics)
        files = [job.run_directory / name for name in ("history.jsonl", "loss.png")]
        logger.finish(metrics, files, model_directory)
    print(
        f"{job.run}: {metrics['steps']} steps, {metrics['tokens']:,} tokens, validation loss "
        f"{metrics['validation_loss']:.4f}, {metrics['tokens_per_second']:,.0f} tokens/s "
        f"(measured); model in {model_directory}",
        flush=True,
    )


def prepare(job: Job[TrainSlice], device: torch.device, budget_bytes: int) -> TrainingLoop:
    """Check that the run can start, and build its loop at its last checkpoint."""
    model, train = job.config.model, job.config.train
    corpus = job.corpus_directory(job.config.corpus)
    split = TokenSplit.open(corpus, "train")
    check_vocabulary(split.vocabulary, model.vocabulary)
    require_resident_fits(model, train, budget_bytes)
    batches = Batches(split, train.sequence_length, train.global_batch, train.seed)
    held_out = TokenSplit.open(corpus, "validation")
    limit = train.validation_sequences
    validation = list(in_order(held_out, train.sequence_length, train.micro_batch, limit))
    print(
        f"{job.run}: {model.name}, {parameter_count(model):,} parameters, {train.steps} steps of "
        f"{train.global_batch * train.sequence_length:,} tokens, {train.precision.value} on "
        f"{device.type}",
        flush=True,
    )
    execution = Resident(new_decoder(job.config), train, device)
    tokens_sha256 = content_sha256(read_manifest(corpus))
    folder = job.checkpoint_directory(tokens_sha256)
    run_hash = hashlib.sha256(f"{job.hash} {tokens_sha256}".encode()).hexdigest()
    return TrainingLoop(execution, train, batches, validation, folder, run_hash)


def new_decoder(config: TrainSlice) -> Decoder:
    """The decoder before its first step: seeded, or with a checkpoint's weights."""
    decoder = allocate(config.model)
    if config.model.weights is None:
        initialize(decoder, config.train.seed)
    else:
        huggingface.load_weights(decoder, Path(config.model.weights))
    return decoder


def choose_device(device: Device) -> torch.device:
    """The device to train on; raise :class:`TrainingError` if there is no such one."""
    if device is Device.cuda and not torch.cuda.is_available():
        raise TrainingError("train.device: cuda, but torch finds no GPU; use auto or cpu")
    cuda = device is Device.cuda or (device is Device.auto and torch.cuda.is_available())
    return torch.device("cuda" if cuda else "cpu")


def export(job: Job[TrainSlice], decoder: Decoder, history: History) -> Path:
    """Write the Hugging Face directory, the history and its picture to the run's folder."""
    tokenizer = job.corpus_directory(job.config.corpus) / "tokenizer.json"
    directory = job.run_directory / "model"
    huggingface.export(decoder, job.config.model, directory, tokenizer)
    write_bytes(job.run_directory / "history.jsonl", history.path.read_bytes())
    write_bytes(job.run_directory / "loss.png", history.plotted())
    return directory


def tokenize_if_missing(config: Config) -> None:
    """Make the tokens of a run started by hand, once, if they are not there."""
    job = job_by_hand(config, "tokenize")
    folder = job.corpus_directory(job.run)
    with FileLock(folder / ".lock"):
        if not (folder / "manifest.json").exists():
            tokenize(job)


if __name__ == "__main__":
    stage_main("train", run, before=tokenize_if_missing)
