"""Plans a training step on a wafer-scale system: the partition stage.

    python -m pipeline.partition model=gptneox_20b wafer=wse2

writes ``results/RUN/partition.json`` and shows it on one screen; beside it the step as a trace
(``plan_trace.json``, for https://ui.perfetto.dev). Its floorplan, its roofline and its run in
MLflow follow in the background, some seconds later, and are waited for with ``--frozen``. With
``--multirun`` over models and wafers, all plans end up in one table and in ``results/plans.csv``.
Every number is simulated; the model behind them is explained in ``docs/wafer_model.md``.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from rich.console import Console

from pipeline.capture.planning import graph_of, shape_of
from pipeline.cli import stage_main
from pipeline.described_hardware import known_wafers
from pipeline.files import write_json
from pipeline.gpu_clusters import equal_gpus
from pipeline.job import Job
from pipeline.reporting.plan_comparison import compare_plans
from pipeline.reporting.plan_files import draw_pictures, write_trace
from pipeline.reporting.plan_screen import plan_table
from pipeline.schema import ModelConfig, PartitionConfig
from pipeline.slices import PartitionSlice
from wse.cost import Prices
from wse.graph import Graph
from wse.hardware import Wafer
from wse.plan import Request, plan


def run(job: Job[PartitionSlice]) -> dict[str, Any]:
    """Write, show and return the plan of a run, with its trace."""
    config = job.config
    made = plan_model(config.model, config.wafer, config.partition)
    write_json(job.run_directory / "partition.json", made)
    Console().print(plan_table(made, config.wafer))
    write_trace(job.run_directory, _request(config))
    return made


def picture_and_log(job: Job[PartitionSlice], made: dict[str, Any]) -> None:
    """Draw the plan ``made`` by :func:`run`, and log it, unless the run's training will."""
    draw_pictures(job.run_directory, _request(job.config))
    if not job.config.trained:
        from pipeline.tracking import log_plan

        log_plan(job, made)


def _request(config: PartitionSlice) -> Request:
    return request_of(config.model, config.wafer, config.partition)


def plan_model(model: ModelConfig, wafer: Wafer, partition: PartitionConfig) -> dict[str, Any]:
    """The plan of ``model`` on ``wafer`` as ``partition.json`` holds it.

    Raises :class:`~wse.errors.PlanError` or :class:`~wse.errors.WaferError`, naming the setting
    that is wrong.
    """
    others = {name: other for name, other in known_wafers().items() if name != wafer.name}

    def at_length(length: int) -> Graph:
        return graph_of(model, replace(partition, sequence_length=length))

    made = plan(request_of(model, wafer, partition), others, at_length).to_dict()
    shape = shape_of(model, partition)
    rate = made["tokens_per_second"]
    made["gpus"] = equal_gpus(shape, rate, partition) if shape and made["fits"] else []
    return made


def request_of(model: ModelConfig, wafer: Wafer, partition: PartitionConfig) -> Request:
    """What the simulator is asked for."""
    prices = partition.prices
    return Request(
        graph=graph_of(model, partition),
        wafer=wafer,
        global_batch=partition.global_batch,
        systems=partition.systems,
        release=partition.release,
        sparsity=partition.sparsity,
        run_tokens=partition.run_tokens,
        prices=Prices(
            prices.dollars_per_kwh, prices.power_usage_effectiveness, prices.years_of_service
        ),
    )


if __name__ == "__main__":
    from pipeline import partition  # by its own name other processes of a multirun find it

    stage_main(
        "partition",
        partition.run,
        together=compare_plans,
        afterwards=partition.picture_and_log,
    )
