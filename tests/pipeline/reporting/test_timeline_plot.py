"""The picture of a step: lanes as rows, with the share of the step in which each was busy."""

from __future__ import annotations

import io

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from pipeline.reporting.timeline_plot import draw_timeline, lane_uses, timeline
from pipeline.streaming.timeline import Span

SPANS = [
    Span("read", "layers.0 weights", 10.0, 12.0, 2e9),
    Span("read", "layers.1 weights", 11.0, 13.0, 4e9),
    Span("compute", "forward layers.0", 12.0, 19.0, 2.8e12),
    Span("update", "layers.0", 19.0, 19.5, 5e8),
    Span("write", "layers.0 weights", 19.5, 20.0, 5e8),
    Span("wait", "layers.0 weights", 10.0, 12.0, 0),
]


def test_a_lane_is_busy_where_any_of_its_spans_goes_on() -> None:
    uses = {use.lane: use for use in lane_uses(SPANS)}
    assert list(uses) == ["read", "compute", "update", "write", "wait"]
    assert uses["read"].busy_seconds == pytest.approx(3.0)
    assert uses["read"].share == pytest.approx(0.3)
    assert uses["compute"].share == pytest.approx(0.7)


def test_speeds_have_the_unit_of_their_lane() -> None:
    uses = {use.lane: use for use in lane_uses(SPANS)}
    assert (uses["read"].done, uses["read"].rate) == ("6.00 GB", "2.00 GB/s")
    assert (uses["compute"].done, uses["compute"].rate) == ("2.80 TFLOP", "400 GFLOP/s")
    assert uses["update"].rate == "1.00 B parameters/s"
    assert uses["wait"].rate == "\N{EN DASH}"


def test_the_panel_names_lanes_and_says_that_it_was_measured() -> None:
    axes = Figure(layout="constrained").subplots()
    timeline(axes, SPANS, "A step")
    assert [label.get_text() for label in axes.get_yticklabels()][:2] == ["read", "compute"]
    assert axes.texts[0].get_text() == "30.0 % busy, 2.00 GB/s"
    assert axes.get_title("right") == "measured"
    assert axes.get_xlim() == (0, 10.0)


def test_the_picture_is_a_png_that_is_not_blank() -> None:
    image = Image.open(io.BytesIO(draw_timeline(SPANS)))
    assert image.format == "PNG"
    assert 0.01 < (np.asarray(image.convert("L")) < 250).mean() < 0.9
