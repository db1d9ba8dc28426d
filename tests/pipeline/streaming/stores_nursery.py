"""Forks processes that commit to a store until they are killed; all modules are loaded once.

    python -m tests.pipeline.streaming.stores_nursery FOLDER

For each line ``KILL_AT`` of the standard input a child opens the store of FOLDER, says its
process id when it is open, and commits part after part, going on from the journal. It kills
itself before its call number KILL_AT that changes the disk, from 1; 0: never. Before the end of
the child's life nothing else happens here; then the line "ended" follows.
"""

from __future__ import annotations

import itertools
import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from pipeline.streaming.journal import Journal
from pipeline.streaming.layout import PartLayout
from pipeline.streaming.store import ParameterStore
from tests.pipeline.streaming.stores import BOTH, model, open_store

ELEMENTS = 300_000
CHANGES = ("pwrite", "ftruncate", "fdatasync", "fsync", "replace", "open", "posix_fallocate")


def layouts() -> dict[str, PartLayout]:
    """Parts whose planes take one to four megabytes."""
    return model(layers=3, elements=ELEMENTS)


def open_it(folder: Path) -> ParameterStore:
    return open_store(folder, layouts(), 60_000_000)


def live(folder: Path) -> None:
    """Commit versions: every element of a part's planes and of the kept set is the step."""
    names = list(layouts())
    store = open_it(folder)
    print(os.getpid(), flush=True)
    journal = store.journal
    done = journal.step * len(names) + names.index(journal.reached) + 1 if journal.reached else 0
    for count in itertools.count(done):
        step, number = divmod(count, len(names))
        name = names[number]
        fetch = store.blank if name in store.missing_parts() else store.fetch
        for tensor in fetch(name, *BOTH).values():
            tensor.fill_(step)
        boundary = {"0": torch.full((1000,), float(count))}
        store.commit(name, BOTH, Journal(step, "backward", name), {"boundary": boundary})


def die_at(number: int) -> None:
    """Kill this process before the call of that number that changes the disk."""
    lock, calls = threading.Lock(), itertools.count(1)

    def deadly(call: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*arguments: Any, **named: Any) -> Any:
            with lock:
                if next(calls) == number:
                    os.kill(os.getpid(), signal.SIGKILL)
            return call(*arguments, **named)

        return counted

    for name in CHANGES:
        setattr(os, name, deadly(getattr(os, name)))


def main() -> None:
    folder = Path(sys.argv[1])
    print("ready", flush=True)
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            if int(line):
                die_at(int(line))
            live(folder)
        os.waitpid(child, 0)
        print("ended", flush=True)


if __name__ == "__main__":
    main()
