"""Stage report: one page that tells what a sweep did, and its figures as PNG and SVG.

    python -m pipeline.report tracking.sweep=default

Reads the results of the sweep's runs and corpora; writes ``results/report.html``, which holds
everything it shows, and ``results/figures/``.
"""

from __future__ import annotations

from pipeline.cli import stage_main
from pipeline.files import write_bytes, write_text
from pipeline.job import Job
from pipeline.reporting.figures import draw_figures, suffix_of
from pipeline.reporting.page import render
from pipeline.reporting.reading import read_results
from pipeline.reporting.scaling import comparable, fit_trained
from pipeline.slices import ReportSlice
from pipeline.tracking import log_report


def run(job: Job[ReportSlice]) -> None:
    """Write the report; raise :class:`~pipeline.errors.ReportError` if a result is missing."""
    results = read_results(job)
    points = comparable(results.trained)
    law = fit_trained(points)
    figures = draw_figures(results, law)
    page = render(results, points, law, figures)
    folder = job.results / "figures"
    pictures = [folder / f"{name}{suffix_of(content)}" for name, content in figures.items()]
    for path, content in zip(pictures, figures.values(), strict=True):
        write_bytes(path, content)
    # Another sweep's figure must not pass for this one's.
    for path in [*folder.glob("*.png"), *folder.glob("*.svg")]:
        if path not in pictures:
            path.unlink()
    write_text(job.results / "report.html", page)
    log_report(job, [job.results / "report.html", *pictures])
    print(f"report: {job.results / 'report.html'}", flush=True)


if __name__ == "__main__":
    stage_main("report", run)
