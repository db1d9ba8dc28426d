"""Chunks of work over as many threads as torch uses."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from functools import lru_cache

import torch


def in_parallel(work: Callable[[int], None], chunks: int) -> None:
    """Call ``work`` with each number below ``chunks``; it must let go of the GIL.

    What a chunk computes may depend on its number alone: never on the thread.
    """
    numbers = iter(range(chunks))
    others = min(torch.get_num_threads(), chunks) - 1
    if others < 1:
        return _work_off(work, numbers)
    futures = [_pool(os.getpid()).submit(_work_off, work, numbers) for _ in range(others)]
    try:
        _work_off(work, numbers)
    finally:
        wait(futures)  # nothing is written any more once this returns
    for future in futures:
        future.result()
    return None


def _work_off(work: Callable[[int], None], numbers: Iterator[int]) -> None:
    for number in numbers:  # shared by the threads: each takes the next
        work(number)


@lru_cache(maxsize=1)
def _pool(process: int) -> ThreadPoolExecutor:
    """Threads that wait for work; a forked process has none of its parent's."""
    return ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix="update")
