"""The files that show a run: link load, PE utilisation, wavefront, timeline; or its deadlock."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from wse.fabric.errors import DeadlockError
from wse.fabric.pictures import LINK_LOAD, TIMELINE, UTILISATION, WAVEFRONT
from wse.fabric.pictures.heat_map import Panel, heat_map
from wse.fabric.pictures.timeline import timeline
from wse.fabric.pictures.wavefront import wavefront
from wse.fabric.run import Result
from wse.fabric.tables import PORT_NAMES, PORTS


def draw(program: str, result: Result) -> dict[str, str]:
    """The text of each of the ``FILES``, for a run that recorded its events."""
    height, width = result.busy_cycles.shape
    where = f"{width} x {height} PEs of {result.machine.name}, {result.cycles:,} cycles"
    links = result.link_wavelets[:, :, : PORTS - 1]
    panels = [
        Panel(f"to the {PORT_NAMES[port].lower()}", links[:, :, port]) for port in range(PORTS - 1)
    ]
    busy = 100 * result.busy_cycles / max(result.cycles, 1)
    first, last = result.first_delivery, result.last_delivery
    return {
        LINK_LOAD: heat_map(
            f"Link load of {program}", where, "wavelets", panels, float(links.max())
        ),
        UTILISATION: heat_map(
            f"PE utilisation of {program}",
            where,
            "% of cycles",
            [Panel("vector unit at work", busy)],
            100.0,
        ),
        WAVEFRONT: wavefront(f"Wavefront of {program}", where, first, last),
        TIMELINE: timeline(f"{program} on {where}", result.program, result.events),
    }


def draw_deadlock(program: str, machine: str, error: DeadlockError) -> str:
    """The text of :data:`~wse.fabric.pictures.DEADLOCK`: which PEs wait, and for what."""
    height, width = error.waiting.shape
    most = float(max(error.waiting.max(), error.wavelets.max()))
    return heat_map(
        f"Deadlock of {program}",
        f"{width} x {height} PEs of {machine}, nothing moves after cycle {error.cycle:,}",
        "count",
        [
            Panel("operations and tasks that wait", error.waiting),
            Panel("wavelets left in queues", error.wavelets),
        ],
        most,
    )


def write(folder: Path, drawn: Mapping[str, str]) -> list[Path]:
    """Write files to ``folder``, which is made if need be; return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / name for name in drawn]
    for path, text in zip(paths, drawn.values(), strict=True):
        path.write_text(text, encoding="utf-8")
    return paths
