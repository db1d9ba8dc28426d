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
from wse.calibration import calibrated_wafer
from wse.plan import Request, plan
from wse.transformer import training_graph
from wse.validation import training_rows


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


@pytest.mark.parametrize("panel", [plan_plots.causes, plan_plots.uses])
def test_parts_of_each_plan_add_up_to_the_whole(sweep, axes, panel):
    panel(axes, read_results(sweep.job()).plans)
    widths = np.array([[bar.get_width() for bar in bars] for bars in axes.containers])
    assert widths.sum(axis=0) == pytest.approx(100.0)


def test_every_cause_and_use_of_a_plan_has_a_colour():
    request = Request(training_graph(training_rows()[0].shape), calibrated_wafer(), 120)
    made = plan(request)
    assert set(made.seconds_by_cause) == set(plan_plots.CAUSE_COLOURS)
    assert set(made.seconds_by_use) == set(plan_plots.USE_COLOURS)


def test_what_does_not_fit_is_a_cross_and_no_rate(fake, axes):
    fake.plan("small", 10**8)
    fake.plan("large", 10**10)
    fake.unplannable("huge", 10**12)
    plan_plots.throughput(axes, read_results(fake.job()).plans)
    crosses = [marks for marks in axes.collections if marks.get_transform() != axes.transData]
    places = np.concatenate([marks.get_offsets() for marks in axes.collections])
    assert 10**12 in places[:, 0]
    assert all(10**12 not in line.get_xdata() for line in axes.lines)
    assert crosses
    lowest = min(line.get_ydata().min() for line in axes.lines)
    height = axes.transAxes.inverted().transform(axes.transData.transform((1e10, lowest)))[1]
    assert height > 0.1, "crosses lie below every line"


def test_published_rates_of_gpt_stand_beside_the_plans_of_their_wafer(fake, axes):
    fake.plan("small", 10**8)
    fake.plan("large", 10**10)
    plan_plots.throughput(axes, read_results(fake.job()).plans)
    [published] = [c for c in axes.collections if c.get_label() == "CS-2, published"]
    points = published.get_offsets().tolist()
    # HPEC'24: 373.4 samples of 2048 tokens a second; ALCF: 27.53 on two systems.
    assert [rate for _, rate in points[:1]] == pytest.approx([373.4 * 2048])
    assert 27.53 * 2048 / 2 in [pytest.approx(rate) for _, rate in points]
    assert len(points) == sum(row.shape.family != "bert" for row in training_rows())
    assert axes.get_title("right") == "simulated + published"


def test_another_wafer_has_no_published_rate_beside_it(fake, axes):
    fake.plan("small", 10**8, "wse3")
    fake.plan("large", 10**10, "wse3")
    plan_plots.throughput(axes, read_results(fake.job()).plans)
    assert axes.get_title("right") == "simulated"
    assert all(c.get_label() != "CS-2, published" for c in axes.collections)


def test_rates_are_those_of_one_system(fake, axes):
    fake.plan("one", 10**8)
    fake.plan("four", 10**8, "wse3", systems=4)
    plan_plots.throughput(axes, read_results(fake.job()).plans)
    one, four = (line.get_ydata()[0] for line in axes.lines)
    assert four == pytest.approx(one / 4)


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
