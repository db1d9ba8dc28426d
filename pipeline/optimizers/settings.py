"""The settings of one optimizer step, and the few numbers that the rules derive from them."""

from __future__ import annotations

import math
from dataclasses import dataclass

from pipeline.choices import Optimizer

SMALLEST_ROOT = 2.0**-23
"""Adafactor's floor of a root second moment: the precision of fp32, as in torch.optim."""

TINY = 1e-38
"""Keeps the reciprocal root of a second moment finite, and the product of two."""

SMALLEST_SCALE = 1e-3
"""Adafactor's floor of a weight's root mean square, which its steps are relative to."""


@dataclass(frozen=True)
class UpdateSettings:
    """What an update needs besides the tensors; the same for every tensor of a step.

    ``step`` counts from 1. ``update_clip`` limits the root mean square of a tensor's update before
    the learning rate; ``None`` does not. ``gradient_scale`` multiplies every gradient first.
    ``seed``, the step and the tensor's name fix the random bits of stochastic rounding.
    """

    optimizer: Optimizer
    step: int
    learning_rate: float
    beta1: float
    beta2: float
    epsilon: float
    weight_decay: float
    update_clip: float | None
    gradient_scale: float
    seed: int

    def __post_init__(self) -> None:
        if self.step < 1:
            raise ValueError(f"steps count from 1, not {self.step}")

    def kept(self, dimensions: int, divisor: float = 1.0) -> float:
        """The share of a weight that decoupled decay leaves; vectors do not decay.

        Loshchilov and Hutter 2019 (arXiv:1711.05101). ``divisor`` divides the learning rate.
        """
        decay = self.weight_decay if dimensions >= 2 else 0.0
        return 1 - self.learning_rate / divisor * decay

    @property
    def bias1(self) -> float:
        """What AdamW's first moment is divided by for having started at zero."""
        return 1 - self.beta1**self.step

    @property
    def bias2(self) -> float:
        """What AdamW's second moment is divided by for having started at zero."""
        return 1 - self.beta2**self.step

    @property
    def fresh(self) -> float:
        """The share of this step's squares in Adafactor's second moment: step ** -0.8."""
        return float(self.step**-0.8)

    def relative_step(self, weight_rms: float) -> float:
        """Adafactor's step size (Shazeer and Stern 2018, arXiv:1804.04235, algorithm 5).

        ``weight_rms``: the weight's root mean square before decay.
        """
        rate = min(self.learning_rate, 1 / math.sqrt(self.step))
        return max(SMALLEST_SCALE, weight_rms) * rate

    def divisor(self, squares: float, elements: int) -> float:
        """What clipping divides the step by.

        ``squares``: the sum of the update's squares over its ``elements``.
        """
        if self.update_clip is None:
            return 1.0
        return max(1.0, math.sqrt(squares / elements) / self.update_clip)
