"""Engine and reference on random programs: every cycle, cell, count and error must be the same.

    python -m tests.wse.fabric.agree --programs 5000

runs programs 0 to 4999 and ends with exit code 1 if they differ in any.
"""

from __future__ import annotations

import argparse
import re
from collections import Counter
from random import Random
from typing import Any
from unittest.mock import patch

import numpy as np
from numpy.typing import NDArray

from tests.wse.fabric.programs import random_machine, random_program
from wse.fabric import Machine
from wse.fabric.assemble import assemble
from wse.fabric.assembled import Assembled
from wse.fabric.engine import lane_tables
from wse.fabric.errors import DeadlockError, FabricError
from wse.fabric.reference.run import run as run_reference
from wse.fabric.run import run as run_engine
from wse.fabric.tables import PORTS

NO_NUMBER = 0x7FC00000
LONG, SHORT = 4000, 60
"""Limits in cycles: what no program takes, and what many do."""


def compare(number: int) -> tuple[str, str | None]:
    """How program ``number`` ended, and how the engine differs from the reference, if it does."""
    random = Random(number)
    machine = random_machine(random)
    program = assemble(random_program(random, machine)[0], machine)
    limit = SHORT if random.random() < 0.05 else LONG
    expected = by_reference(program, machine, limit)
    # Every second program has its routers in lanes wherever that is possible.
    with patch.object(lane_tables, "SHORTEST", 1 if number % 2 else lane_tables.SHORTEST):
        found = by_engine(program, machine, limit)
    ending = re.split("[: ]", expected.get("error", "ended"))[0]
    for name, value in expected.items():
        if not np.array_equal(found.get(name), value):
            return ending, f"{name}: {_difference(value, found.get(name, found.get('error')))}"
    return ending, None


def by_reference(program: Assembled, machine: Machine, limit: int) -> dict[str, Any]:
    """What a run by the reference leaves, or its error."""
    try:
        outcome = run_reference(program, machine, limit)
    except FabricError as error:
        return _failed(error)
    return {
        "cycles": outcome.cycles,
        "memory": _plain(outcome.memory, program, "arrays"),
        "registers": _plain(outcome.registers, program, "registers"),
        "link_wavelets": outcome.link_wavelets,
        "busy_cycles": outcome.busy_cycles,
    }


def by_engine(program: Assembled, machine: Machine, limit: int) -> dict[str, Any]:
    """What a run by the engine leaves, or its error."""
    try:
        result = run_engine(program, machine, limit)
    except FabricError as error:
        return _failed(error)
    return {
        "cycles": result.cycles,
        "memory": _plain(result.memory, program, "arrays"),
        "registers": _plain(result.registers, program, "registers"),
        "link_wavelets": result.link_wavelets[:, :, :PORTS].reshape(-1, PORTS),
        "busy_cycles": result.busy_cycles.ravel(),
    }


def _difference(expected: Any, found: Any) -> str:
    """Two values that differ; of tables, the first place where they do."""
    if not isinstance(expected, np.ndarray) or not isinstance(found, np.ndarray):
        return f"reference {expected}, engine {found}"
    places = np.argwhere(expected != found)
    first = tuple(places[0])
    place = f"{len(places)} places, the first at {[int(i) for i in first]}"
    return f"{place}: reference {expected[first]}, engine {found[first]}"


def _failed(error: FabricError) -> dict[str, Any]:
    """The kind of an error and its words; of a deadlock, its cycle and what waits where."""
    if isinstance(error, DeadlockError):
        words = f"DeadlockError after cycle {error.cycle}"
        return {"error": words, "waiting": error.waiting, "wavelets": error.wavelets}
    return {"error": f"{type(error).__name__}: {error}"}


def _plain(cells: NDArray[np.uint32], program: Assembled, kind: str) -> NDArray[np.uint32]:
    """Cells of arrays or registers, every float that is no number as one and the same.

    Which of the many it is, no one says.
    """
    firsts = program.memory_first if kind == "arrays" else program.register_first
    plain = cells.copy()
    for first, code in zip(firsts, program.code_of, strict=False):
        for place in getattr(program.codes[code], kind) if code >= 0 else ():
            if place.dtype.is_float:
                floats = plain[first + place.first : first + place.first + place.length]
                floats[np.isnan(floats.view(np.float32))] = NO_NUMBER
    return plain


def main() -> None:
    """Compare many programs; see the module's docstring."""
    parser = argparse.ArgumentParser(prog="python -m tests.wse.fabric.agree", description=__doc__)
    parser.add_argument("--programs", type=int, default=500, help="how many (default: 500)")
    parser.add_argument("--first", type=int, default=0, help="number of the first (default: 0)")
    arguments = parser.parse_args()
    endings: Counter[str] = Counter()
    differing = 0
    for number in range(arguments.first, arguments.first + arguments.programs):
        ending, difference = compare(number)
        endings[ending] += 1
        if difference:
            differing += 1
            print(f"program {number} ({ending}): {difference}", flush=True)
    counts = ", ".join(f"{count} {ending}" for ending, count in endings.most_common())
    print(f"{arguments.programs} programs ({counts}): {differing} differ")
    raise SystemExit(1 if differing else 0)


if __name__ == "__main__":
    main()
