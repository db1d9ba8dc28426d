"""Onewafer's side: the train stage by its command line, on a corpus of random words.

It is what a user runs, with nothing left out but the log of runs; its step times are those of the
run's own ``history.jsonl``, its peak memory that of ``metrics.json``. The disk traffic is counted
from outside, from the line that ends the first step to the one that ends the last.
"""

from __future__ import annotations

import json
import random
import re
import shutil
import string
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.comparison import Measured
from benchmarks.processes import Failed, Finished, run, settle

DOCUMENTS, WORDS = 2000, 200
STEP_LINE = re.compile(r"^train +\d+ of \d+ ")


class Trainer:
    """Trains models on one corpus in ``folder``, each run from scratch."""

    def __init__(self, folder: Path) -> None:
        """Write the corpus, about 1.7 million tokens, and tokenize it."""
        self.folder = folder
        self._write_text()
        command = [sys.executable, "-m", "pipeline.tokenize", *self._settings()]
        run(command, timeout_seconds=120)

    def train(
        self,
        overrides: Sequence[str],
        timeout_seconds: float,
        limit_bytes: int | None = None,
        timed_from: int = 2,
    ) -> Measured:
        """Train once with ``train=streamed`` and ``overrides``; raise :class:`Failed` if it fails.

        Steps before ``timed_from``, counted from 1, are not timed. What the run has written is
        removed afterwards.
        """
        command = [sys.executable, "-m", "pipeline.train", *self._settings(), *overrides]
        directory = self.folder / "results" / "benchmark"
        settle()
        try:
            finished = run(command, timeout_seconds, limit_bytes)
            return _measured(directory, finished, timed_from)
        finally:
            shutil.rmtree(directory, ignore_errors=True)

    def _settings(self) -> list[str]:
        return [
            f"results={self.folder / 'results'}",
            "run=benchmark",
            "data=jsonl",
            f"data.paths=[{self.folder / 'text.jsonl'}]",
            "tokenizer=bpe_512",
            "tracking.enabled=false",
            *training(),
        ]

    def _write_text(self) -> None:
        draw = random.Random(0)
        words = ["".join(draw.choices(string.ascii_lowercase, k=6)) for _ in range(5000)]
        with (self.folder / "text.jsonl").open("w") as file:
            for _ in range(DOCUMENTS):
                file.write(json.dumps({"text": " ".join(draw.choices(words, k=WORDS))}) + "\n")


def training() -> list[str]:
    """The overrides of every run: bf16, a line a step, and the least at the end."""
    return [
        "train=streamed",
        "train.warmup_steps=1",
        "train.validate_every=1000000",
        "train.validation_sequences=1",
        "train.checkpoint_every=1000000",
        "train.keep=nothing",
    ]


def sizes(batch: int, tokens: int, steps: int, optimizer: str) -> list[str]:
    """The overrides of a run of ``steps`` of ``batch`` sequences at once."""
    return [
        f"train.steps={steps}",
        f"train.global_batch={batch}",
        f"train.micro_batch={batch}",
        f"train.sequence_length={tokens}",
        f"train.optimizer={optimizer}",
    ]


def _measured(directory: Path, finished: Finished, timed_from: int) -> Measured:
    try:
        metrics = json.loads((directory / "metrics.json").read_text())
        lines = (directory / "history.jsonl").read_text().splitlines()
    except OSError as error:
        raise Failed(f"{error.filename}: {error.strerror}") from error
    steps = [record for record in map(json.loads, lines) if "step_seconds" in record]
    marks = [
        traffic
        for line, traffic in zip(finished.lines, finished.traffic, strict=True)
        if STEP_LINE.match(line)
    ]
    (first_read, first_written), (last_read, last_written) = marks[0], marks[-1]
    apart = max(len(marks) - 1, 1)  # of a single step, traffic is not told from that of the fill
    return Measured(
        step_seconds=[record["step_seconds"] for record in steps[timed_from - 1 :]],
        tokens_per_step=steps[0]["tokens"],
        peak_rss_bytes=metrics["peak_rss_bytes"],
        bytes_read_per_step=(last_read - first_read) / apart,
        bytes_written_per_step=(last_written - first_written) / apart,
        losses=[record["loss"] for record in steps],
        group_peak_bytes=finished.group_peak_bytes,
    )
