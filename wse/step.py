"""A training step on one system: its layers' passes, their seconds, and the bytes they move.

Joins what the other modules know: the operators of :mod:`wse.graph`, their cycles by
:mod:`wse.kernels`, what is kept by :mod:`wse.memory`, and the timeline of :mod:`wse.schedule`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from wse.calibration import Calibration
from wse.graph import Graph, Layer, LayerKind
from wse.hardware import LINK_BYTES, Wafer
from wse.kernels import KernelCost, pass_costs
from wse.mapping import Layout
from wse.memory import ACTIVATION_BYTES, Policy
from wse.schedule import Pass, Run, Timeline, timeline

# Per parameter and direction: an fp16 value and its index, or an fp32 gradient (32 bits by Hall,
# Schreiber and Lie's white paper, second-hand).
WIRE_BYTES = 4

# The store's update reads and writes fp32 weight, gradient and Adam's two moments (less the
# gradient's writing).
UPDATE_BYTES_PER_PARAMETER = 28


Costs = tuple[tuple[KernelCost, ...], tuple[KernelCost, ...]]
Seconds = tuple[tuple[float, float], tuple[float, float]]


@dataclass(frozen=True)
class Way:
    """One way to run a step: how layers lie, what is kept, and how the batch is split."""

    layout: Layout
    policy: Policy
    micro_batch: int
    accumulation: int


@dataclass(frozen=True)
class StepBytes:
    """Bytes over the links of one system in a step."""

    weights_in: int
    gradients_out: int
    activations_each_way: int


@dataclass(frozen=True)
class Step:
    """A step on one system."""

    way: Way
    timeline: Timeline
    bytes: StepBytes

    @property
    def seconds(self) -> float:
        """Seconds of the step."""
        return self.timeline.seconds


@dataclass(frozen=True)
class Setup:
    """What is to run, and on what: a model's graph, wafers, and their software's constants.

    ``systems`` share a batch equally; ``density`` is the share of weights that are not zero.
    """

    graph: Graph
    wafer: Wafer
    calibration: Calibration
    systems: int = 1
    density: float = 1.0
    _costs: dict[tuple[str, Layout, int], Costs] = field(
        default_factory=dict, repr=False, compare=False
    )
    _seconds: dict[tuple[str, Layout, int], Seconds] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def changed(self, **changes: Any) -> Setup:
        """The same model with another wafer or other constants; operators' costs stay known."""
        return replace(self, **changes)

    def layer_costs(self, layer: Layer, layout: Layout, tokens_per_pe: int) -> Costs:
        """The costs of a layer's operators, forward and backward; remembered."""
        key = (layer.name, layout, tokens_per_pe)
        if key not in self._costs:
            self._costs[key] = pass_costs(layer, self.graph, layout, tokens_per_pe, self.density)
        return self._costs[key]

    def pass_seconds(self, layer: Layer, layout: Layout, tokens_per_pe: int) -> Seconds:
        """Of the forward and the backward pass: seconds on the wafer, and those that links bind."""
        key = (layer.name, layout, tokens_per_pe)
        if key not in self._seconds:
            forward, backward = self.layer_costs(layer, layout, tokens_per_pe)
            self._seconds[key] = (self._bound(forward), self._bound(backward))
        return self._seconds[key]

    def _bound(self, costs: tuple[KernelCost, ...]) -> tuple[float, float]:
        rate = self.calibration.multiply_adds_per_cycle(self.wafer)
        words_per_cycle = link_words_per_cycle(self.wafer)
        total = fabric = 0.0
        for cost in costs:
            compute, link = cost.compute_cycles(rate), cost.link_words / words_per_cycle
            total += max(compute, link)
            fabric += max(0.0, link - compute)
        return total / self.wafer.clock_hz, fabric / self.wafer.clock_hz


def step(setup: Setup, way: Way, record: bool = False) -> Step:
    """The step of ``way``; ``record`` keeps the events of its timeline.

    Gradients leave with every micro-batch and are summed in the parameter store: the wafer has no
    room to keep them.
    """
    runs = list(_runs(setup, way))
    made = timeline(runs, way.accumulation, record)
    made.seconds_by_cause["gradient_stream"] += made.seconds * _tree_share(setup)
    return Step(way, made, _bytes(setup, way))


def least_seconds(setup: Setup, way: Way) -> float:
    """What the wafer alone takes of a step if it never waits: no timeline is quicker."""
    tokens = way.layout.tokens_per_pe(way.micro_batch * setup.graph.sequence_length)
    fixed = setup.calibration.fixed_seconds_per_layer / 2
    seconds = 0.0
    for layer in setup.graph.layers:
        forward, backward = setup.pass_seconds(layer, way.layout, tokens)
        repeats = min(way.policy.interval, 2) if layer.kind is LayerKind.block else 0
        runs = 3 if repeats > 1 else 2  # a group's repeated forward is a pass of its own
        seconds += layer.count * ((1 + repeats) * forward[0] + backward[0] + runs * fixed)
    return seconds * way.accumulation * (1 + _tree_share(setup))


