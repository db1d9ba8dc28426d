"""Tensors of one update, and settings of a step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor

from pipeline.choices import Optimizer, Precision
from pipeline.optimizers import UpdateSettings, eager, split, state_specs, update, weight_dtype
from pipeline.optimizers.master import join

SETTINGS = UpdateSettings(
    optimizer=Optimizer.adamw,
    step=1,
    learning_rate=1e-3,
    beta1=0.9,
    beta2=0.95,
    epsilon=1e-8,
    weight_decay=0.1,
    update_clip=None,
    gradient_scale=1.0,
    seed=5,
)


@dataclass
class Case:
    """A weight with its state."""

    weight: Tensor
    state: dict[str, Tensor]

    @classmethod
    def drawn(cls, optimizer: Optimizer, precision: Precision, shape: tuple[int, ...]) -> Case:
        return cls.of(optimizer, precision, torch.randn(shape) * 0.02)

    @classmethod
    def of(cls, optimizer: Optimizer, precision: Precision, weight: Tensor) -> Case:
        shape = tuple(weight.shape)
        specs = state_specs(optimizer, precision, shape)
        state = {key: torch.zeros(size, dtype=dtype) for key, (dtype, size) in specs.items()}
        if "remainder" in state:
            weight, state["remainder"] = split(weight)
        return cls(weight.to(weight_dtype(optimizer, precision, shape)), state)

    def copy(self) -> Case:
        return Case(self.weight.clone(), {key: each.clone() for key, each in self.state.items()})

    def tensors(self) -> dict[str, Tensor]:
        return {"weight": self.weight, **self.state}

    @property
    def master(self) -> Tensor:
        """The weight as fp32, with its remainder; a copy."""
        if "remainder" in self.state:
            return join(self.weight, self.state["remainder"])
        return self.weight.float().clone()

    def update(self, gradient: Tensor, settings: UpdateSettings, name: str = "weight") -> None:
        update(name, self.weight, self.state, gradient, settings)

    def update_eagerly(self, gradient: Tensor, settings: UpdateSettings) -> None:
        if settings.optimizer is Optimizer.adafactor:
            eager.adafactor("weight", self.weight, self.state, gradient, settings)
        else:
            eager.adamw(self.weight, self.state, gradient, settings)


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def case() -> type[Case]:
    return Case


@pytest.fixture(scope="session")
def settings() -> Callable[..., UpdateSettings]:
    """The settings of a step, with any field replaced."""
    return lambda **fields: replace(SETTINGS, **fields)
