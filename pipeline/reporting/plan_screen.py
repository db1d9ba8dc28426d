"""A plan on one screen: the headline, what binds, what more of each resource would give.

Every number of it is simulated.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rich.table import Table

from pipeline.reporting import humane
from wse.hardware import Wafer

BOTTLENECKS = {
    "compute": "the PEs' arithmetic",
    "weight_stream": "the link that weights come in by",
    "gradient_stream": "the link that gradients go out by",
    "fabric": "the fabric's links, which carry weights and partial sums",
    "fixed": "the fixed cost of each layer: a larger batch spreads it",
    "update": "the update in the parameter store",
}
RESOURCES = {
    "clock": "clock",
    "sram": "SRAM",
    "io_bandwidth": "I/O bandwidth",
    "fabric_height": "rows of PEs",
    "parameter_store": "parameter store's bandwidth",
    "fixed_cost": "less fixed cost",
}
POLICIES = {
    "keep_all": "all activations are kept; nothing is computed again",
    "keep_inputs": "every block's input is kept; each block is computed again",
    "groups": "every {interval}th block's input is kept; groups, then blocks, are computed again",
    "offload": "blocks' inputs go to the parameter store and back; each block is computed again",
}
LEAST_SHARE = 0.005
"""Shares of a step below this are not listed."""


def plan_table(plan: Mapping[str, Any], wafer: Wafer) -> Table:
    """The plan as a table, its headline first."""
    table = Table(
        title=f"{plan['model']} on {_systems(plan)}, simulated",
        caption="simulated, not measured: docs/wafer_model.md",
        show_header=False,
    )
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for name, value in _lines(plan, wafer):
        table.add_row(name, value)
    return table


def _systems(plan: Mapping[str, Any]) -> str:
    count = plan["systems"]
    return plan["wafer"] if count == 1 else f"{count} x {plan['wafer']}"


def _lines(plan: Mapping[str, Any], wafer: Wafer) -> Iterator[tuple[str, str]]:
    if plan["fits"]:
        yield from _speed(plan)
        yield from _arrangement(plan)
        yield from _links(plan, wafer)
        yield from _cost(plan)
        yield from _gpus(plan)
    else:
        yield "step time", "none: a single sequence does not fit"
        yield "what would fit", "\n".join(plan["would_fit"]) or "nothing that was tried"
        yield "SRAM", _sram(plan, "one sequence")
    yield "model", _model(plan)
    if plan["unknown_operators"]:
        yield "not placed", _unknown(plan)
    yield "calibrated to", plan["calibration"]["release"]


def _speed(plan: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    seconds = plan["step_seconds"]
    low, high = (plan["calibration"][end] for end in ("low", "high"))
    band = f"{humane.duration(low * seconds)} to {humane.duration(high * seconds)}"
    yield "step time", f"{humane.duration(seconds)} (band {band})"
    rate = plan["tokens_per_second"]
    yield "tokens a second", f"{rate:,.0f} (band {rate / high:,.0f} to {rate / low:,.0f})"
    batches = f"{plan['gradient_accumulation']} x {plan['micro_batch']} sequences"
    yield (
        "batch",
        f"{plan['global_batch']} sequences of {plan['sequence_length']} tokens; micro-batches: "
        f"{batches} on each system",
    )
    causes = plan["seconds_by_cause"]
    share = humane.percent(causes[plan["bottleneck"]] / seconds)
    yield "bottleneck", f"{BOTTLENECKS[plan['bottleneck']]}, {share} of the step"
    yield "time goes to", _shares(plan["seconds_by_use"], seconds)
    yield "a tenth more of", _gains(plan["gain_of_ten_percent"])
    yield "MFU", f"{humane.percent(plan['mfu'])} of the dense fp16 peak"


def _shares(seconds_by_use: Mapping[str, float], step_seconds: float) -> str:
    shares = {name: seconds / step_seconds for name, seconds in seconds_by_use.items()}
    large = sorted(
        (name for name in shares if shares[name] >= LEAST_SHARE), key=lambda name: -shares[name]
    )
    return ", ".join(f"{name} {humane.percent(shares[name])}" for name in large)


def _gains(gains: Mapping[str, float]) -> str:
    return ", ".join(f"{RESOURCES[name]} {humane.change(gain)}" for name, gain in gains.items())


def _arrangement(plan: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    lies = plan["arrangement"]
    yield (
        "on the fabric",
        f"hidden features along its {lies['hidden_axis']}, {lies['features_per_pe']} on each of "
        f"{lies['hidden_pes']} PEs; tokens across, {lies['tokens_per_pe']} on each of "
        f"{lies['token_pes']}",
    )
    yield "activations", POLICIES[lies["policy"]].format(interval=lies["policy_interval"])
    yield "SRAM", _sram(plan, f"{plan['micro_batch']} sequences")


def _sram(plan: Mapping[str, Any], what: str) -> str:
    memory = plan["bytes"]
    used, capacity = memory["activations_sram_peak"], memory["sram_capacity"]
    share = humane.percent(used / capacity)
    return f"{humane.size(used)} of {humane.size(capacity)} ({share}) for {what}"


def _links(plan: Mapping[str, Any], wafer: Wafer) -> Iterator[tuple[str, str]]:
    moved = plan["bytes"]
    into = moved["weights_in"] + moved["activations_offloaded"]
    busy = humane.percent(into / wafer.io_bytes_per_second / plan["step_seconds"])
    yield (
        "links",
        f"weights in {humane.size(moved['weights_in'])}, gradients out "
        f"{humane.size(moved['gradients_out'])}, activations each way "
        f"{humane.size(moved['activations_offloaded'])}; the link in is busy {busy}",
    )


def _cost(plan: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    total = plan["joules_per_step"]
    by_class = plan["joules_by_class"].items()
    classes = ", ".join(f"{name} {humane.percent(joules / total)}" for name, joules in by_class)
    per_token = humane.energy(plan["joules_per_token"])
    yield "energy", f"{humane.energy(total)} a step, {per_token} a token ({classes})"
    run = plan["run"]
    yield (
        "a whole run",
        f"{humane.count(run['tokens'])} tokens: {humane.duration(3600 * run['hours'])}, "
        f"{run['kilowatt_hours']:,.0f} kWh, {run['dollars_of_energy']:,.0f} dollars of energy and "
        f"{run['dollars_of_systems']:,.0f} of the systems (prices: partition.prices)",
    )


def _gpus(plan: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """As many GPUs as are as fast, each with the layout that a person would have to design."""
    found = plan.get("gpus") or []
    if found:
        yield "the same in GPUs", "\n".join(map(_gpu_words, found))


def _gpu_words(one: Mapping[str, Any]) -> str:
    """One line; the sentences of the whole design are in ``partition.json``."""
    layout = one["configuration"]
    splits = (
        ("matrices over", layout["tensor_parallel"], "GPUs"),
        ("layers over", layout["pipeline_parallel"], "stages"),
        ("the batch over", layout["data_parallel"], "copies"),
    )
    words = [f"{what} {ways} {of}" for what, ways, of in splits if ways > 1]
    design = ", ".join(words) or "nothing to split"
    return f"{one['gpus']} {one['cluster']} (software of {one['era']}: {design})"


def _model(plan: Mapping[str, Any]) -> str:
    sparse = f", {humane.percent(plan['sparsity'])} of weights zero" if plan["sparsity"] else ""
    return f"{humane.count(plan['parameters'])} parameters, {plan['layers']} layers{sparse}"


def _unknown(plan: Mapping[str, Any]) -> str:
    unknown = plan["unknown_operators"]
    names = ", ".join(f"{name} ({count})" for name, count in unknown.items())
    return f"{sum(unknown.values())} operators that take no time in this plan: {names}"
