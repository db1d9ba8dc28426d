"""The wafer's schedule, given this machine: the processor as the wafer, the disk as its store.

The visits of a streamed step become passes of :mod:`wse.schedule`: what the disk must read for a
visit comes in by one link, what it writes goes out by another, and two visits' planes are in
flight, as on the wafer. What each visit moves is taken from the simulation of the host's memory,
which a wafer does not have. That the prediction holds here, where it can be measured, is the
evidence for the schedule where no wafer is at hand.
"""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.machine_speed.speed import DiskSpeed
from pipeline.streaming.simulation import Moved
from pipeline.streaming.visits import Visit
from wse.schedule import Pass, timeline

SETTLED_STEPS = 3


def scheduled_seconds(visits: Sequence[Visit], moved: Sequence[Moved], disk: DiskSpeed) -> float:
    """Seconds of a settled step of ``visits``, each of which moves what ``moved`` says."""
    passes = [_pass(visit, bytes_, disk) for visit, bytes_ in zip(visits, moved, strict=True)]
    before, after = (timeline([(passes, 1)], steps).seconds for steps in (2, SETTLED_STEPS))
    return after - before


def _pass(visit: Visit, moved: Moved, disk: DiskSpeed) -> Pass:
    """The processor computes and updates, and pays for what is moved through it."""
    rate = disk.read_beside_write if visit.writing_pass else disk.read
    through = (moved.read + moved.written) * disk.compute_seconds_per_byte
    files = len(visit.committed) + visit.copied_files
    syncs = files * disk.sync_seconds + disk.manifest_seconds if visit.committed else 0.0
    return Pass(
        layer=visit.part,
        phase="backward" if visit.committed else "forward",
        in_seconds=moved.read / rate,
        wafer_seconds=visit.compute_seconds + visit.update_seconds + through,
        fabric_seconds=0.0,
        fixed_seconds=0.0,
        out_seconds=moved.written / disk.write_beside_read + syncs,
    )
