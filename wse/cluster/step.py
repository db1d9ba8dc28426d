"""Seconds of a training step in one configuration, by cause.

The stages of a pipeline take micro-batches in turn (1F1B, interleaved: arXiv 2104.04473): the
slowest stage sets the pace, and filling and draining takes as long as ``stages - 1``
micro-batches, divided by the pieces of a stage. Gradients are reduced and weights gathered among
copies, then the optimizer passes over its states.
"""

from __future__ import annotations

from dataclasses import dataclass

from wse.cluster.block import Passes, Work
from wse.cluster.calibration import ClusterCalibration
from wse.cluster.communication import gather_seconds, transfer_seconds
from wse.cluster.configuration import Configuration, Recomputation, stage_layers
from wse.cluster.eras import Era
from wse.cluster.hardware import Cluster
from wse.cluster.memory import GRADIENT_BYTES, WEIGHT_BYTES, stage_parameters
from wse.cluster.products import Machine, pass_seconds
from wse.transformer import Shape

CAUSES = (
    "matrix_products",
    "attention",
    "vector_operators",
    "recomputation",
    "tensor_communication",
    "pipeline_communication",
    "pipeline_bubble",
    "data_communication",
    "optimizer",
)
# Passes of mixed-precision Adam over fp32 states: gradient, weight and moments read, the last
# three written (28 bytes), 16-bit weights written from them (6), gradients measured for
# clipping (4) and set to zero (4).
OPTIMIZER_PASS_BYTES = 42


@dataclass(frozen=True)
class ClusterStep:
    """A step: seconds by cause, which add up to ``seconds``."""

    seconds_by_cause: dict[str, float]

    @property
    def seconds(self) -> float:
        """Seconds of the step."""
        return sum(self.seconds_by_cause.values())


def cluster_step(
    shape: Shape,
    cluster: Cluster,
    era: Era,
    configuration: Configuration,
    calibration: ClusterCalibration,
    passes: Passes,
) -> ClusterStep:
    """The step of ``configuration``; ``passes`` are those of its slice of a block."""
    chosen = configuration
    gpu = calibration.machine(cluster, era)
    stages, count = chosen.pipeline_parallel, chosen.accumulation
    again = _again(passes, chosen.recomputation)
    block = passes.forward + passes.backward
    once = block * (shape.layers / stages) + passes.head * (1 / stages)
    recomputed = again.seconds * shape.layers / stages
    most, last = stage_layers(shape.layers, stages)
    per_block = block.seconds + again.seconds
    pace = max(most * per_block, last * per_block + passes.head.seconds)
    mean = once.seconds + recomputed
    bubble = count * max(0.0, pace - mean) + (stages - 1) / chosen.interleave * mean
    moved = _stage_transfers(shape, cluster, chosen)
    parameters = stage_parameters(shape, chosen, most)
    data = _data_communication(cluster, era, chosen, calibration, parameters, pace)
    return ClusterStep(
        {
            "matrix_products": count * once.matrix_products,
            "attention": count * once.attention,
            "vector_operators": count * once.vector_operators,
            "recomputation": count * recomputed,
            "tensor_communication": count * once.tensor_communication,
            "pipeline_communication": (count + (stages - 1) / chosen.interleave) * moved,
            "pipeline_bubble": bubble,
            "data_communication": data,
            "optimizer": _optimizer(gpu, chosen, parameters),
        }
    )


def _again(passes: Passes, recomputation: Recomputation) -> Work:
    again = {
        Recomputation.none: Work(),
        Recomputation.selective: passes.attention_again,
        Recomputation.full: passes.forward,
    }
    return again[recomputation]


def _stage_transfers(shape: Shape, cluster: Cluster, chosen: Configuration) -> float:
    """Hidden states from stage to stage and their gradients back, for one micro-batch.

    The GPUs of a tensor group send a share each (arXiv 2104.04473, section 4.1).
    """
    if chosen.pipeline_parallel == 1:
        return 0.0
    hidden = 2.0 * chosen.micro_batch * shape.sequence_length * shape.hidden
    leaves = chosen.gpus > cluster.gpus_per_node
    one = transfer_seconds(cluster, hidden / chosen.tensor_parallel, leaves)
    return 2 * chosen.interleave * one


def _data_communication(
    cluster: Cluster,
    era: Era,
    chosen: Configuration,
    calibration: ClusterCalibration,
    parameters: float,
    pace: float,
) -> float:
    """Seconds that a step waits for gradients and weights of other copies.

    ZeRO-3 gathers 16-bit weights before a micro-batch's forward and backward and reduces 16-bit
    gradients after it. Otherwise fp32 gradients are reduced once a step, and the 16-bit weights
    (ZeRO-1) or the reduced gradients are gathered.
    """
    copies = chosen.data_parallel
    per_node = min(copies, max(1, cluster.gpus_per_node // chosen.tensor_parallel))

    def gather(bytes_per_parameter: float) -> float:
        return gather_seconds(cluster, copies, per_node, bytes_per_parameter * parameters)

    if chosen.zero_stage == 3:
        times, busy = chosen.accumulation, pace
        traffic = 3 * gather(WEIGHT_BYTES)
    else:
        times, busy = 1, pace * 2 / 3  # gradients are ready during the last backward pass
        back = WEIGHT_BYTES if chosen.zero_stage == 1 else GRADIENT_BYTES
        traffic = gather(GRADIENT_BYTES) + gather(back)
    if not era.overlaps_data_parallel:
        return times * traffic
    return times * max(calibration.exposed_share * traffic, traffic - busy)


def _optimizer(gpu: Machine, chosen: Configuration, parameters: float) -> float:
    shards = chosen.data_parallel if chosen.zero_stage else 1
    moved = OPTIMIZER_PASS_BYTES * parameters / shards
    return pass_seconds(gpu, moved)
