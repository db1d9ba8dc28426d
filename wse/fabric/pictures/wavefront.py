"""The wavefront of a run as an animated SVG: which PEs wavelets have reached, cycle by cycle.

A frame is a moment. A PE is *ahead* of the front until its first wavelet arrives, *receiving* until
its last one has, and *done* from then on; one that never receives stays ahead.
"""

from __future__ import annotations

import numpy as np

from wse.fabric.pictures.heat_map import PLOT, Place, axes, image, lay_out, svg, text

FRAMES = 48
MOST_PES = 2 * PLOT  # along a side
SECONDS = 6.0  # of one showing; it is shown again and again
AHEAD, RECEIVING, DONE = (244, 246, 249), (213, 94, 0), (125, 178, 218)
STATES = ("ahead", "receiving", "done")
SHADES = np.array([AHEAD, RECEIVING, DONE], dtype=np.uint8)


def wavefront(title: str, subtitle: str, first: np.ndarray, last: np.ndarray) -> str:
    """The text of the animation.

    ``first`` and ``last`` (height, width) are the cycles in which the first and the last wavelet
    came to each PE, -1 if none did. Without animation the middle frame is seen.
    """
    # More PEs than pixels are not seen.
    every = -(-max(first.shape) // MOST_PES)
    shape, first, last = first.shape, first[::every, ::every], last[::every, ::every]
    [place] = lay_out(shape, 1)
    moments = frame_cycles(int(last.max()) + 1)
    frames = [
        _frame(place, int(cycle), states(first, last, int(cycle)), number, len(moments))
        for number, cycle in enumerate(moments)
    ]
    body = [*frames, axes(place, shape), _legend(place.left + place.width + 28, place.top)]
    return svg(title, subtitle, place.left + place.width + 130, place.top + place.height + 52, body)


def frame_cycles(cycles: int) -> np.ndarray:
    """The cycles that are drawn: evenly spaced from the first to the last of ``cycles``."""
    return np.unique(np.linspace(0, max(cycles, 1), FRAMES).astype(np.int64))


def states(first: np.ndarray, last: np.ndarray, cycle: int) -> np.ndarray:
    """Each PE's state at the end of ``cycle``, as its number in :data:`STATES`."""
    reached = (first >= 0) & (first <= cycle)
    return reached.astype(np.int64) + (reached & (last < cycle))


def _frame(place: Place, cycle: int, state: np.ndarray, number: int, count: int) -> str:
    begin, end = number / count, (number + 1) / count
    shown = "visible" if number == count // 2 else "hidden"
    key_times, values = f"0;{begin:.5f};{end:.5f}", "hidden;visible;hidden"
    if number == 0:
        key_times, values = f"0;{end:.5f}", "visible;hidden"
    return (
        f"<g visibility='{shown}'>{image(place, SHADES[state])}"
        f"{text(place.left, place.top - 9, f'after cycle {cycle:,}', 'start', 13)}"
        f"<animate attributeName='visibility' calcMode='discrete' dur='{SECONDS}s' "
        f"repeatCount='indefinite' keyTimes='{key_times}' values='{values}'/></g>"
    )


def _legend(left: float, top: float) -> str:
    marks = []
    for row, (name, shade) in enumerate(zip(STATES, SHADES.tolist(), strict=True)):
        y = top + 24 * row
        fill = f"rgb({shade[0]},{shade[1]},{shade[2]})"
        marks.append(
            f"<rect x='{left:.1f}' y='{y:.1f}' width='14' height='14' fill='{fill}' stroke='#888'/>"
        )
        marks.append(text(left + 20, y + 12, name, "start"))
    return "\n".join(marks)
