"""Figures are pictures of the numbers, and say which of them were measured."""

from __future__ import annotations

import io

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from pipeline.reporting import measured_plots, plan_plots
from pipeline.reporting.figures import FIGURES, draw_figures
from pipeline.reporting.reading import read_results
from pipeline.reporting.scaling import comparable, fit_trained


def test_every_figure_is_a_small_png_that_is_not_blank(reported):
    for name in FIGURES:
        content = (reported.results / "figures" / f"{name}.png").read_bytes()
        image = Image.open(io.BytesIO(content))
        pixels = np.asarray(image.convert("L"))
        assert image.format == "PNG"
        assert len(content) < 150_000, name
        assert 0.01 < (pixels < 250).mean() < 0.9, name


def test_the_same_results_give_the_same_pictures(fake):
    fake.train("nano_1m", 1_010_000, 5.2)
    results = read_results(fake.job())
    assert draw_figures(results, None) == draw_figures(results, None)


def test_the_law_is_dashed_beyond_the_largest_trained_model(sweep, axes):
    law = fit_trained(comparable(read_results(sweep.job()).trained))
    measured_plots.scaling_law(axes, law, reach=2e10)
    lines = {line.get_label(): line for line in axes.lines}
    assert lines["fit"].get_xdata().max() == pytest.approx(10_200_000)
    assert lines["extrapolated"].get_linestyle() == "--"
    assert lines["extrapolated"].get_xdata().min() == pytest.approx(10_200_000)
    assert lines["extrapolated"].get_xdata().max() == pytest.approx(2e10)
    assert axes.get_title("right") == "measured + extrapolated"


def test_each_wafer_has_its_line_of_the_plans_that_fit(fake, axes):
    for wafer in ("wse2", "wse3"):
        fake.plan(f"small_{wafer}", 10**8, wafer)
        fake.plan(f"large_{wafer}", 10**10, wafer)
    fake.unplannable("huge", 10**12)
    plan_plots.step_time(axes, read_results(fake.job()).plans)
    assert [line.get_label() for line in axes.lines] == ["wse2", "wse3"]
    assert list(axes.lines[0].get_xdata()) == [10**8, 10**10]
    assert axes.get_title("right") == "simulated"


def test_causes_of_each_plan_add_up_to_the_whole(sweep, axes):
    plan_plots.causes(axes, read_results(sweep.job()).plans)
    widths = np.array([[bar.get_width() for bar in bars] for bars in axes.containers])
    assert widths.sum(axis=0) == pytest.approx(100.0)


def test_a_plan_that_does_not_fit_says_so(sweep, axes):
    plan_plots.memory(axes, read_results(sweep.job()).plans)
    assert [text.get_text() for text in axes.texts][-1] == "does not fit"


def test_smoothing_keeps_a_level_and_calms_noise():
    assert measured_plots.smoothed(np.full(500, 3.0)) == pytest.approx(3.0)
    noise = np.random.default_rng(0).normal(5, 0.3, 1000)
    assert measured_plots.smoothed(noise)[200:].std() < 0.1


@pytest.fixture
def axes():
    return Figure(layout="constrained").subplots()
