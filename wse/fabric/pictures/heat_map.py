"""Heat maps of the mesh as SVG: one square per PE, column 0 and row 0 in the upper left corner.

Values lie in the SVG as pictures of one pixel per PE, so that a whole wafer is still a small file.
"""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from wse.fabric.pictures.shading import embedded, shades

PLOT = 300  # the longer side of a map, in pixels
THINNEST = 14  # the shorter side of a map of one row or column, in pixels
LEFT, TOP, GAP, BAR = 64, 84, 84, 86  # margins; between maps; for the scale and its labels
SMALLEST_WIDTH = 620  # what the title takes
STYLE = "font-family='Helvetica, Arial, sans-serif' font-size='12' fill='#222'"


@dataclass(frozen=True)
class Panel:
    """One map: its name and its values (height, width), all zero or more."""

    name: str
    values: np.ndarray


@dataclass(frozen=True)
class Place:
    """Where a map lies in the picture, in pixels."""

    left: float
    top: float
    width: float
    height: float


def heat_map(title: str, subtitle: str, unit: str, panels: Sequence[Panel], most: float) -> str:
    """The text of an SVG of ``panels`` side by side, two in a row, on one scale from 0 to ``most``.

    The panels have one shape; ``unit`` stands at the scale. Says that it is simulated.
    """
    places = lay_out(panels[0].values.shape, len(panels))
    right = max(place.left + place.width for place in places)
    bottom = max(place.top + place.height for place in places)
    body = [_map(panel, place, most) for panel, place in zip(panels, places, strict=True)]
    body.append(_scale(right + 28, places[0].top, max(PLOT / 2, places[0].height), unit, most))
    bottom = max(bottom, places[0].top + PLOT / 2)
    return svg(title, subtitle, right + BAR, bottom + 52, body)


def lay_out(shape: tuple[int, ...], count: int) -> list[Place]:
    """Places for ``count`` maps of ``shape`` (height, width): two in a row, from the upper left."""
    rows, columns = shape
    side = PLOT / max(rows, columns)
    width, height = max(THINNEST, columns * side), max(THINNEST, rows * side)
    return [
        Place(LEFT + i % 2 * (width + GAP), TOP + i // 2 * (height + GAP), width, height)
        for i in range(count)
    ]


def svg(title: str, subtitle: str, width: float, height: float, body: Sequence[str]) -> str:
    """The text of an SVG with a title, and below it a line that ends in *simulated*."""
    width = max(width, SMALLEST_WIDTH)
    return (
        f"<svg xmlns='http://www.w3.org/2000/svg' width='{width:.0f}' height='{height:.0f}' "
        f"viewBox='0 0 {width:.0f} {height:.0f}' {STYLE}>\n"
        f"<title>{html.escape(title)}, simulated</title>\n"
        f"<rect width='100%' height='100%' fill='white'/>\n"
        f"{text(LEFT, 26, title, 'start', 16)}\n"
        f"{text(LEFT, 46, f'{subtitle} · simulated', 'start', 12, '#666')}\n"
        + "\n".join(body)
        + "\n</svg>\n"
    )


def text(
    x: float, y: float, words: str, anchor: str = "middle", size: int = 12, fill: str = "#222"
) -> str:
    """A line of text; ``anchor`` is ``start``, ``middle`` or ``end``."""
    return (
        f"<text x='{x:.1f}' y='{y:.1f}' text-anchor='{anchor}' font-size='{size}' fill='{fill}'>"
        f"{html.escape(words)}</text>"
    )


def image(place: Place, pixels: np.ndarray) -> str:
    """A picture (height, width, 3), stretched over ``place`` without smoothing."""
    return (
        f"<image x='{place.left:.1f}' y='{place.top:.1f}' width='{place.width:.1f}' "
        f"height='{place.height:.1f}' preserveAspectRatio='none' "
        f"style='image-rendering:pixelated' href='{embedded(pixels)}'/>"
    )


def axes(place: Place, shape: tuple[int, ...]) -> str:
    """A frame with the numbers of columns below and of rows on the left."""
    rows, columns = shape
    marks = [
        f"<rect x='{place.left:.1f}' y='{place.top:.1f}' width='{place.width:.1f}' "
        f"height='{place.height:.1f}' fill='none' stroke='#888'/>"
    ]
    bottom = place.top + place.height
    for column in ticks(columns, place.width / 40):
        marks.append(
            text(place.left + (column + 0.5) * place.width / columns, bottom + 15, f"{column}")
        )
    for row in ticks(rows, place.height / 24):
        y = place.top + (row + 0.5) * place.height / rows + 4
        marks.append(text(place.left - 6, y, f"{row}", "end"))
    marks.append(text(place.left + place.width / 2, bottom + 31, "PE column", fill="#666"))
    x, y = place.left - 40, place.top + place.height / 2
    marks.append(
        f"<g transform='rotate(-90 {x:.1f} {y:.1f})'>{text(x, y, 'PE row', fill='#666')}</g>"
    )
    return "\n".join(marks)


def ticks(count: int, most: float) -> list[int]:
    """Round numbers from 0 below ``count``, at most about ``most`` of them."""
    return list(range(0, count, round_step(count / max(most, 1.0))))


def round_step(least: float) -> int:
    """The smallest of 1, 2, 5, 10, 20, 50, ... that is not below ``least``."""
    power = 10 ** max(0, math.floor(math.log10(max(least, 1.0))))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= least)


def _map(panel: Panel, place: Place, most: float) -> str:
    pixels = shades(np.clip(panel.values / (most or 1.0), 0.0, 1.0))
    name = text(place.left, place.top - 9, panel.name, "start", 13)
    return "\n".join([name, image(place, pixels), axes(place, panel.values.shape)])


def _scale(left: float, top: float, height: float, unit: str, most: float) -> str:
    """The shades from 0 below to ``most`` above, with numbers beside them."""
    column = shades(np.linspace(1.0, 0.0, 128)[:, None])
    place = Place(left, top, 12, height)
    marks = [image(place, column), text(left, top - 9, unit, "start", 12, "#666")]
    for share in (0.0, 0.5, 1.0):
        y = top + (1 - share) * height + 4
        marks.append(text(left + 18, y, f"{share * most:,.4g}", "start"))
    return "\n".join(marks)
