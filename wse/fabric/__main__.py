"""Run a program of the library on a simulated mesh, and draw what happened.

    python -m wse.fabric broadcast --width 64 --height 64 --wafer wse3 --out results/broadcast

prints cycles, utilisation, the busiest link and the simulation's speed. With --out it also writes
link_load.svg, pe_utilisation.svg, wavefront.svg (animated) and timeline.json, a trace for
https://ui.perfetto.dev; of a run that deadlocks, deadlock.svg alone. Bad input, and what the
fabric refuses, ends as one line and exit code 2.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from pathlib import Path
from typing import NoReturn

from wse.errors import OnewaferError
from wse.fabric.errors import DeadlockError
from wse.fabric.library.registry import PROGRAMS
from wse.fabric.machine import MACHINES
from wse.fabric.perform import DTYPES, Request, perform
from wse.fabric.pictures import DEADLOCK
from wse.fabric.pictures.draw import draw, draw_deadlock, write
from wse.fabric.run import MAXIMUM_CYCLES
from wse.fabric.summary import summarise

PROGRAM_NAME = "python -m wse.fabric"


class OneLineParser(argparse.ArgumentParser):
    """Says what is wrong in one line."""

    def error(self, message: str) -> NoReturn:
        """Print ``message`` and exit with code 2."""
        refuse(message)


def refuse(message: str) -> NoReturn:
    """End with ``message`` as one line and exit code 2."""
    print(f"{PROGRAM_NAME}: {' '.join(message.split())}", file=sys.stderr)
    raise SystemExit(2)


def main(arguments: list[str] | None = None) -> None:
    """The command; see the module's docstring."""
    options = make_parser().parse_args(arguments)
    request = Request(
        program=options.program,
        width=options.width,
        height=options.height,
        machine=options.wafer,
        dtype=options.dtype,
        size=options.size,
        max_cycles=options.max_cycles,
    )
    try:
        result = perform(request, timeline=options.out is not None)
        drawn = {} if options.out is None else draw(request.program, result)
        paths = write(options.out, drawn) if drawn else []
        print("\n".join(summarise(request.program, result).lines()))
        show(paths)
    except DeadlockError as error:
        if options.out is not None:
            picture = draw_deadlock(request.program, request.machine, error)
            show(write(options.out, {DEADLOCK: picture}))
        refuse(str(error))
    except OnewaferError as error:
        refuse(str(error))
    except BrokenPipeError:
        # Who read the lines, a pager for one, has gone: nothing is wrong, nor to be flushed.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(128 + signal.SIGPIPE) from None
    except OSError as error:
        refuse(f"{error.filename}: {(error.strerror or str(error)).lower()}")


def show(paths: list[Path]) -> None:
    """Say which files were written."""
    for path in paths:
        print(f"  written       {path}")
    sys.stdout.flush()


def make_parser() -> OneLineParser:
    """The command's options."""
    names = "\n".join(
        f"  {name:<22}{entry.summary}; size: {entry.size_means}, {entry.size}"
        for name, entry in PROGRAMS.items()
    )
    parser = OneLineParser(
        prog=PROGRAM_NAME,
        description=__doc__,
        epilog=f"programs:\n{names}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("program", metavar="PROGRAM", help="a name of the list below")
    parser.add_argument("--width", type=int, default=16, help="columns of PEs (default: 16)")
    parser.add_argument("--height", type=int, default=16, help="rows of PEs (default: 16)")
    parser.add_argument("--wafer", default="wse3", help=f"{', '.join(MACHINES)} (default: wse3)")
    parser.add_argument("--dtype", help=f"{', '.join(DTYPES)} (default: the program's own)")
    parser.add_argument("--size", type=int, help="see the list below (default: the program's own)")
    parser.add_argument(
        "--max-cycles", type=int, default=MAXIMUM_CYCLES, help="give the run up after so many"
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder for the pictures")
    return parser


if __name__ == "__main__":
    main()
