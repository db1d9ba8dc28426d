"""Starts ``python -m pipeline.train`` in a moment: a parent that has loaded all modules forks.

    python -m tests.pipeline.streaming.launcher

Reads one request a line from the standard input, a JSON object (:class:`Request`); forks; answers
with the child's process id, and with its exit status once it has ended. The child is a process
like any other: it runs the module as ``__main__``, and may be killed.
"""

from __future__ import annotations

import atexit
import ctypes
import gc
import json
import os
import runpy
import signal
import sys
import threading
import traceback
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

PR_SET_PDEATHSIG = 1
"""From linux/prctl.h."""
DISK_EVENTS = ("os.rename", "os.remove", "os.rmdir", "os.truncate")
"""Audit events of Python by which a file appears, vanishes or shrinks; ``open`` is one besides."""


@dataclass(frozen=True)
class Request:
    """What a child does.

    ``arguments`` follow the module's name; both outputs go to the files ``out`` and ``error``.
    ``kill_at`` names the change of the disk, from 1, at which the child kills itself; ``None``:
    at no one. It writes how many there were to the file ``changes`` if it ends by itself.
    """

    arguments: list[str]
    out: str
    error: str
    kill_at: int | None = None
    changes: str | None = None


class ChangeCounter:
    """Counts changes of the disk below a folder, and kills its process just before the one due."""

    def __init__(self, folder: str, kill_at: int | None) -> None:
        self.folder, self.kill_at, self.count = folder, kill_at, 0
        self._lock = threading.Lock()

    def __call__(self, event: str, arguments: tuple[object, ...]) -> None:
        """Audit one event of the interpreter (``sys.addaudithook``)."""
        if event not in DISK_EVENTS and not (event == "open" and self._writes(arguments)):
            return
        if not self._path(event, arguments).startswith(self.folder):
            return
        with self._lock:
            self.count += 1
            if self.count == self.kill_at:
                os.kill(os.getpid(), signal.SIGKILL)

    @staticmethod
    def _path(event: str, arguments: tuple[object, ...]) -> str:
        """The file that an event changes; a tree is removed by names within an open folder."""
        folder = arguments[-1]
        if event in ("os.remove", "os.rmdir") and isinstance(folder, int) and folder >= 0:
            return f"{os.readlink(f'/proc/self/fd/{folder}')}/{arguments[0]}"
        return str(arguments[0])

    @staticmethod
    def _writes(arguments: tuple[object, ...]) -> bool:
        flags = arguments[2]
        return isinstance(flags, int) and bool(flags & (os.O_WRONLY | os.O_RDWR))


def load_modules() -> None:
    """Import what a training imports, but for the module itself, which runs anew."""
    import numba  # noqa: F401
    import numpy as np
    import torch._dynamo  # noqa: F401

    import pipeline.train  # noqa: F401
    from pipeline.config import compose
    from pipeline.reporting.figures import draw_training
    from pipeline.reporting.results import History

    # What these import and read when they are first used.
    compose(["run=warm"])
    nothing = np.array([1.0])
    draw_training("warm", History(nothing, nothing, nothing, nothing))
    del sys.modules["pipeline.train"]


def end_with_the_parent() -> None:
    """Be killed when the parent ends, however it ends: a test that is broken off leaves nothing."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def become_training(request: Request) -> NoReturn:
    """Go on as ``python -m pipeline.train`` and end as that ends."""
    end_with_the_parent()
    for path, descriptor in ((request.out, 1), (request.error, 2), (os.devnull, 0)):
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o644)
        os.dup2(file, descriptor)
        os.close(file)
    counter = None
    if request.kill_at is not None or request.changes is not None:
        results = next(a for a in request.arguments if a.startswith("results="))
        counter = ChangeCounter(results.removeprefix("results="), request.kill_at)
        sys.addaudithook(counter)
    sys.argv = ["pipeline.train", *request.arguments]
    code: object = 0
    try:
        runpy.run_module("pipeline.train", run_name="__main__", alter_sys=True)
    except SystemExit as leaving:
        code = leaving.code or 0
    except BaseException:
        traceback.print_exc()
        code = 1
    if counter is not None and request.changes is not None:
        Path(request.changes).write_text(str(counter.count))
    # What the interpreter does when it ends, but for the freeing of all modules: that takes a
    # second, in which a kill would prove nothing.
    threading._shutdown()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code if isinstance(code, int) else 1)


def main() -> None:
    """Answer requests until the standard input ends."""
    end_with_the_parent()
    load_modules()
    warnings.simplefilter("ignore", RuntimeWarning)
    # A fork copies one thread alone, and with it the locks that others hold.
    threads = os.listdir("/proc/self/task")
    assert len(threads) == 1, f"{len(threads)} threads before the first fork"
    gc.freeze()  # children share what is loaded, and do not search it
    print(json.dumps({"ready": True}), flush=True)
    for line in iter(sys.stdin.readline, ""):
        request = Request(**json.loads(line))
        child = os.fork()
        if child == 0:
            become_training(request)
        print(json.dumps({"process": child}), flush=True)
        _, status = os.waitpid(child, 0)
        print(json.dumps({"exit": os.waitstatus_to_exitcode(status)}), flush=True)


if __name__ == "__main__":
    main()
