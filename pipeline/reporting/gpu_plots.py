"""A wafer in GPUs: how many of each era train a model as fast as one system does."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes

from pipeline.reporting import humane
from pipeline.reporting.canvas import FAINT, GRID, colour, count_axis, entitle
from pipeline.reporting.plan import Gpus, Plan

Row = Mapping[str, Any]


def gpu_rows(plans: Sequence[Plan]) -> list[Row]:
    """For each plan that names GPUs, and each era of them: the GPUs that equal one system.

    Of several counts of one era, the one whose rate is nearest to the plan's is scaled to it.
    ``tokens_per_second`` is that of the GPUs that were simulated, ``simulated_gpus`` of them.
    """
    rows: list[Row] = []
    for plan in plans:
        for (gpu, era), one in _nearest(plan).items():
            of_one_system = (plan.tokens_per_second or 0.0) / plan.systems
            rows.append(
                {
                    "model": f"{plan.model}, {plan.wafer}",
                    "parameters": plan.parameters,
                    "gpu": gpu,
                    "era": era,
                    "gpus": one.gpus * of_one_system / (one.tokens_per_second or math.inf),
                    "simulated_gpus": one.gpus,
                    "tokens_per_second": one.tokens_per_second,
                }
            )
    return sorted(rows, key=lambda row: (row["parameters"], row["model"], row["era"]))


def _nearest(plan: Plan) -> dict[tuple[str, str], Gpus]:
    """Of each GPU and era the count whose rate is nearest to one system's."""
    found: dict[tuple[str, str], Gpus] = {}
    if not plan.tokens_per_second:
        return found
    of_one_system = plan.tokens_per_second / plan.systems

    def distance(one: Gpus) -> float:
        return abs(math.log((one.tokens_per_second or math.inf) / of_one_system))

    for one in plan.gpus:
        key = (one.cluster, str(one.era))
        if one.tokens_per_second and (key not in found or distance(one) < distance(found[key])):
            found[key] = one
    return found


def wafer_in_gpus(axes: Axes, rows: Sequence[Row]) -> None:
    """GPUs that equal one system, one line a model and one colour an era.

    Of each row ``model``, ``gpu``, ``era`` and ``gpus`` are shown.
    """
    models = list(dict.fromkeys(row["model"] for row in rows))
    kinds = sorted({(row["era"], row["gpu"]) for row in rows})
    for place, model in enumerate(models):
        counts = [row["gpus"] for row in rows if row["model"] == model]
        axes.hlines(place, min(counts), max(counts), color=GRID, linewidth=4, zorder=1)
    for index, (era, gpu) in enumerate(kinds):
        mine = [row for row in rows if (row["era"], row["gpu"]) == (era, gpu)]
        places = [models.index(row["model"]) for row in mine]
        counts = [row["gpus"] for row in mine]
        axes.scatter(counts, places, color=colour(index), s=45, label=f"{gpu}, {era}", zorder=2)
        for count, place in zip(counts, places, strict=True):
            axes.annotate(
                humane.count(round(count)) if count >= 10 else humane.significant(count, 2),
                (count, place),
                xytext=(0, 7),
                textcoords="offset points",
                ha="center",
                fontsize=8,
                color=FAINT,
            )
    axes.set_yticks(range(len(models)), models)
    axes.set_ylim(len(models) - 0.4, -0.7)
    axes.grid(axis="y", visible=False)
    count_axis(axes, "x", "GPUs that train as fast as one wafer-scale system")
    axes.margins(x=0.08)
    axes.figure.legend(loc="outside lower center", ncols=min(4, len(kinds)))
    entitle(axes, "One wafer in GPUs", "simulated")
