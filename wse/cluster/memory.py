"""Bytes that lie in a GPU's memory during a step.

Activations follow Korthikanti et al. 2022 (arXiv 2205.05198, equations 1 to 5): per block and
token of hidden size h, with a heads and sequences of s tokens, h x (34 + 5 a s / h) bytes, of
which 10 h are not split by tensor parallelism alone. Model states are those of mixed precision
with Adam (arXiv 1910.02054): 16-bit weights, fp32 gradients, and in fp32 the weights and two
moments; ZeRO-3 keeps one fp32 copy of the weights, shared out, and gathers 16-bit ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from wse.cluster.configuration import Configuration, Recomputation, stage_layers
from wse.cluster.eras import Era
from wse.cluster.hardware import Cluster
from wse.transformer import Shape, training_graph

WEIGHT_BYTES = 2
GRADIENT_BYTES = 4
OPTIMIZER_BYTES = 12
GATHERED_BLOCKS = 2  # ZeRO-3: the block that runs and the one gathered ahead
LOGIT_BYTES = 6  # 16-bit, and the fp32 copy of which the loss is taken
# Of the HBM: the driver, buffers of the collectives, fragments. Assumption.
RESERVED_BYTES = 4e9


@dataclass(frozen=True)
class MemoryBytes:
    """Bytes on the fullest GPU."""

    weights: float
    gradients: float
    optimizer: float
    activations: float
    logits: float
    gathered_weights: float

    @property
    def total(self) -> float:
        """All of it."""
        states = self.weights + self.gradients + self.optimizer
        return states + self.activations + self.logits + self.gathered_weights


def usable_bytes(cluster: Cluster) -> float:
    """What a GPU of ``cluster`` has for a step."""
    return cluster.hbm_bytes - RESERVED_BYTES


def memory_bytes(shape: Shape, era: Era, configuration: Configuration) -> MemoryBytes:
    """Bytes on the fuller of the first and the last pipeline stage."""
    stages = (_first_stage, _last_stage)
    return max((stage(shape, era, configuration) for stage in stages), key=lambda m: m.total)


def block_activation_bytes(
    shape: Shape,
    era: Era,
    micro_batch: int,
    tensor_parallel: int,
    norm_shards: int,
    recomputation: Recomputation,
) -> float:
    """Bytes that a block keeps of one micro-batch between forward and backward."""
    hidden_bytes = float(micro_batch * shape.sequence_length * shape.hidden)
    if recomputation is Recomputation.full:
        return 2 * hidden_bytes / norm_shards
    masks = 2 if era.dropout else 0
    split = 8 + 4 * shape.feed_forward / shape.hidden
    bytes_per_element = (8 + masks) / norm_shards + split / tensor_parallel
    if recomputation is Recomputation.none and not era.flash_attention:
        scores = shape.heads * shape.sequence_length / shape.hidden
        bytes_per_element += (5 if era.dropout else 2) * scores / tensor_parallel
    return hidden_bytes * bytes_per_element


def block_parameters(shape: Shape) -> int:
    """Parameters of a block's matrices; biases and LayerNorms are a thousandth of them."""
    return shape.hidden * (4 * shape.hidden + 2 * shape.feed_forward)


def stage_parameters(shape: Shape, chosen: Configuration, blocks: int) -> float:
    """Parameters on a GPU of a stage with ``blocks`` blocks and a table of the vocabulary.

    With several stages a tied table lies on the first and on the last.
    """
    if chosen.pipeline_parallel == 1:
        return _all_parameters(shape) / chosen.tensor_parallel
    table = shape.vocabulary * shape.hidden
    return (blocks * block_parameters(shape) + table) / chosen.tensor_parallel


@lru_cache
def _all_parameters(shape: Shape) -> int:
    return training_graph(shape).parameters


def _first_stage(shape: Shape, era: Era, chosen: Configuration) -> MemoryBytes:
    """A micro-batch stays there until it has been through all stages and back."""
    blocks, _ = stage_layers(shape.layers, chosen.pipeline_parallel)
    stages, pieces = chosen.pipeline_parallel, chosen.interleave
    pieces_alive = stages if pieces == 1 else (pieces + 1) * stages - 1
    return _stage(shape, era, chosen, blocks, pieces_alive, has_logits=stages == 1)


def _last_stage(shape: Shape, era: Era, chosen: Configuration) -> MemoryBytes:
    _, blocks = stage_layers(shape.layers, chosen.pipeline_parallel)
    pieces_alive = (chosen.interleave - 1) * chosen.pipeline_parallel + 1
    return _stage(shape, era, chosen, blocks, pieces_alive, has_logits=True)


def _stage(
    shape: Shape, era: Era, chosen: Configuration, blocks: int, pieces_alive: int, has_logits: bool
) -> MemoryBytes:
    micro_batches = min(pieces_alive / chosen.interleave, chosen.accumulation)
    tokens = chosen.micro_batch * shape.sequence_length
    logits = LOGIT_BYTES * tokens * shape.vocabulary / chosen.tensor_parallel
    weights, gradients, optimizer, gathered = _states(shape, chosen, blocks)
    return MemoryBytes(
        weights=weights,
        gradients=gradients,
        optimizer=optimizer,
        activations=_activations(shape, era, chosen, blocks * micro_batches),
        logits=logits if has_logits else 0.0,
        gathered_weights=gathered,
    )


def _activations(shape: Shape, era: Era, chosen: Configuration, kept_blocks: float) -> float:
    """Those of ``kept_blocks``, and of the block that is being computed again."""
    layout = (chosen.micro_batch, chosen.tensor_parallel, chosen.norm_shards)
    kept = kept_blocks * block_activation_bytes(shape, era, *layout, chosen.recomputation)
    if chosen.recomputation is Recomputation.none:
        return kept
    return kept + block_activation_bytes(shape, era, *layout, Recomputation.none)


def _states(shape: Shape, chosen: Configuration, blocks: int) -> tuple[float, float, float, float]:
    """Bytes of weights, gradients, optimizer states and gathered weights."""
    parameters = stage_parameters(shape, chosen, blocks)
    if chosen.zero_stage == 3:
        share = parameters / chosen.data_parallel
        widest = max(block_parameters(shape), shape.vocabulary * shape.hidden)
        gathered = float(WEIGHT_BYTES * GATHERED_BLOCKS * widest)
        return 4 * share, 4 * share, 8 * share, gathered
    shards = chosen.data_parallel if chosen.zero_stage == 1 else 1
    optimizer = OPTIMIZER_BYTES * parameters / shards
    return WEIGHT_BYTES * parameters, GRADIENT_BYTES * parameters, optimizer, 0.0
