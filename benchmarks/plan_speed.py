"""Speed of a plan: of one that is warm, of the command, of the import, and of a thousand.

    python -m benchmarks.plan_speed --rounds 5

The warm plan is that of gptneox_20b on wse2 at the defaults of conf/partition/, in a process that
has planned it once. The command is what a user types, from the start of Python until the plan is
on the screen, and to its end; what it goes on with in the background is waited for between the
rounds, and not timed. The thousand plans are of gptneox_20b at
as many batches, shared by the cores. Each has a target that this project holds itself to; all
figures are *measured*.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path

import psutil

from pipeline import machine
from pipeline.config import compose
from pipeline.partition import request_of
from wse.plan import Request, plan

ROOT = Path(__file__).resolve().parents[1]
IMPORT = """
import importlib
from pathlib import Path
import wse
root = Path(wse.__path__[0])
for path in sorted(root.rglob("*.py")):
    name = ".".join(("wse", *path.relative_to(root).with_suffix("").parts))
    if "fabric" not in name and not name.endswith(("__init__", "__main__")):
        importlib.import_module(name)
"""
"""All that a plan may load; the fabric's engine brings a compiler, which no plan needs."""
MANY = 1000
CORES = 2


def request() -> Request:
    """What the command below asks for."""
    config = compose(["model=gptneox_20b", "wafer=wse2"])
    return request_of(config.model, config.wafer, config.partition)


def seconds_of(what: Callable[[], object]) -> float:
    """How long a call takes."""
    start = time.perf_counter()
    what()
    return time.perf_counter() - start


def run(*arguments: str) -> None:
    """Run Python to its end, from the repository's root; raise if it ends badly."""
    subprocess.run([sys.executable, *arguments], cwd=ROOT, check=True, capture_output=True)


def settle() -> None:
    """Wait until no command goes on in the background."""
    while any(
        "pipeline.partition" in (process.info["cmdline"] or ())
        for process in psutil.process_iter(["cmdline"])
    ):
        time.sleep(0.1)


def asked_for(results: str) -> list[str]:
    """What a user types after the name of Python."""
    return ["-m", "pipeline.partition", "model=gptneox_20b", "wafer=wse2", f"results={results}"]


def shown(results: str) -> None:
    """The command, until the plan is on the screen."""
    with subprocess.Popen(
        [sys.executable, *asked_for(results)], cwd=ROOT, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        if not process.stdout.readline():
            raise RuntimeError("the command showed no plan")
        process.kill()


def many(one: Request) -> None:
    """A thousand plans, with the start of the processes."""
    requests = [replace(one, global_batch=batch) for batch in range(1, MANY + 1)]
    with ProcessPoolExecutor(CORES) as pool:
        list(pool.map(plan, requests, chunksize=25))


def measure(rounds: int, results: str) -> None:
    """Print the median of each beside its target."""
    one = request()
    plan(one)
    run(*asked_for(results))  # makes the database of runs
    sides: list[tuple[str, float, int, Callable[[], object]]] = [
        ("a warm plan", 0.05, 10 * rounds, lambda: plan(one)),
        ("the command, until it shows", 2.0, rounds, lambda: shown(results)),
        ("the command, to its end", 2.0, rounds, lambda: run(*asked_for(results))),
        ("import of all that plans load", 0.5, rounds, lambda: run("-c", IMPORT)),
        (f"{MANY} plans on {CORES} cores", 30.0, 1, lambda: many(one)),
    ]
    for name, target, times, what in sides:
        taken = []
        for _ in range(times):
            settle()
            taken.append(seconds_of(what))
        print(
            f"{name:<30} {statistics.median(taken):7.3f} s, target {target:g} s "
            f"(of {times}: {min(taken):.3f} to {max(taken):.3f})",
            flush=True,
        )


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5, help="of each (default 5)")
    arguments = parser.parse_args()
    about = machine.describe()
    print(f"measured on {about['cpu']}, {about['cores']} cores, Python {about['python']}")
    with tempfile.TemporaryDirectory() as results:
        measure(arguments.rounds, results)


if __name__ == "__main__":
    main()
