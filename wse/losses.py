"""Where the time of a step goes, measured against what the model's arithmetic alone would take.

``useful`` is the time of the model's own multiply-adds on all PEs of the wafer at the published
rate of fp16 with an fp32 sum; all else is lost to something that has a name. The parts add up to
the step.
"""

from __future__ import annotations

from wse.graph import OperatorKind
from wse.step import Setup, Step, step_costs


def seconds_by_use(setup: Setup, step: Step) -> dict[str, float]:
    """Seconds of ``step``: useful, and lost to each cause.

    ``padding``: slots of PEs that hold nothing, as sizes do not divide. ``recomputation``: products
    taken again. ``rate``: what a PE reaches of its published rate. ``vectors``: softmax,
    LayerNorm and other operators without products. ``streaming``: to issue an operation for each
    weight, and to pass weights, gradients and partial sums on. Then waiting:
    for partial sums (``reduction``), weights, gradients and the store; and ``fixed`` costs.
    """
    wafer, way = setup.wafer, step.way
    cost, again = step_costs(setup, way)
    published = wafer.mixed_fmac_per_cycle_per_pe * wafer.clock_hz
    achieved = setup.calibration.multiply_adds_per_cycle(wafer) * wafer.clock_hz
    sequences = way.micro_batch * way.accumulation
    useful = _multiply_adds(setup) * sequences / (wafer.usable_pes * published)
    once = (cost.multiply_adds - again.multiply_adds) / published
    causes = step.timeline.seconds_by_cause
    return {
        "useful": useful,
        "padding": once - useful,
        "recomputation": again.multiply_adds / published,
        "rate": cost.multiply_adds * (1 / achieved - 1 / published),
        "vectors": cost.vector_cycles / wafer.clock_hz,
        "streaming": cost.stream_cycles / wafer.clock_hz,
        "reduction": causes["fabric"],
        "weights": causes["weight_stream"],
        "gradients": causes["gradient_stream"],
        "update": causes["update"],
        "fixed": causes["fixed"],
    }


def _multiply_adds(setup: Setup) -> float:
    """Of one sequence: none by a weight that is zero; attention has no weights."""
    return sum(
        operator.flops
        / 2
        * layer.count
        * (1.0 if operator.kind is OperatorKind.attention else setup.density)
        for layer, operator in setup.graph.operators()
    )
