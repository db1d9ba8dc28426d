"""A long step says where it is and how fast it goes; a short one says nothing of itself."""

from __future__ import annotations

import pytest

from pipeline import progress
from pipeline.progress import Progress
from pipeline.streaming.timeline import Span, Timeline
from pipeline.training import step_display
from pipeline.training.step_display import StepProgress

LAYERS = 4
VISITS = [
    *(("forward", part) for part in ("embedding", *(f"layers.{n}" for n in range(LAYERS)), "head")),
    *(("backward", f"layers.{n}") for n in reversed(range(LAYERS))),
    ("backward", "embedding"),
]


class Clock:
    """A clock that the test moves, for the bar and for the step."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now

    perf_counter = monotonic


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    monkeypatch.setattr(step_display, "time", clock)
    return clock


def run_step(
    display: StepProgress, clock: Clock, step: int, forward: float, timeline: Timeline
) -> None:
    """A step whose visits take ``forward`` and three times that; each reads 2 GB and computes."""
    timeline.begin_step()
    for number, (phase, part) in enumerate(VISITS):
        display.visit(step, phase, part, number, len(VISITS), timeline)
        start = clock.now
        clock.now += forward if phase == "forward" else 3 * forward
        timeline.add(Span("read", part, start, clock.now, 2_000_000_000))
        timeline.add(Span("compute", part, start, clock.now, 100e9 * (clock.now - start)))
        if phase == "backward":
            timeline.add(Span("write", part, start, clock.now, 1_500_000_000))


def test_a_long_step_tells_place_speeds_and_time_left(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    timeline = Timeline()
    with Progress("train", total=5) as bar:
        display = StepProgress(bar, steps=5, layers=LAYERS)
        run_step(display, clock, 1, 5.0, timeline)
        first = capsys.readouterr().out.splitlines()
        bar.update(1, "loss 10.1", say=True)
        capsys.readouterr()
        run_step(display, clock, 2, 5.0, timeline)
        second = capsys.readouterr().out.splitlines()
    # The first of a step comes after the quiet seconds: at the second visit.
    assert first[0] == (
        "step 1 of 5  forward  layer 1 of 4  0.40 GB/s read  0.00 GB/s written  100 GFLOP/s"
    )
    assert first[-1] == (
        "step 1 of 5  backward  embedding  0.13 GB/s read  0.10 GB/s written  100 GFLOP/s"
        "  0:15 left in the step"
    )
    assert first[-3].endswith(
        "layer 2 of 4  0.13 GB/s read  0.10 GB/s written  100 GFLOP/s  0:45 left in the step"
    )
    # The second step knows from the first that a backward visit takes longer: 5 x 5 s, 4 x 15 s.
    assert second[0].endswith("1:25 left in the step")


def test_a_line_comes_every_few_seconds_at_most(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    with Progress("train", total=5) as bar:
        run_step(StepProgress(bar, 5, LAYERS), clock, 1, 1.0, Timeline())
        lines = capsys.readouterr().out.splitlines()
    # A step of 6 x 1 s and 5 x 3 s.
    assert len(lines) == 3


def test_a_short_step_says_nothing(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with Progress("train", total=100) as bar:
        display = StepProgress(bar, 100, LAYERS)
        for step in range(1, 101):
            run_step(display, clock, step, 0.1, Timeline())
    assert capsys.readouterr().out == ""


def test_on_a_terminal_it_stands_below_the_bar_until_the_step_ends(
    clock: Clock, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "120")
    with Progress("train", total=5) as bar:
        bar.update(1, "loss 10.1", say=True)
        bar.detail("step 2 of 5  backward  layer 31 of 44")
        bar._bar.refresh()
        during = capsys.readouterr().out
        bar.update(2, "loss 10.0", say=True)
        bar._bar.refresh()
        after = capsys.readouterr().out
    assert "loss 10.1" in during
    assert "layer 31 of 44" in during
    assert "loss 10.0" in after
    assert "layer 31 of 44" not in after
