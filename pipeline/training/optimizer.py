"""AdamW over named parameters, with weight decay on matrices and embeddings alone."""

from __future__ import annotations

from collections.abc import Iterable

import torch

from pipeline.schema import TrainConfig


def adamw(
    named_parameters: Iterable[tuple[str, torch.nn.Parameter]], train: TrainConfig
) -> torch.optim.AdamW:
    """AdamW (Loshchilov and Hutter 2019, arXiv:1711.05101) over ``named_parameters``.

    Vectors (biases, LayerNorm) do not decay. The learning rate is set at every step with
    :func:`set_learning_rate`.
    """
    decayed: list[torch.nn.Parameter] = []
    plain: list[torch.nn.Parameter] = []
    for _, parameter in named_parameters:
        (decayed if parameter.dim() >= 2 else plain).append(parameter)
    groups = [
        {"params": decayed, "weight_decay": train.weight_decay},
        {"params": plain, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(
        [group for group in groups if group["params"]],
        lr=train.learning_rate,
        betas=(train.beta1, train.beta2),
        eps=train.epsilon,
        fused=True,
    )


def set_learning_rate(optimizer: torch.optim.Optimizer, learning_rate: float) -> None:
    """Use ``learning_rate`` from the next update on."""
    for group in optimizer.param_groups:
        group["lr"] = learning_rate
