"""The evaluate stage: a trained model's loss over the whole validation split, and samples.

    python -m pipeline.evaluate model=nano_3m

Writes ``evaluation.json`` to the run's folder.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer

from pipeline.choices import Device
from pipeline.cli import stage_main
from pipeline.corpus.shards import TokenSplit, read_manifest
from pipeline.errors import ModelError, TokenizerError
from pipeline.evaluation.arithmetic import multiplied_as, products
from pipeline.evaluation.plan import free_bytes, plan_streamed, resident_bytes
from pipeline.evaluation.streamed import streamed_loss
from pipeline.files import write_json
from pipeline.job import Job
from pipeline.models import huggingface
from pipeline.models.decoder import Decoder
from pipeline.models.generation import generate
from pipeline.models.huggingface import Checkpoint
from pipeline.models.shape import parameter_count, read_shape
from pipeline.progress import Progress
from pipeline.reporting.humane import size
from pipeline.schema import EvaluateConfig
from pipeline.slices import EvaluateSlice
from pipeline.tracking import log_evaluation
from pipeline.train import choose_device
from pipeline.training.batches import count_sequences, in_order

NO_SAMPLES = (
    "none written: the model was evaluated part by part, as memory does not hold it, and each "
    "token of a sample would take a pass over all parts"
)


@dataclass(frozen=True)
class Findings:
    """Mean loss in nats per token, samples, and why there are no samples (None: there are)."""

    loss: float
    samples: list[dict[str, str]]
    samples_note: str | None = None


def run(job: Job[EvaluateSlice]) -> None:
    """Evaluate the run's model and write ``evaluation.json``."""
    started = time.perf_counter()
    metrics = trained_metrics(job)
    directory = job.run_directory / "model"
    model = read_shape(directory)
    checkpoint = Checkpoint(model, directory)
    device = choose_device(Device.auto)
    corpus = job.corpus_directory(job.config.corpus)
    split = TokenSplit.open(corpus, "validation")
    sequence_length = min(model.positions, metrics["sequence_length"])
    found = evaluated(job, checkpoint, split, sequence_length, device)
    evaluation = {
        "run": job.run,
        "model": metrics["model"],
        "parameters": parameter_count(model),
        "config_hash": job.config.train_hash,
        "measured": True,
        "validation_loss": found.loss,
        "perplexity": math.exp(found.loss),
        "bits_per_byte": bits_per_byte(found.loss, split),
        "tokens": split.tokens,
        "bytes": split.bytes,
        "samples": found.samples,
        "samples_note": found.samples_note,
        "seconds": time.perf_counter() - started,
        "device": device.type,
    }
    write_json(job.run_directory / "evaluation.json", evaluation)
    log_evaluation(job, evaluation, read_manifest(corpus))
    print(
        f"{job.run}: validation loss {found.loss:.4f}, perplexity {evaluation['perplexity']:.2f}, "
        f"{evaluation['bits_per_byte']:.4f} bits per byte over {split.tokens:,} tokens (measured)",
        flush=True,
    )


def evaluated(
    job: Job[EvaluateSlice],
    checkpoint: Checkpoint,
    split: TokenSplit,
    sequence_length: int,
    device: torch.device,
) -> Findings:
    """Loss and samples, with the model whole in memory if that holds it, else part by part."""
    batch = job.config.evaluate.batch
    stored = checkpoint.matrix_dtype
    memory_bytes = free_bytes(device)
    needed_bytes = resident_bytes(checkpoint.model, stored, batch * sequence_length)
    if needed_bytes > memory_bytes:
        print(
            f"{job.run}: evaluating it whole takes {size(needed_bytes)} of memory, "
            f"{size(memory_bytes)} can be counted on, so it is done part by part, without samples",
            flush=True,
        )
        loss = loss_by_parts(checkpoint, split, sequence_length, batch, device, memory_bytes)
        return Findings(loss, [], NO_SAMPLES)
    _, decoder = huggingface.from_directory(job.run_directory / "model")
    decoder = decoder.to(device).eval()
    with products(multiplied_as(stored), device):
        loss = validation_loss(decoder, split, sequence_length, batch, device)
        return Findings(loss, continuations(job, decoder, device))


