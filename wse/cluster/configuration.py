"""How a step is laid out on GPUs: the choices that a person has to make, and their words."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from wse.errors import PlanError


class Recomputation(Enum):
    """What of a block is computed again in the backward pass instead of kept."""

    none = "none"
    selective = "selective"
    full = "full"


@dataclass(frozen=True)
class Configuration:
    """One layout of a step; all are counts, ``micro_batch`` and ``accumulation`` of sequences.

    A block is split over ``tensor_parallel`` GPUs, the blocks over ``pipeline_parallel`` stages
    of ``interleave`` pieces each, the batch over ``data_parallel`` copies, each of which takes
    ``accumulation`` micro-batches in turn.
    """

    tensor_parallel: int
    pipeline_parallel: int
    interleave: int
    data_parallel: int
    micro_batch: int
    accumulation: int
    sequence_parallel: bool
    recomputation: Recomputation
    zero_stage: int

    @property
    def gpus(self) -> int:
        """GPUs that the layout takes."""
        return self.tensor_parallel * self.pipeline_parallel * self.data_parallel

    @property
    def global_batch(self) -> int:
        """Sequences of a step."""
        return self.data_parallel * self.micro_batch * self.accumulation

    @property
    def norm_shards(self) -> int:
        """GPUs that share LayerNorm, dropout and residuals of a sequence."""
        return self.tensor_parallel if self.sequence_parallel else 1


def check_counts(configuration: Configuration) -> None:
    """Raise :class:`PlanError` naming a count of ``configuration`` that is not positive."""
    for name in _COUNTS:
        value = getattr(configuration, name)
        if value < 1:
            raise PlanError(f"cluster.{name}: {value} is not a positive number")


_COUNTS = (
    "tensor_parallel",
    "pipeline_parallel",
    "interleave",
    "data_parallel",
    "micro_batch",
    "accumulation",
)


def stage_layers(layers: int, stages: int) -> tuple[int, int]:
    """Blocks on every stage but the last, and on the last, which also has the vocabulary."""
    most = -(-layers // stages)
    return most, layers - most * (stages - 1)


_RECOMPUTATION_WORDS = {
    Recomputation.none: "recompute nothing: keep every activation",
    Recomputation.selective: "recompute the scores of attention in the backward pass",
    Recomputation.full: "recompute every block in the backward pass",
}
_ZERO_WORDS = {
    1: "share out the optimizer's state over the copies (ZeRO-1)",
    3: "share out weights, gradients and optimizer state over the copies, and gather the weights "
    "of each block before it runs (ZeRO-3, FSDP)",
}


def design_sentences(configuration: Configuration) -> list[str]:
    """What a person would have had to design to get this layout, a sentence each."""
    chosen = configuration
    sentences = []
    if chosen.tensor_parallel > 1:
        kind = "with" if chosen.sequence_parallel else "without"
        sentences.append(
            f"split every matrix over {chosen.tensor_parallel} GPUs of a server "
            f"(tensor parallelism, {kind} sequence parallelism)"
        )
    if chosen.pipeline_parallel > 1:
        pieces = f", {chosen.interleave} pieces each, interleaved" if chosen.interleave > 1 else ""
        sentences.append(
            f"cut the layers into {chosen.pipeline_parallel} pipeline stages{pieces}, "
            "with the embedding on the first and the vocabulary on the last"
        )
    if chosen.data_parallel > 1:
        sentences.append(f"run {chosen.data_parallel} copies on shares of the batch")
    if chosen.zero_stage in _ZERO_WORDS:
        sentences.append(_ZERO_WORDS[chosen.zero_stage])
    sentences.append(
        f"feed micro-batches of {chosen.micro_batch}, {chosen.accumulation} to a step and copy"
    )
    sentences.append(_RECOMPUTATION_WORDS[chosen.recomputation])
    return sentences
