"""What the simulator's tests draw from: shapes, setups, and every way to run them."""

from __future__ import annotations

from hypothesis import strategies as st

from wse.calibration import calibrated_wafer, calibration
from wse.choice import best_step
from wse.hardware import Wafer
from wse.step import Setup, Step
from wse.transformer import Shape, training_graph

WSE2 = calibrated_wafer()
RELEASES = ("R1.7.1", "R1.8.0", "R2.0")  # of each, other policies
ROUNDING = 1e-9


def setup(
    shape: Shape,
    wafer: Wafer = WSE2,
    release: str | None = None,
    systems: int = 1,
    density: float = 1.0,
) -> Setup:
    return Setup(training_graph(shape), wafer, calibration(release), systems, density)


def best(made: Setup, batch: int = 120) -> Step:
    """The quickest step of a batch that fits."""
    found = best_step(made, batch)
    assert found is not None
    return found


@st.composite
def shapes(draw: st.DrawFn) -> Shape:
    heads, head_size = draw(st.integers(1, 64)), draw(st.integers(1, 128))
    hidden = heads * head_size
    return Shape(
        name="any",
        family=draw(st.sampled_from(["gpt2", "gptj", "gptneox", "bert"])),
        layers=draw(st.integers(1, 60)),
        hidden=hidden,
        heads=heads,
        feed_forward=draw(st.integers(1, 6 * hidden)),
        vocabulary=draw(st.integers(1, 60_000)),
        positions=4096,
        sequence_length=draw(st.integers(1, 4096)),
    )
