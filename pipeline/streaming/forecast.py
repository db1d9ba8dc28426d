"""How long a step will take, forecast from a plan and the machine's measured rates."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline import machine
from pipeline.machine_speed.speed import MachineSpeed
from pipeline.progress import byte_count
from pipeline.reporting import humane
from pipeline.schema import ModelConfig, TrainConfig
from pipeline.streaming.compute_cost import ComputeCost
from pipeline.streaming.host_schedule import scheduled_seconds
from pipeline.streaming.layout import PartLayout, part_layouts
from pipeline.streaming.plan import ResidentPlan, StreamingPlan
from pipeline.streaming.simulation import Simulation
from pipeline.streaming.visits import StepVisits, Visit
from pipeline.streaming.working_memory import WorkingMemory

SETTLING_STEPS = 6
"""After so many steps, memory holds what it holds later and writes lag as far as they will."""

FORECAST_STEPS = 8
"""Which planes memory holds may alternate from step to step: a step is the mean of so many."""


@dataclass(frozen=True)
class FloorSeconds:
    """What a step cannot be faster than: each kind of work by itself, never interrupted.

    ``transfer`` is the longer of reading what memory has no room to keep, and of writing. Compute
    and update share the processor, so their sum is a floor, too.
    """

    compute: float
    transfer: float
    update: float


@dataclass(frozen=True)
class Forecast:
    """A step once memory holds what it can, predicted; bytes are of one step.

    ``binds`` is ``compute``, ``update`` or ``disk``. ``scheduled_seconds`` is what the wafer's own
    schedule makes of the step (:mod:`pipeline.streaming.host_schedule`); None for a resident run.
    """

    step_seconds: float
    scheduled_seconds: float | None
    tokens_per_second: float
    seconds_to_first_step: float
    floor_seconds: FloorSeconds
    binds: str
    bytes_read: int
    bytes_written: int

    def lines(self) -> list[str]:
        """What a user should know before the run starts."""
        floor = self.floor_seconds
        return [
            f"first step done after about {humane.duration(self.seconds_to_first_step)}, then "
            f"{humane.duration(self.step_seconds)} a step, "
            f"{humane.significant(self.tokens_per_second)} tokens/s, bound by {self.binds} "
            "(predicted from this machine's measured rates)",
            f"of a step: {humane.duration(floor.compute)} compute, "
            f"{humane.duration(floor.update)} update, {humane.duration(floor.transfer)} transfers: "
            f"{byte_count(self.bytes_read)} read, {byte_count(self.bytes_written)} written",
        ]


def forecast(
    model: ModelConfig,
    train: TrainConfig,
    plan: StreamingPlan | ResidentPlan,
    speed: MachineSpeed,
) -> Forecast:
    """Predict a step of ``plan`` on a machine of this ``speed``."""
    layouts = part_layouts(model, train)
    spilled = plan.spilled_layers if isinstance(plan, StreamingPlan) else 0
    memory = WorkingMemory(model, train, layouts, plan.kept_layers, spilled)
    step = StepVisits(ComputeCost(model, train, speed, layouts), memory)
    if isinstance(plan, ResidentPlan):
        return _resident(step, speed)
    return _streaming(step, plan.store_memory_bytes, speed)


def _resident(step: StepVisits, speed: MachineSpeed) -> Forecast:
    visits = step.of_step()
    compute = sum(visit.compute_seconds for visit in visits)
    update = sum(visit.update_seconds for visit in visits)
    first = sum(initial_seconds(step.cost.layouts, speed).values())
    floor = FloorSeconds(compute, 0.0, update)
    return _forecast(step, compute + update, None, first + compute + update, floor, 0, 0)


def _streaming(step: StepVisits, store_memory_bytes: int, speed: MachineSpeed) -> Forecast:
    simulation = Simulation(step.sizes(), store_memory_bytes, speed.disk)
    visits = step.of_step()
    simulation.run(step.of_fill(initial_seconds(step.cost.layouts, speed)))
    simulation.settle()
    simulation.run(visits)
    first = simulation.now
    steps = _settle(simulation, visits)
    simulation.begin_step()
    seconds = sum(simulation.run(visits) for _ in range(steps)) / steps
    floor = FloorSeconds(
        sum(visit.compute_seconds for visit in visits),
        max(simulation.read_seconds, simulation.write_seconds) / steps,
        sum(visit.update_seconds for visit in visits),
    )
    scheduled = scheduled_seconds(visits, simulation.moved[-len(visits) :], speed.disk)
    read = round(simulation.bytes_read / steps)
    written = round(simulation.bytes_written / steps)
    return _forecast(step, seconds, scheduled, first, floor, read, written)


def _settle(simulation: Simulation, visits: list[Visit]) -> int:
    """Run steps until they are settled; return of how many to take the mean."""
    before = simulation.situation()
    for _ in range(SETTLING_STEPS - 1):
        simulation.run(visits)
        if (after := simulation.situation()) == before:
            return 1
        before = after
    return FORECAST_STEPS


def _forecast(
    step: StepVisits,
    seconds: float,
    scheduled: float | None,
    first: float,
    floor: FloorSeconds,
    read: int,
    written: int,
) -> Forecast:
    train = step.cost.train
    processor = floor.compute + floor.update
    words = "compute" if floor.compute >= floor.update else "update"
    return Forecast(
        step_seconds=seconds,
        scheduled_seconds=scheduled,
        tokens_per_second=train.global_batch * train.sequence_length / seconds,
        seconds_to_first_step=first,
        floor_seconds=floor,
        binds="disk" if floor.transfer > processor else words,
        bytes_read=read,
        bytes_written=written,
    )


def initial_seconds(layouts: dict[str, PartLayout], speed: MachineSpeed) -> dict[str, float]:
    """For each part, the time to draw its matrices, one core to a matrix."""
    cores = machine.usable_cores()
    seconds = {}
    for part, layout in layouts.items():
        sizes = [
            spec.nbytes // spec.dtype.itemsize
            for spec in layout.planes["weights"]
            if len(spec.shape) > 1
        ]
        longest = max(sum(sizes) / cores, max(sizes, default=0))
        seconds[part] = 1e-9 * speed.initial_nanoseconds * longest
    return seconds
