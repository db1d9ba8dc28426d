"""Runs a program on the simulated fabric of a wafer, cycle by cycle: the fabric stage.

    python -m pipeline.fabric fabric=experiment fabric.program=broadcast wafer=wse3

writes ``results/RUN/fabric.json`` and shows it; beside it, in ``fabric/``, heat maps, the
wavefront and a timeline (for https://ui.perfetto.dev). Every number is simulated, but for the
simulation's own speed; the fabric's rules are in ``docs/fabric.md``.
"""

from __future__ import annotations

from typing import Any

from pipeline.cli import stage_main
from pipeline.files import write_json, write_text
from pipeline.job import Job
from pipeline.slices import FabricSlice
from pipeline.tracking import log_experiment
from wse.fabric.perform import Request, perform
from wse.fabric.pictures.draw import draw
from wse.fabric.summary import summarise

FOLDER = "fabric"


def run(job: Job[FabricSlice]) -> dict[str, Any]:
    """Run the experiment; write, show, log and return its summary.

    Raises :class:`~wse.fabric.errors.FabricError` if the fabric refuses the program.
    """
    fabric = job.config.fabric
    request = Request(
        program=fabric.program,
        width=fabric.width,
        height=fabric.height,
        machine=job.config.wafer,
        dtype=fabric.dtype,
        size=fabric.size,
        max_cycles=fabric.max_cycles,
    )
    result = perform(request)
    summary = summarise(fabric.program, result)
    print("\n".join(summary.lines()), flush=True)
    files = []
    for name, content in draw(fabric.program, result).items():
        files.append(job.run_directory / FOLDER / name)
        write_text(files[-1], content)
    made = {**summary.to_dict(), "config_hash": job.hash}
    write_json(job.run_directory / "fabric.json", made)
    log_experiment(job, made, files)
    return made


if __name__ == "__main__":
    stage_main("fabric", run)
