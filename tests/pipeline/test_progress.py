"""Progress shows plain lines where there is no terminal and a bar where there is one."""

from __future__ import annotations

import pytest

from pipeline import progress
from pipeline.progress import Progress, byte_count


class Clock:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    return clock


def test_plain_lines_every_few_seconds_and_at_the_end(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    with Progress("train", total=400, done=100) as bar:
        for step in range(101, 131):
            clock.now += 0.5
            bar.update(step, f"loss {step}")
    assert capsys.readouterr().out.splitlines() == [
        "train  110 of 400 (28%)  loss 110  2:25 left",
        "train  120 of 400 (30%)  loss 120  2:20 left",
        "train  130 of 400 (32%)  loss 130  2:15 left",
    ]


def test_the_last_state_is_always_shown(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with Progress("reading", total=None, show=byte_count) as bar:
        bar.update(1_234_567, "quickly")
    assert capsys.readouterr().out == "reading  1.2 MB  quickly\n"


def test_a_line_on_demand(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with Progress("train", total=2) as bar:
        bar.update(1, "[loss]", say=True)
        bar.say("validation [loss] 3")
    # Where no time has passed, nothing can be said about the time left.
    assert (
        capsys.readouterr().out == "train  1 of 2 (50%)  [loss]  0:00 left\nvalidation [loss] 3\n"
    )


def test_a_bar_on_a_terminal(
    clock: Clock, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "100")
    with Progress("train", total=400) as bar:
        bar.update(400, "loss [1]")
        bar.say("validation [loss] 3")
    output = capsys.readouterr().out
    assert "validation [loss] 3" in output
    assert "400 of 400 (100%)" in output
    assert "loss [1]" in output
    assert "━" in output


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (12_345_678, "12.3 MB"), (5e15, "5000.0 TB")],
)
def test_byte_count(value: float, text: str) -> None:
    assert byte_count(value) == text
