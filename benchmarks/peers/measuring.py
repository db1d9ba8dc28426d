"""What every peer says of itself: one JSON line with step seconds, memory and disk traffic."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor


def peak_rss_bytes() -> int:
    """Largest resident memory of this process so far; mapped files count."""
    return _process_file("/proc/self/status")["VmHWM"] * 1024


def disk_bytes() -> tuple[int, int]:
    """Bytes that this process has read from disk and made dirty or written, since its start."""
    counts = _process_file("/proc/self/io")
    return counts["read_bytes"], counts["write_bytes"]


def _process_file(path: str) -> dict[str, int]:
    pairs = (line.split(":", 1) for line in Path(path).read_text().splitlines())
    return {
        key: int(words[0])
        for key, value in pairs
        if (words := value.split()[:1]) and words[0].isdigit()
    }


def random_tokens(batch: int, tokens: int, vocabulary: int) -> Tensor:
    """One fixed batch, shape (batch, tokens + 1)."""
    generator = torch.Generator().manual_seed(0)
    return torch.randint(vocabulary, (batch, tokens + 1), generator=generator)


def timed_steps(step: Callable[[], float], steps: int, tokens_per_step: int) -> None:
    """Run a step to warm up, then ``steps`` timed ones, and print what they took.

    The keys are those of :class:`benchmarks.comparison.Measured`.
    """
    losses, seconds = [step()], []
    read_before, written_before = disk_bytes()
    for _ in range(steps):
        started = time.perf_counter()
        losses.append(step())
        seconds.append(time.perf_counter() - started)
    read, written = disk_bytes()
    result = {
        "step_seconds": seconds,
        "tokens_per_step": tokens_per_step,
        "bytes_read_per_step": (read - read_before) / steps,
        "bytes_written_per_step": (written - written_before) / steps,
        "peak_rss_bytes": peak_rss_bytes(),
        "losses": losses,
    }
    print(json.dumps(result), flush=True)
