"""Plans a training step on a wafer-scale system: the partition stage.

    python -m pipeline.partition model=gptneox_20b wafer=wse2

writes ``results/RUN/partition.json`` and shows it as a table. Every number is simulated; the
model behind them is explained in ``docs/wafer_model.md``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any, cast

from omegaconf import OmegaConf
from rich.console import Console
from rich.table import Table

from pipeline.cli import stage_main
from pipeline.config import CONF_DIR
from pipeline.files import write_json
from pipeline.job import Job
from pipeline.reporting import humane
from pipeline.schema import ModelConfig, PartitionConfig, PartitionSlice
from wse.graph import Shape
from wse.hardware import Wafer
from wse.plan import plan


def run(job: Job[PartitionSlice]) -> None:
    """Write and show the plan of a run; log it, unless the run's training will."""
    config = job.config
    made = plan_model(config.model, config.wafer, config.partition)
    write_json(job.run_directory / "partition.json", made)
    Console().print(plan_table(made, config.wafer))
    if not config.trained:
        from pipeline.tracking import log_plan

        log_plan(job, made)


def plan_model(model: ModelConfig, wafer: Wafer, partition: PartitionConfig) -> dict[str, Any]:
    """The plan of ``model`` on ``wafer`` as ``partition.json`` holds it.

    Raises :class:`~wse.errors.PlanError` or :class:`~wse.errors.WaferError`, naming the setting
    that is wrong.
    """
    others = {name: other for name, other in known_wafers().items() if name != wafer.name}
    return plan(
        shape_of(model, partition), wafer, partition.global_batch, partition.systems, others
    ).to_dict()


def shape_of(model: ModelConfig, partition: PartitionConfig) -> Shape:
    """``model`` as the simulator takes it; sequences of all its positions if none are set."""
    length = partition.sequence_length
    return Shape(
        name=model.name,
        family=model.family.value,
        layers=model.layers,
        hidden=model.hidden,
        heads=model.heads,
        feed_forward=model.feed_forward,
        vocabulary=model.vocabulary,
        positions=model.positions,
        sequence_length=model.positions if length is None else length,
    )


@cache
def known_wafers() -> dict[str, Wafer]:
    """The wafers of ``conf/wafer/`` by name, as ``wafer=NAME`` gives them."""
    schema = OmegaConf.structured(Wafer)
    return {
        path.stem: cast(Wafer, OmegaConf.to_object(OmegaConf.merge(schema, OmegaConf.load(path))))
        for path in sorted((CONF_DIR / "wafer").glob("*.yaml"))
    }


def plan_table(plan: Mapping[str, Any], wafer: Wafer) -> Table:
    """The plan on one screen, its headline first."""
    table = Table(
        title=f"{plan['model']} on {plan['wafer']}, simulated",
        caption="simulated from closed forms: docs/wafer_model.md",
        show_header=False,
    )
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for name, value in _lines(plan, wafer):
        table.add_row(name, value)
    return table


def _lines(plan: Mapping[str, Any], wafer: Wafer) -> Iterator[tuple[str, str]]:
    if plan["fits"]:
        yield from _speed(plan, wafer)
    else:
        yield "step time", "none: a single sequence does not fit"
        yield "what would fit", "\n".join(plan["would_fit"]) or "nothing that was tried"
    memory = plan["bytes"]
    used, capacity = memory["activations_sram_peak"], memory["sram_capacity"]
    sequences = f"{plan['micro_batch']} sequences" if plan["fits"] else "one sequence"
    share = humane.percent(used / capacity)
    yield (
        "SRAM",
        f"{humane.size(used)} of {humane.size(capacity)} ({share}) for {sequences}"
        f" of {plan['sequence_length']} tokens",
    )
    yield "parameters", f"{humane.count(plan['parameters'])}, {plan['layers']} layers"
    yield "calibrated to", plan["calibration"]["release"]


def _speed(plan: Mapping[str, Any], wafer: Wafer) -> Iterator[tuple[str, str]]:
    seconds = plan["step_seconds"]
    low, high = (humane.duration(plan["calibration"][end] * seconds) for end in ("low", "high"))
    yield "step time", f"{humane.duration(seconds)} (band {low} to {high})"
    yield "tokens a second", f"{plan['tokens_per_second']:,.0f}"
    batches = f"{plan['gradient_accumulation']} x {plan['micro_batch']} sequences"
    yield "batch", f"{plan['global_batch']} sequences; micro-batches: {batches} on each system"
    yield "bottleneck", plan["bottleneck"].replace("_", " ")
    causes = plan["seconds_by_cause"].items()
    spent = (f"{cause.replace('_', ' ')} {humane.duration(time)}" for cause, time in causes if time)
    yield "time goes to", ", ".join(spent)
    yield "MFU", humane.percent(plan["mfu"])
    streamed = plan["bytes"]["weights_in"]
    busy = humane.percent(streamed / wafer.io_bytes_per_second / seconds)
    out = humane.size(plan["bytes"]["gradients_out"])
    yield "streamed", f"weights in {humane.size(streamed)} (link busy {busy}), gradients out {out}"
    energy = humane.energy(plan["joules_per_step"])
    yield "energy", f"{energy} a step, {humane.energy(plan['joules_per_token'])} a token"


if __name__ == "__main__":
    stage_main("partition", run)