def passes(setup: Setup, way: Way) -> dict[str, tuple[Pass, Pass, Pass]]:
    """Forward, repeated forward and backward pass of each kind of layer, by its name.

    Under a policy that computes a block again, its backward pass includes that; the repeated
    forward is that of a group, which keeps the inputs of its blocks.
    """
    tokens = way.micro_batch * setup.graph.sequence_length
    return {
        layer.name: _passes(setup, way.layout, way.policy, layer, tokens)
        for layer in setup.graph.layers
    }


def _runs(setup: Setup, way: Way) -> Iterator[Run]:
    """The passes of one micro-batch, in order."""
    made = passes(setup, way)
    for layer in setup.graph.layers:
        yield (made[layer.name][0],), layer.count
    interval = way.policy.interval
    for layer in reversed(setup.graph.layers):
        _, again, backward = made[layer.name]
        if layer.kind is not LayerKind.block or interval < 2:
            yield (backward,), layer.count
            continue
        groups, rest = divmod(layer.count, interval)
        yield (*[again] * rest, *[backward] * rest), 1 if rest else 0
        yield (*[again] * interval, *[backward] * interval), groups


def _passes(
    setup: Setup, layout: Layout, policy: Policy, layer: Layer, tokens: int
) -> tuple[Pass, Pass, Pass]:
    wafer, calibration = setup.wafer, setup.calibration
    io_rate = wafer.io_bytes_per_second
    forward, backward = setup.pass_seconds(layer, layout, layout.tokens_per_pe(tokens))
    weights = WIRE_BYTES * layer.parameters * setup.density / io_rate
    is_block = layer.kind is LayerKind.block
    moved = _offloaded_bytes(setup.graph, policy, layer, tokens) / io_rate
    again = is_block and policy.interval > 0
    update = UPDATE_BYTES_PER_PARAMETER * layer.parameters / wafer.parameter_store_bytes_per_second

    def one(phase: str, seconds: tuple[float, float], **links: float) -> Pass:
        return Pass(
            layer=layer.name,
            phase=phase,
            wafer_seconds=seconds[0],
            fabric_seconds=seconds[1],
            fixed_seconds=calibration.fixed_seconds_per_layer / 2,
            **links,
        )

    both = (backward[0] + forward[0], backward[1] + forward[1]) if again else backward
    return (
        one("forward", forward, in_seconds=weights, out_seconds=moved),
        one("recompute", forward, in_seconds=weights),
        one(
            "backward",
            both,
            in_seconds=weights + moved,
            out_seconds=weights,
            update_seconds=update,
        ),
    )


def _tree_share(setup: Setup) -> float:
    """What the tree that joins the systems adds to a step, as a share of it."""
    levels = math.ceil(math.log2(setup.systems))
    return setup.wafer.tree_efficiency_per_level**-levels - 1


def _offloaded_bytes(graph: Graph, policy: Policy, layer: Layer, tokens: int) -> float:
    if not policy.offload or layer.kind is not LayerKind.block:
        return 0.0
    return ACTIVATION_BYTES * layer.input_elements / graph.sequence_length * tokens


def link_words_per_cycle(wafer: Wafer) -> float:
    """Words that a link of the mesh carries per cycle, by the published bandwidth; at most 1.

    Published totals count every link of every PE and both directions; they are rounded, and no
    link carries more than one word a cycle.
    """
    words = wafer.fabric_bytes_per_second / (wafer.cores * 8 * LINK_BYTES * wafer.clock_hz)
    return min(1.0, words)


def step_costs(setup: Setup, way: Way) -> tuple[KernelCost, KernelCost]:
    """What the busiest PE and link do in a step, and that part of it that is computed again."""
    tokens = way.layout.tokens_per_pe(way.micro_batch * setup.graph.sequence_length)
    cost = again = KernelCost(0.0, 0.0, 0.0, 0.0)
    for layer in setup.graph.layers:
        forward, backward = setup.layer_costs(layer, way.layout, tokens)
        times = layer.count * way.accumulation
        once = _sum(forward).times(times)
        cost = cost + once + _sum(backward).times(times)
        if layer.kind is LayerKind.block:
            repeats = min(way.policy.interval, 2)  # a group's run, and the block's own
            again = again + once.times(repeats)
    return cost + again, again


def _sum(costs: tuple[KernelCost, ...]) -> KernelCost:
    total = KernelCost(0.0, 0.0, 0.0, 0.0)
    for cost in costs:
        total = total + cost
    return total


def _bytes(setup: Setup, way: Way) -> StepBytes:
    once = WIRE_BYTES * setup.graph.parameters * setup.density * way.accumulation
    blocks = [layer for layer in setup.graph.layers if layer.kind is LayerKind.block]
    third = (
        sum(layer.parameters * layer.count for layer in blocks) if way.policy.interval > 1 else 0
    )
    tokens = way.micro_batch * setup.graph.sequence_length
    moved = sum(
        _offloaded_bytes(setup.graph, way.policy, one, tokens) * one.count for one in blocks
    )
    return StepBytes(
        weights_in=round(2 * once + WIRE_BYTES * third * setup.density * way.accumulation),
        gradients_out=round(once),
        activations_each_way=round(moved * way.accumulation),
    )
