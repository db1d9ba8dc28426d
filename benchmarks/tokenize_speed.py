"""Speed of the tokenize stage beside a bare loop over ``tokenizers``' ``encode_batch``.

    python -m benchmarks.tokenize_speed --megabytes 60 --rounds 3
    python -m benchmarks.tokenize_speed --megabytes 1000 --memory    the stage alone: its memory

Both sides encode the same documents, the standard library's, repeated, with the same 4,096-token
BPE, in turn, each in a fresh process. What is timed:

- bare: ``encode_batch`` alone, on documents that lie in memory, in batches of 4 MiB (faster for
  it than 1 or 16 MiB); the encodings are thrown away.
- stage: all of ``pipeline.tokenize.run`` with that tokenizer: reading and parsing a JSON lines
  file, hashing, dividing, encoding (by ``encode_batch_fast``, which keeps no offsets), converting,
  and writing and hashing the shards.

The headline is the median over the rounds of stage / bare in bytes a second: above 1 the stage
is faster. With ``--memory`` the stage also trains its tokenizer, which takes a second pass.
All figures are *measured*.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from pipeline import machine, tokenize
from pipeline.corpus.sources import documents
from pipeline.corpus.tokenizer import train_bpe
from pipeline.job import Job
from pipeline.schema import (
    BpeTokenizer,
    FileTokenizer,
    JsonlData,
    StdlibData,
    TokenizerConfig,
    TrackingConfig,
)
from pipeline.slices import TokenizeSlice

BARE_BATCH_BYTES = 2**22
BPE = BpeTokenizer(name="bpe_4096", vocabulary=4096, training_bytes=32_000_000)


def prepare(folder: Path, megabytes: int) -> None:
    """Write ``text.jsonl`` of about ``megabytes`` and ``tokenizer.json``."""
    texts = [document.text for document in documents(StdlibData(name="stdlib"))]
    (folder / "tokenizer.json").write_bytes(train_bpe(BPE, texts).definition)
    left = megabytes * 10**6
    with (folder / "text.jsonl").open("w") as file:
        while left > 0:
            for text in texts:
                file.write(json.dumps({"text": text}) + "\n")
                left -= len(text.encode())
                if left <= 0:
                    break


def bare(folder: Path) -> dict[str, Any]:
    """Encode everything with a bare loop."""
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    batches = list(_batches(folder / "text.jsonl"))
    started = time.perf_counter()
    tokens = 0
    for batch in batches:
        encodings = tokenizer.encode_batch(batch, add_special_tokens=False)
        tokens += sum(map(len, encodings))
    seconds = time.perf_counter() - started
    text_bytes = sum(len(text.encode()) for batch in batches for text in batch)
    return {"seconds": seconds, "bytes": text_bytes, "tokens": tokens}


def _batches(path: Path) -> Iterator[list[str]]:
    """The documents in lists of at least ``BARE_BATCH_BYTES``."""
    batch: list[str] = []
    batch_bytes = 0
    with path.open() as file:
        for line in file:
            batch.append(json.loads(line)["text"])
            batch_bytes += len(batch[-1].encode())
            if batch_bytes >= BARE_BATCH_BYTES:
                yield batch
                batch, batch_bytes = [], 0
    yield batch


def stage(folder: Path, tokenizer: TokenizerConfig) -> dict[str, Any]:
    """Run the tokenize stage; tokens are counted without the end-of-text tokens."""
    data = JsonlData(name="jsonl", paths=[str(folder / "text.jsonl")])
    config = TokenizeSlice(data, tokenizer)
    job = Job("tokenize", "0" * 64, "speed", folder / "results", config, TrackingConfig())
    started = time.perf_counter()
    with redirect_stdout(sys.stderr):
        tokenize.run(job)
    seconds = time.perf_counter() - started
    manifest = json.loads((job.corpus_directory(job.run) / "manifest.json").read_text())
    parts = manifest["splits"].values()
    tokens = sum(part["tokens"] - part["documents"] for part in parts)
    return {"seconds": seconds, "bytes": sum(part["bytes"] for part in parts), "tokens": tokens}


def measure(side: str, folder: Path) -> dict[str, Any]:
    """Run one side in a process of its own; return what it measured."""
    command = [sys.executable, "-m", "benchmarks.tokenize_speed", "--side", side, str(folder)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    result: dict[str, Any] = json.loads(done.stdout)
    speed = result["bytes"] / result["seconds"] / 1e6
    print(
        f"{side}: {result['bytes'] / 1e6:.0f} MB in {result['seconds']:.1f} s, {speed:.2f} MB/s, "
        f"peak memory {result['peak_rss_bytes'] / 1e6:.0f} MB",
        flush=True,
    )
    return result


def compare(folder: Path, rounds: int) -> None:
    """Measure both sides in turn and print the median ratio."""
    ratios = []
    for _ in range(rounds):
        loop, ours = measure("bare", folder), measure("stage", folder)
        assert (loop["bytes"], loop["tokens"]) == (ours["bytes"], ours["tokens"])
        ratios.append(loop["seconds"] / ours["seconds"])
    each = ", ".join(f"{ratio:.2f}" for ratio in ratios)
    print(f"stage / bare, bytes a second: median {statistics.median(ratios):.2f} of {each}")


def _run_side(side: str, folder: Path) -> None:
    """One side, in this process: its figures as JSON on the standard output."""
    if side == "bare":
        result = bare(folder)
    elif side == "stage":
        result = stage(folder, FileTokenizer(name="file", path=str(folder)))
    else:
        result = stage(folder, BPE)
    print(json.dumps(result | {"peak_rss_bytes": machine.peak_rss_bytes()}))


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--megabytes", type=int, default=60, help="text to encode (default 60)")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each side (default 3)")
    parser.add_argument("--memory", action="store_true", help="only the stage, once: its memory")
    parser.add_argument("--side", nargs=2, metavar=("SIDE", "FOLDER"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.side:
        _run_side(arguments.side[0], Path(arguments.side[1]))
        return
    about = machine.describe()
    print(f"measured on {about['cpu']}, {about['cores']} cores, Python {about['python']}")
    with tempfile.TemporaryDirectory() as folder:
        prepare(Path(folder), arguments.megabytes)
        if arguments.memory:
            measure("stage_with_training", Path(folder))
        else:
            compare(Path(folder), arguments.rounds)


if __name__ == "__main__":
    main()
