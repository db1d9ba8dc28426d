"""What a plan leaves beside ``partition.json``: its step as a trace, and its two pictures.

All of it is simulated, and says so.
"""

from __future__ import annotations

from pathlib import Path

from pipeline.files import write_bytes, write_text
from wse.floorplan import floorplan
from wse.plan import Request, planned_step
from wse.roofline import roofline
from wse.trace import step_trace

TRACE, FLOORPLAN, ROOFLINE = "plan_trace.json", "plan_floorplan.png", "plan_roofline.png"


def plan_files(folder: Path) -> list[Path]:
    """Where the files lie, whether or not they are there."""
    return [folder / name for name in (TRACE, FLOORPLAN, ROOFLINE)]


def write_trace(folder: Path, request: Request) -> None:
    """Write the trace of the plan of ``request``; where nothing fits, remove one of before."""
    setup, planned = planned_step(request)
    if planned is None:
        (folder / TRACE).unlink(missing_ok=True)
    else:
        write_text(folder / TRACE, step_trace(setup, planned))


def draw_pictures(folder: Path, request: Request) -> None:
    """Draw the plan of ``request``; where nothing fits, remove the pictures of before."""
    setup, planned = planned_step(request)
    if planned is None:
        for name in (FLOORPLAN, ROOFLINE):
            (folder / name).unlink(missing_ok=True)
        return
    # Drawing takes longer to load than a plan takes to make.
    from pipeline.reporting.floorplan_plot import draw_floorplan
    from pipeline.reporting.roofline_plot import draw_roofline

    write_bytes(folder / FLOORPLAN, draw_floorplan(floorplan(setup, planned)))
    write_bytes(folder / ROOFLINE, draw_roofline(roofline(setup, planned)))
