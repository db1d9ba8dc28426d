"""How every figure looks, and how it becomes a PNG; no state of pyplot is touched."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter
from PIL import Image

from pipeline.reporting import humane

Side = Literal["x", "y"]
DOTS_PER_INCH = 160
INK, FAINT, GRID = "#22272e", "#57606a", "#e4e7eb"
# Okabe and Ito's palette, told apart with every common colour blindness; its yellow is too
# light for a line on white.
PALETTE = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
BADGES = {
    "measured": "#00664b",
    "simulated": "#00578a",
    "published": "#5b4a8a",
    "extrapolated": "#a34700",
}
# Ticks in each decade of a logarithmic axis that spans at least this factor.
TICKS = ((300.0, (1.0,)), (10.0, (1.0, 2.0, 5.0)), (0.0, (1.0, 1.2, 1.5, 2.0, 3.0, 4.0, 5.0, 7.0)))
STYLE: dict[Any, Any] = {
    "font.size": 10,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": "#8c959f",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.titlesize": 11,
    "grid.color": GRID,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "legend.frameon": False,
    "legend.fontsize": 9,
}


def new_figure(
    width_inches: float,
    height_inches: float,
    panels: int = 1,
    widths: Sequence[float] | None = None,
) -> tuple[Figure, list[Axes]]:
    """A figure with ``panels`` side by side, as wide as each other unless ``widths`` says else."""
    size = (width_inches, height_inches)
    figure = Figure(figsize=size, dpi=DOTS_PER_INCH, layout="constrained")
    axes = figure.subplots(1, panels, squeeze=False, width_ratios=widths)
    return figure, list(axes[0])


def png(figure: Figure) -> bytes:
    """Draw ``figure``, in 256 colours, which a plot does not exceed by much; a third the size."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    image = Image.fromarray(np.asarray(canvas.buffer_rgba())[:, :, :3])
    with io.BytesIO() as file:
        image.quantize(256, method=Image.Quantize.MEDIANCUT).save(file, "PNG", optimize=True)
        return file.getvalue()


def entitle(axes: Axes, title: str, *badges: str) -> None:
    """Set a panel's title, and at its right where its numbers come from."""
    axes.set_title(title, loc="left", fontweight="bold", color=INK)
    axes.set_title(
        " + ".join(badges), loc="right", fontsize=9, style="italic", color=BADGES[badges[-1]]
    )


def colour(index: int) -> str:
    """The colour of the ``index``-th thing in a figure."""
    return PALETTE[index % len(PALETTE)]


def tokens_axis(axes: Axes, label: str) -> None:
    """A linear horizontal axis of tokens."""
    axes.set(xlabel=label)
    axes.set_xlim(left=0)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _short(humane.count(value))))


def count_axis(axes: Axes, side: Side, label: str) -> None:
    """A logarithmic axis of parameters or rates, its ticks as ``1 M`` and ``10 M``."""
    _log_axis(axes, side, label, lambda value: _short(humane.count(value)))


def seconds_axis(axes: Axes, side: Side, label: str) -> None:
    """A logarithmic axis of durations, its ticks as ``10 ms`` and ``1 s``."""
    _log_axis(axes, side, label, lambda value: _short(humane.scaled(value, humane.SECONDS)))


def loss_axis(axes: Axes, side: Side, label: str) -> None:
    """A logarithmic axis of losses."""
    _log_axis(axes, side, label, lambda value: f"{value:g}")


def _log_axis(axes: Axes, side: Side, label: str, text: Callable[[float], str]) -> None:
    """Make one side logarithmic, with ticks as fine as what is drawn on it asks for."""
    axes.set(**{f"{side}scale": "log", f"{side}label": label})
    axis = axes.xaxis if side == "x" else axes.yaxis
    low, high = axis.get_view_interval()
    steps = next(steps for reach, steps in TICKS if high / low >= reach)
    axis.set_major_locator(LogLocator(subs=steps, numticks=12))
    axis.set_major_formatter(FuncFormatter(lambda value, _: text(value)))
    axis.set_minor_formatter(NullFormatter())


def _short(text: str) -> str:
    """``1.00 M`` as ``1 M``: a tick needs no decimals."""
    number, _, unit = text.partition(" ")
    return f"{float(number.replace(',', '')):g} {unit}".strip()
