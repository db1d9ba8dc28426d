"""Whether a model is evaluated whole or part by part, and what that takes.

Legend: d hidden, v vocabulary, f feed-forward.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from itertools import pairwise

import torch

from pipeline.errors import ModelError
from pipeline.evaluation.arithmetic import multiplied_as
from pipeline.models.families import TRAITS
from pipeline.models.huggingface import Checkpoint
from pipeline.models.loss import CHUNK_TOKENS
from pipeline.models.shape import parameter_count
from pipeline.reporting.humane import duration, size
from pipeline.schema import ModelConfig
from pipeline.streaming.layout import parameter_shapes
from pipeline.training.memory import available_bytes

USABLE = 0.8
"""Share of the free memory that is counted on; the rest is for the allocator and other programs."""

FP32_BYTES = 4
LAYER_VALUES_PER_HIDDEN = 12  # a token's in, out, normed, q, k, v, turned q and k, attention, sums
LOGIT_COPIES = 3  # logits, their softmax, and another type of them
PROBE_TOKENS = 256  # of the product whose speed is taken


@dataclass(frozen=True)
class StreamedPlan:
    """What evaluation part by part takes.

    ``group_tokens`` pass a part together, their activations in memory; each of the ``passes``
    reads ``read_bytes``.
    """

    group_tokens: int
    passes: int
    read_bytes: int
    least_seconds: float
    flops_per_second: float

    def describe(self, tokens: int) -> str:
        """One line for the user."""
        passes = "1 pass reads" if self.passes == 1 else f"{self.passes} passes read each"
        return (
            f"{tokens:,} tokens, {passes} {size(self.read_bytes)}; at least "
            f"{duration(self.least_seconds)} of matrix products, at the "
            f"{self.flops_per_second / 1e9:,.0f} GFLOP/s measured just now"
        )


def free_bytes(device: torch.device) -> int:
    """Memory that evaluation counts on: the computer's, or the GPU's if that has less."""
    free = available_bytes()
    if device.type == "cuda":
        free = min(free, torch.cuda.mem_get_info(device)[0])
    return int(USABLE * free)


def resident_bytes(model: ModelConfig, stored: torch.dtype, batch_tokens: int) -> int:
    """Bytes of the whole model in fp32, of the copies multiplied as bf16, and of one batch."""
    per_parameter = FP32_BYTES + (2 if multiplied_as(stored) is torch.bfloat16 else 0)
    return per_parameter * parameter_count(model) + _batch_bytes(model, batch_tokens)


def plan_streamed(
    checkpoint: Checkpoint,
    tokens: int,
    batch_tokens: int,
    device: torch.device,
    memory_bytes: int,
) -> StreamedPlan:
    """Share ``memory_bytes`` between two parts, one batch's scratch and the activations.

    Raises :class:`ModelError` if there is no room for one batch of ``batch_tokens``.
    """
    model = checkpoint.model
    dtype = multiplied_as(checkpoint.matrix_dtype)
    fixed = _two_parts_bytes(model, dtype) + _batch_bytes(model, batch_tokens)
    token_bytes = FP32_BYTES * model.hidden
    group_tokens = (memory_bytes - fixed) // token_bytes
    if group_tokens < batch_tokens:
        raise ModelError(
            f"model={model.name}: evaluating it part by part takes "
            f"{size(fixed + batch_tokens * token_bytes)} of memory, {size(memory_bytes)} can be "
            "counted on; lower evaluate.batch, or end other programs"
        )
    passes = -(-tokens // (group_tokens // batch_tokens * batch_tokens))
    speed = flops_per_second(model, dtype, device)
    seconds = 2 * parameter_count(model) * tokens / speed
    return StreamedPlan(group_tokens, passes, checkpoint.nbytes, seconds, speed)


def flops_per_second(model: ModelConfig, dtype: torch.dtype, device: torch.device) -> float:
    """Measured speed of one of the model's larger products, in floating-point operations."""
    weight_fd = torch.ones(model.feed_forward, model.hidden, dtype=dtype, device=device)
    x_nd = torch.ones(PROBE_TOKENS, model.hidden, dtype=dtype, device=device)
    seconds = []
    for _ in range(2):  # the first call also sets things up
        started = time.perf_counter()
        torch.nn.functional.linear(x_nd, weight_fd).sum().item()  # waits for a GPU
        seconds.append(time.perf_counter() - started)
    return 2 * PROBE_TOKENS * weight_fd.numel() / min(seconds)


def _batch_bytes(model: ModelConfig, tokens: int) -> int:
    """Scratch of a layer and of the head's chunk, in fp32."""
    layer = tokens * (LAYER_VALUES_PER_HIDDEN * model.hidden + 2 * model.feed_forward)
    logits = LOGIT_COPIES * min(tokens, CHUNK_TOKENS) * model.vocabulary
    return FP32_BYTES * (layer + logits)


def _two_parts_bytes(model: ModelConfig, dtype: torch.dtype) -> int:
    """The largest two parts that follow each other: one computes while the other is read.

    Beside them there is one more tensor while it changes its type or layout.
    """
    parts = [
        [torch.Size(shape).numel() for shape in shapes.values()]
        for shapes in parameter_shapes(model).values()
    ]
    if TRAITS[model.family].tied_head:
        parts[-1].append(model.vocabulary * model.hidden)
    sizes = [sum(part) * dtype.itemsize for part in parts]
    pairs = [first + second for first, second in pairwise(sizes)]
    return max(pairs) + max(max(part) for part in parts) * FP32_BYTES
