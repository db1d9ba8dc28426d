"""GPUs that equal a wafer: counted from the nearest simulated count, drawn by era."""

from __future__ import annotations

import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pipeline.reporting.gpu_plots import gpu_rows, wafer_in_gpus
from pipeline.reporting.reading import read_results


@pytest.fixture
def axes() -> Axes:
    return Figure(layout="constrained").subplots()


def test_the_count_nearest_to_the_wafer_is_scaled_to_it(fake):
    fake.gpus("gptj_6b", 6 * 10**9)
    results = read_results(fake.job())
    [plan] = results.plans
    older, newer = gpu_rows(results.plans)
    assert (older["gpu"], older["era"], older["simulated_gpus"]) == ("dgx_a100", "2020", 64)
    assert older["gpus"] == pytest.approx(64 * plan.tokens_per_second / 28e3)
    assert newer["gpus"] == pytest.approx(32 * plan.tokens_per_second / 32e3)


def test_several_systems_count_as_one_each(fake):
    fake.gpus("one", 6 * 10**9)
    one = gpu_rows(read_results(fake.job()).plans)[1]["gpus"]
    path = fake.results / "one/partition.json"
    path.write_text(path.read_text().replace('"systems": 1', '"systems": 4'))
    assert gpu_rows(read_results(fake.job()).plans)[1]["gpus"] == pytest.approx(one / 4)


def test_plans_without_gpus_make_no_row(fake):
    fake.plan("gptj_6b", 6 * 10**9)
    fake.unplannable("gptneox_20b", 20 * 10**9)
    assert gpu_rows(read_results(fake.job()).plans) == []


def test_each_era_has_its_colour_and_each_model_its_line(axes):
    rows = [
        {"model": model, "gpu": gpu, "era": era, "gpus": count}
        for model, counts in (("6b", (90.0, 30.0)), ("13b", (120.0, 9.4)))
        for (gpu, era), count in zip((("a100", "2020"), ("h100", "2023")), counts, strict=True)
    ]
    wafer_in_gpus(axes, rows)
    assert [text.get_text() for text in axes.get_yticklabels()] == ["6b", "13b"]
    points = {c.get_label(): c.get_offsets().tolist() for c in axes.collections[-2:]}
    assert points == {"a100, 2020": [[90, 0], [120, 1]], "h100, 2023": [[30, 0], [9.4, 1]]}
    assert [text.get_text() for text in axes.texts] == ["90", "120", "30", "9.4"]
    assert axes.get_title("right") == "simulated"
