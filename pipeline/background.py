"""What need not be waited for: it goes on in a process of its own when the command has ended.

An answer is on the screen in two seconds; to load what draws pictures and logs runs takes longer.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path


def in_background(work: Callable[[], int], log: Path) -> None:
    """Do ``work`` in a copy of this process, which outlives it; what it prints goes to ``log``.

    ``work`` returns the copy's exit code. Raises OSError where ``log`` cannot be written.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    sys.stdout.flush()
    sys.stderr.flush()
    with log.open("w") as written:
        if os.fork():
            return
        code = 1
        try:
            # Neither the terminal nor who reads this command's output is to wait for it.
            os.setsid()
            with open(os.devnull) as nothing:
                os.dup2(nothing.fileno(), sys.stdin.fileno())
            for stream in (sys.stdout, sys.stderr):
                os.dup2(written.fileno(), stream.fileno())
            code = work()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            # Whatever this process was to do at its end, the one that it copies does.
            os._exit(code)
