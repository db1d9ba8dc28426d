"""The timeline of a step: weights in, arithmetic, gradients out, the store's update, overlapped.

A *pass* of a layer is its forward, its repeated forward (where a group of blocks is computed
again) or its backward. Four resources work at once, each on one pass at a time, in order:

- the link in brings the weights of a pass (and the inputs that were off-loaded), as soon as one
  of the two buffers is free, that is once the pass before the last has ended;
- the wafer begins as the first weights arrive, and ends when its arithmetic is done and the last
  weights are there, plus a fixed cost of the layer;
- the link out (Ethernet is full duplex) carries gradients (and inputs to be off-loaded) from the
  moment that the pass begins, and is done after it ends; two passes may wait for it;
- the parameter store updates a layer when the last micro-batch's gradients have arrived.

A step ends when the last layer is updated. Every resource's time is a sum and a maximum of the
others', so that nothing is ever later for a faster link, clock or store. Equal passes that follow
each other settle to a period after a few: the rest of the run is that period times its length.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

CAUSES = ("compute", "weight_stream", "gradient_stream", "fabric", "fixed", "update")
SETTLED_SECONDS = 1e-12


@dataclass(frozen=True)
class Pass:
    """What one passage of a layer asks of each resource, in seconds when it works alone.

    ``fabric_seconds`` is that part of ``wafer_seconds`` in which links, not arithmetic, bind.
    """

    layer: str
    phase: str  # forward, recompute or backward
    in_seconds: float
    wafer_seconds: float
    fabric_seconds: float
    fixed_seconds: float
    out_seconds: float = 0.0
    update_seconds: float = 0.0


@dataclass(frozen=True)
class Event:
    """A span of one resource's time: seconds from the begin of the step."""

    resource: str  # link in, wafer, link out or update
    layer: str
    phase: str
    micro_batch: int
    begin: float
    end: float


@dataclass
class _Clock:
    """When each resource is free, and when the last two passes ended on the wafer and going out."""

    link_in: float = 0.0
    wafer: float = 0.0
    wafer_before: float = 0.0
    link_out: float = 0.0
    link_out_before: float = 0.0
    store: float = 0.0

    def relative(self) -> tuple[float, ...]:
        """All that the next pass depends on, as seen from the wafer's clock."""
        seen = (
            max(self.link_in, self.wafer_before),
            self.wafer_before,
            max(self.link_out, self.wafer),
            max(self.link_out_before, self.wafer),
            max(self.store, self.wafer),
        )
        return tuple(time - self.wafer for time in seen)

    def advance(self, seconds: float) -> None:
        """Move all clocks on by ``seconds``."""
        for name in vars(self):
            setattr(self, name, getattr(self, name) + seconds)


@dataclass
class Timeline:
    """The seconds of a step by cause, which add up to it; events if they are wanted."""

    seconds_by_cause: dict[str, float] = field(default_factory=lambda: dict.fromkeys(CAUSES, 0.0))
    events: list[Event] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        """Seconds of the step."""
        return sum(self.seconds_by_cause.values())


Run = tuple[Sequence[Pass], int]
"""A sequence of passes, and how often it is repeated."""


def timeline(micro_batch: Sequence[Run], count: int, record: bool = False) -> Timeline:
    """The step of ``count`` micro-batches, each the ``micro_batch``'s runs one after the other.

    The last micro-batch's gradients are followed by the store's updates. ``record`` keeps every
    event of the step and is slow; the seconds are the same.
    """
    made = Timeline()
    clock = _Clock()
    if record:
        for number in range(count):
            for passes, repeated in micro_batch:
                for _ in range(repeated):
                    for one in passes:
                        _go(one, clock, made, number == count - 1, number)
    else:
        _repeat(lambda: _runs(micro_batch, clock, made, False), clock, made, count - 1)
        _runs(micro_batch, clock, made, True)
    end = max(clock.wafer, clock.link_out, clock.store)
    waits = clock.link_out - clock.wafer
    made.seconds_by_cause["gradient_stream"] += max(0.0, waits)
    made.seconds_by_cause["update"] += end - max(clock.wafer, clock.link_out)
    return made


def _runs(micro_batch: Sequence[Run], clock: _Clock, made: Timeline, last: bool) -> None:
    for passes, repeated in micro_batch:

        def once(passes: Sequence[Pass] = passes) -> None:
            for one in passes:
                _go(one, clock, made, last, None)

        _repeat(once, clock, made, repeated)


def _repeat(once: Callable[[], None], clock: _Clock, made: Timeline, times: int) -> None:
    """Call ``once`` ``times`` times, or until what it adds no longer changes, and multiply."""
    before = None
    for done in range(times):
        causes = dict(made.seconds_by_cause)
        wafer = clock.wafer
        once()
        state = clock.relative()
        if before is not None and all(
            abs(now - then) < SETTLED_SECONDS for now, then in zip(state, before, strict=True)
        ):
            left = times - done - 1
            for cause, seconds in made.seconds_by_cause.items():
                made.seconds_by_cause[cause] += (seconds - causes[cause]) * left
            clock.advance((clock.wafer - wafer) * left)
            return
        before = state


def _go(one: Pass, clock: _Clock, made: Timeline, last: bool, micro_batch: int | None) -> None:
    """Let one pass through; add its time on the wafer to the causes, and its events."""
    causes = made.seconds_by_cause
    weights_begin = max(clock.link_in, clock.wafer_before)
    weights_end = weights_begin + one.in_seconds
    held_back = max(clock.wafer, clock.link_out_before)  # its gradients need a buffer to go out of
    begin = max(held_back, weights_begin)
    busy = begin + one.wafer_seconds
    end = max(busy, weights_end) + one.fixed_seconds
    causes["gradient_stream"] += held_back - clock.wafer
    causes["weight_stream"] += (begin - held_back) + max(0.0, weights_end - busy)
    causes["compute"] += one.wafer_seconds - one.fabric_seconds
    causes["fabric"] += one.fabric_seconds
    causes["fixed"] += one.fixed_seconds
    out_begin = max(clock.link_out, begin)
    out_end = clock.link_out
    if one.out_seconds:
        out_end = max(out_begin + one.out_seconds, end)
    update_begin = max(clock.store, out_end)
    update_end = update_begin + one.update_seconds if last and one.update_seconds else clock.store
    clock.link_in = weights_end
    clock.wafer_before, clock.wafer = clock.wafer, end
    clock.link_out_before, clock.link_out = clock.link_out, out_end
    clock.store = update_end
    if micro_batch is not None:
        spans = (
            ("link in", weights_begin, weights_end),
            ("wafer", begin, end),
            ("link out", out_begin, out_end if one.out_seconds else out_begin),
            ("update", update_begin, update_end if last and one.update_seconds else update_begin),
        )
        made.events += [
            Event(resource, one.layer, one.phase, micro_batch, start, stop)
            for resource, start, stop in spans
            if stop > start
        ]
