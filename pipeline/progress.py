"""Progress of a long stage, on the standard output: a live bar on a terminal, else plain lines.

with Progress("train", total=400) as bar:
    for step in range(1, 401):
        ...
        bar.update(step, f"loss {loss:.4f}")
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from types import TracebackType

from rich.console import Console, RenderableType
from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress
from rich.text import Text

LINE_SECONDS = 5.0
"""Seconds between plain lines."""

REFRESH_SECONDS = 0.1
"""Seconds between changes of the bar."""


def count(value: float) -> str:
    """A whole number with its thousands apart: ``12,345``."""
    return f"{value:,.0f}"


def byte_count(value: float) -> str:
    """Bytes with a decimal prefix: ``12.3 MB``."""
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.0f} B" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"


class _Bar(RichProgress):
    """Rich's bar, with a line below it that goes on as wide as the terminal is."""

    detail = ""

    def get_renderables(self) -> Iterable[RenderableType]:
        """The bar, then the line."""
        yield from super().get_renderables()
        if self.detail:
            yield Text(self.detail, no_wrap=True, overflow="ellipsis")


class Progress:
    """How far a stage has come: ``done`` of ``total`` (None: unknown), with words of its own.

    ``show`` writes an amount of ``done``. Updates are cheap: most only take the time.
    """

    def __init__(
        self,
        title: str,
        total: float | None,
        done: float = 0,
        show: Callable[[float], str] = count,
    ) -> None:
        """Start the clock; nothing is shown yet."""
        self.title, self.total, self.done, self.show = title, total, done, show
        self.words = ""
        self._first = done
        self._started = self._shown = time.monotonic()
        self._pending = False
        self._console = Console(highlight=False)
        self._bar = self._rich_bar() if self._console.is_terminal else None

    def _rich_bar(self) -> _Bar:
        bar = _Bar(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[amount]}"),
            TextColumn("{task.fields[words]}", markup=False),
            TimeRemainingColumn(),
            console=self._console,
        )
        bar.add_task(
            self.title, total=self.total, completed=int(self.done), amount=self._amount(), words=""
        )
        return bar

    def __enter__(self) -> Progress:
        """Show the bar, if there is a terminal."""
        if self._bar:
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Show the last state and leave it on the screen."""
        if self._pending:
            self._render()
        if self._bar:
            self._bar.stop()

    @property
    def seconds(self) -> float:
        """Seconds since the start, above 0 so that speeds can be told."""
        return max(time.monotonic() - self._started, 1e-6)

    def update(self, done: float, words: str = "", say: bool = False) -> None:
        """Note that ``done`` is reached; ``say`` asks for a plain line now."""
        self.done, self.words, self._pending = done, words, True
        interval = REFRESH_SECONDS if self._bar else LINE_SECONDS
        if say or time.monotonic() - self._shown >= interval:
            self._render()

    def detail(self, line: str) -> None:
        """Show what goes on until the next update: below the bar, or as a plain line at times."""
        if self._bar:
            self._bar.detail = line
        elif time.monotonic() - self._shown >= LINE_SECONDS:
            self._shown = time.monotonic()
            print(line, flush=True)

    def say(self, line: str) -> None:
        """Print ``line``, above the bar if there is one."""
        if self._bar:
            self._console.print(line, markup=False)
        else:
            print(line, flush=True)

    def _render(self) -> None:
        self._shown, self._pending = time.monotonic(), False
        if self._bar:
            self._bar.detail = ""
            task = self._bar.task_ids[0]
            self._bar.update(task, completed=self.done, amount=self._amount(), words=self.words)
        else:
            parts = (self.title, self._amount(), self.words, self._time_left())
            print("  ".join(part for part in parts if part), flush=True)

    def _amount(self) -> str:
        if self.total is None:
            return self.show(self.done)
        share = 100 * self.done / self.total if self.total else 100
        return f"{self.show(self.done)} of {self.show(self.total)} ({share:.0f}%)"

    def _time_left(self) -> str:
        """Time left at the average speed so far, as minutes and seconds."""
        progressed = self.done - self._first
        if self.total is None or progressed <= 0 or self.done >= self.total:
            return ""
        seconds = round(self.seconds * (self.total - self.done) / progressed)
        return f"{seconds // 60}:{seconds % 60:02d} left"
