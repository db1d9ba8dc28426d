"""The learning rate of a step: linear warm-up, then a cosine to the minimum."""

from __future__ import annotations

import math

from pipeline.schema import TrainConfig


def learning_rate(step: int, train: TrainConfig) -> float:
    """Learning rate of ``step``, counted from 1 to ``train.steps``.

    The warm-up reaches ``train.learning_rate`` at step ``warmup_steps``; the cosine ends at
    ``minimum_learning_rate`` with the last step.
    """
    if step <= train.warmup_steps:
        return train.learning_rate * step / train.warmup_steps
    decay_steps = max(1, train.steps - train.warmup_steps)
    progress = min(1.0, (step - train.warmup_steps) / decay_steps)
    span = train.learning_rate - train.minimum_learning_rate
    return train.minimum_learning_rate + span * (1 + math.cos(math.pi * progress)) / 2
