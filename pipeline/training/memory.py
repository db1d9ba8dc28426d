"""What resident training takes, said before it starts."""

from __future__ import annotations

import psutil

from pipeline.errors import TrainingError
from pipeline.models.shape import parameter_count
from pipeline.schema import ModelConfig, TrainConfig

# fp32 parameter, gradient and AdamW's two moments.
RESIDENT_BYTES_PER_PARAMETER = 4 + 4 + 4 + 4
# Activations kept for the backward pass, in values per token, layer and hidden unit: the inputs
# of the four matrix products, q, k, v, two LayerNorms, two residuals (14), and for a feed-forward
# of f times the hidden size its input to and output of the activation (2 f).
ATTENTION_VALUES_PER_HIDDEN = 14


def resident_bytes(model: ModelConfig, train: TrainConfig) -> int:
    """Estimated bytes of parameters, gradients, optimizer state and a micro-batch's activations."""
    tokens = train.micro_batch * train.sequence_length
    per_layer = ATTENTION_VALUES_PER_HIDDEN * model.hidden + 2 * model.feed_forward
    logits = 2 * model.vocabulary
    activations = 4 * tokens * (model.layers * per_layer + logits)
    return RESIDENT_BYTES_PER_PARAMETER * parameter_count(model) + activations


def require_resident_fits(model: ModelConfig, train: TrainConfig, available_bytes: int) -> None:
    """Raise :class:`TrainingError` if resident training would not fit ``available_bytes``."""
    needed = resident_bytes(model, train)
    if needed > available_bytes:
        raise TrainingError(
            f"model={model.name}: resident training needs about {needed / 1e9:.1f} GB, "
            f"{available_bytes / 1e9:.1f} GB are free on this machine; choose a smaller model, or "
            "lower train.micro_batch or train.sequence_length"
        )


def available_bytes() -> int:
    """Memory that a new process can take without swapping, in bytes."""
    return psutil.virtual_memory().available
