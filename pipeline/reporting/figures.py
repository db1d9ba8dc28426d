"""Which figures the report has; each is the bytes of a PNG or an SVG, by its name."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import matplotlib
from matplotlib.axes import Axes

from pipeline.reporting import gpu_plots, humane, measured_plots, plan_plots
from pipeline.reporting.canvas import STYLE, new_figure, png
from pipeline.reporting.plan import Plan
from pipeline.reporting.results import History, Results
from pipeline.reporting.scaling import ScalingLaw
from pipeline.reporting.timeline_plot import draw_timeline

Panel = Callable[[Axes], None]
# Name of each figure: inches of width a panel, and of height.
FIGURES = {
    "overview": (5.2, 4.0),
    "loss_curves": (9.0, 4.6),
    "bits_per_byte": (9.0, 0.0),
    "scaling_law": (9.0, 4.6),
    "record_losses": (9.0, 4.2),
    "plan_speed": (5.0, 4.2),
    "plan_causes": (9.0, 0.0),
    "plan_uses": (9.0, 0.0),
    "plan_memory": (9.0, 0.0),
    "plan_gpus": (9.0, 0.0),
}


def draw_figures(results: Results, law: ScalingLaw | None) -> dict[str, bytes]:
    """Draw the figures of :data:`FIGURES` that ``results`` have numbers for.

    Each streamed run has a figure of its own besides, ``timeline_RUN``, of each wafer the largest
    plan two, ``floorplan_RUN`` and ``roofline_RUN``, and each experiment on the fabric those that
    its stage drew, as ``link_load_RUN``.
    """
    panels: dict[str, list[Panel]] = _measured(results, law) | _planned(results.plans)
    leading = ("loss_curves", "scaling_law", "plan_speed")
    panels["overview"] = [panels[name][-1] for name in leading if name in panels]
    fitting = len(plan_plots.fitting(results.plans))
    rows = {
        "bits_per_byte": len(results.trained),
        "plan_causes": fitting,
        "plan_uses": fitting,
        "plan_memory": len(results.plans),
        "plan_gpus": 1 + sum(bool(plan.gpus) for plan in results.plans),
    }
    timelines = {
        f"timeline_{training.run}": draw_timeline(training.timeline, f"A step of {training.run}")
        for training in results.streamed
        if training.timeline
    }
    return (
        timelines
        | _pictures(results)
        | {name: _draw(name, drawn, rows.get(name, 0)) for name, drawn in panels.items() if drawn}
    )


def suffix_of(figure: bytes) -> str:
    """The ending of the name of a figure's file."""
    return ".svg" if figure.startswith(b"<svg") else ".png"


def draw_training(label: str, history: History) -> bytes:
    """Draw the losses of one training."""
    panel = partial(measured_plots.loss_curves, histories={label: history})
    return _draw("loss_curves", [panel], rows=0)


def _pictures(results: Results) -> dict[str, bytes]:
    """The pictures that the stages drew."""
    found = {
        f"{name}_{run.name}": drawing
        for run in results.runs
        for name, drawing in run.drawings.items()
    }
    for run, pictures in results.pictured.items():
        found |= {f"floorplan_{run}": pictures.floorplan, f"roofline_{run}": pictures.roofline}
    return found


def _measured(results: Results, law: ScalingLaw | None) -> dict[str, list[Panel]]:
    """The panels of the trained models."""
    trained = results.trained
    panels: dict[str, list[Panel]] = {}
    if trained:
        histories = {
            f"{training.run} ({humane.count(training.metrics.parameters)})": training.history
            for training in trained
        }
        panels["loss_curves"] = [partial(measured_plots.loss_curves, histories=histories)]
    if any(training.evaluation for training in trained):
        panels["bits_per_byte"] = [partial(measured_plots.bits_per_byte, trained=trained)]
    if law:
        sizes = [10 * law.sizes.max(), *(plan.parameters for plan in results.plans)]
        draw = partial(measured_plots.scaling_law, law=law, reach=max(sizes))
        panels["scaling_law"] = [draw]
    if results.records:
        draw_losses = partial(measured_plots.record_losses, cards=results.records)
        panels["record_losses"] = [draw_losses]
    return panels


def _planned(plans: list[Plan]) -> dict[str, list[Panel]]:
    """The panels of the plans."""
    panels: dict[str, list[Panel]] = {}
    sizes = {plan.parameters for plan in plans if plan.step_seconds}
    if len(sizes) > 1:
        panels["plan_speed"] = [
            partial(plan_plots.step_time, plans=plans),
            partial(plan_plots.throughput, plans=plans),
        ]
    if sizes:
        panels["plan_causes"] = [partial(plan_plots.causes, plans=plans)]
        panels["plan_uses"] = [partial(plan_plots.uses, plans=plans)]
    if plans:
        panels["plan_memory"] = [partial(plan_plots.memory, plans=plans)]
    if rows := gpu_plots.gpu_rows(plans):
        panels["plan_gpus"] = [partial(gpu_plots.wafer_in_gpus, rows=rows)]
    return panels


def _draw(name: str, panels: list[Panel], rows: int) -> bytes:
    """Draw ``panels`` side by side; a figure of ``rows`` of bars is as high as they need."""
    width, height = FIGURES[name]
    with matplotlib.rc_context(STYLE):
        figure, axes = new_figure(width * len(panels), height or 1.2 + 0.3 * rows, len(panels))
        for panel, draw in zip(axes, panels, strict=True):
            draw(panel)
        return png(figure)
