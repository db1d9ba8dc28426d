"""The fabric stage: what it writes, what the report and MLflow show of it, what it refuses."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from pipeline.fabric import run
from pipeline.job import Job
from pipeline.reporting.figures import draw_figures, suffix_of
from pipeline.reporting.page import render
from pipeline.reporting.reading import Reader
from pipeline.reporting.results import Results
from pipeline.slices import FabricSlice
from tests.pipeline.tracking.logged import artifact, job_of, the_run
from wse.fabric.errors import FabricError
from wse.fabric.pictures import FILES

EXPERIMENT = ("fabric=experiment", "fabric.width=4", "fabric.height=3", "run=mine", "wafer=wse3")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Job[FabricSlice]:
    """A small experiment that has run."""
    job = job_of(tmp_path_factory.mktemp("results"), "fabric", *EXPERIMENT)
    run(job)
    return job


def test_it_leaves_numbers_and_pictures(finished: Job[FabricSlice]) -> None:
    summary = json.loads((finished.run_directory / "fabric.json").read_text())
    assert (summary["program"], summary["machine"]) == ("broadcast", "wse3")
    assert (summary["width"], summary["height"]) == (4, 3)
    assert summary["cycles"] > 64
    assert summary["numbers"] == "simulated"
    assert {path.name for path in (finished.run_directory / "fabric").iterdir()} == set(FILES)


def test_mlflow_tells_simulated_from_measured(finished: Job[FabricSlice]) -> None:
    logged = the_run(finished.results, "fabric")
    assert logged.data.tags["numbers"] == "simulated"
    assert logged.data.params["fabric.program"] == "broadcast"
    assert logged.data.metrics["simulated/cycles"] > 64
    assert "measured/pe_cycles_per_second" in logged.data.metrics
    assert "simulated/pe_cycles_per_second" not in logged.data.metrics
    for name in ("fabric.json", "timeline.json", "figures/link_load.svg"):
        assert artifact(logged, name).is_file()


def test_the_report_shows_it(finished: Job[FabricSlice]) -> None:
    reader = Reader(finished.results, "mine")
    read = reader.run("mine", {"fabric": finished.hash})
    results = Results(sweep="mine", finished=datetime.now(UTC), runs=[read], corpora=[])
    figures = draw_figures(results, None)
    names = {"wavefront_mine", "link_load_mine", "pe_utilisation_mine"}
    assert {name for name, figure in figures.items() if suffix_of(figure) == ".svg"} == names
    page = render(results, [], None, figures)
    assert "1 experiment ran on the simulated fabric of wse3" in page
    assert page.count('src="data:image/svg+xml;base64,') == len(names)


def test_what_the_fabric_refuses_is_one_sentence(tmp_path: Path) -> None:
    job = job_of(tmp_path, "fabric", *EXPERIMENT, "fabric.program=nothing")
    with pytest.raises(FabricError, match="nothing: no such program; there are broadcast"):
        run(job)
    assert not (job.run_directory / "fabric.json").exists()