def loss_by_parts(
    checkpoint: Checkpoint,
    split: TokenSplit,
    sequence_length: int,
    batch: int,
    device: torch.device,
    memory_bytes: int,
) -> float:
    """What :func:`validation_loss` gives, within ``memory_bytes``; says first what it will take."""
    tokens = split.tokens - 1
    plan = plan_streamed(checkpoint, tokens, batch * sequence_length, device, memory_bytes)
    print(plan.describe(tokens), flush=True)
    batches = whole_split(split, sequence_length, batch)
    total = tokens * len(checkpoint.parameters)
    with Progress("evaluate", total) as bar:

        def passed(part: str, tokens: int) -> None:
            bar.update(bar.done + tokens, part)

        return streamed_loss(checkpoint, batches, plan.group_tokens, device, passed)


def trained_metrics(job: Job[EvaluateSlice]) -> dict[str, Any]:
    """The metrics of the training that made the model; refuse a model of another config."""
    path = job.run_directory / "metrics.json"
    remedy = "train it with python -m pipeline.train and the same overrides"
    metrics = job.trained_metrics()
    if metrics is None:
        raise ModelError(f"{path}: no such file, so there is no trained model; {remedy}")
    if metrics["config_hash"] != job.config.train_hash:
        raise ModelError(
            f"{path}: a model of another configuration ({metrics['config_hash'][:12]}, this is "
            f"{job.config.train_hash[:12]}); {remedy}"
        )
    return metrics


@torch.no_grad()
def validation_loss(
    decoder: Decoder, split: TokenSplit, sequence_length: int, batch: int, device: torch.device
) -> float:
    """Mean cross-entropy in nats per token over the whole split.

    Every token but the first is predicted once, from the tokens before it in its sequence.
    """
    total = 0.0
    for tokens_bs in whole_split(split, sequence_length, batch):
        tokens_bs = tokens_bs.to(device)
        targets_bt = tokens_bs[:, 1:]
        total += decoder.loss(tokens_bs[:, :-1], targets_bt).item() * targets_bt.numel()
    return total / (split.tokens - 1)


def whole_split(split: TokenSplit, sequence_length: int, batch: int) -> Iterator[torch.Tensor]:
    """All tokens of a split as sequences, the last, shorter one by itself."""
    yield from in_order(split, sequence_length, batch, limit=split.tokens)
    start = count_sequences(split, sequence_length) * sequence_length
    if start < split.tokens - 1:
        yield torch.from_numpy(split.read(start, split.tokens - start))[None]


def bits_per_byte(loss: float, split: TokenSplit) -> float:
    """Bits to code one byte of the split's text: comparable between tokenizers."""
    return loss * (split.tokens - 1) / math.log(2) / split.bytes


def continuations(
    job: Job[EvaluateSlice], decoder: Decoder, device: torch.device
) -> list[dict[str, str]]:
    """Continue each prompt of the configuration by sampling."""
    evaluate = job.config.evaluate
    tokenizer = read_tokenizer(job.run_directory / "model" / "tokenizer.json")
    return [
        {
            "prompt": prompt,
            "continuation": continuation(decoder, tokenizer, prompt, evaluate, device),
        }
        for prompt in evaluate.prompts
    ]


def read_tokenizer(path: Path) -> Tokenizer:
    """The tokenizer beside a model; raise :class:`TokenizerError` if it is damaged."""
    try:
        return Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises no class of its own
        reason = " ".join(str(error).split())
        raise TokenizerError(
            f"{path}: missing, truncated or altered ({reason}); give the command that trained the "
            "model again, which writes it anew"
        ) from error


def continuation(
    decoder: Decoder,
    tokenizer: Tokenizer,
    prompt: str,
    evaluate: EvaluateConfig,
    device: torch.device,
) -> str:
    """The text that the model writes after ``prompt``."""
    tokens_bt = torch.tensor([tokenizer.encode(prompt).ids], device=device)
    generator = torch.Generator(device).manual_seed(evaluate.seed)
    count, temperature, top_k = evaluate.sample_tokens, evaluate.temperature, evaluate.top_k
    written_bt = generate(decoder, tokens_bt, count, temperature, top_k, generator)
    new_tokens = written_bt[0, tokens_bt.shape[1] :].tolist()
    return tokenizer.decode(new_tokens, skip_special_tokens=False)


if __name__ == "__main__":
    stage_main("evaluate", run)
