"""What each optimizer keeps for a parameter, and in which type the parameter itself is kept.

Matrices are kept as the optimizer says; vectors (biases, LayerNorm) are few, and always fp32 with
fp32 state.
"""

from __future__ import annotations

import torch

from pipeline.choices import Optimizer, Precision

Shape = tuple[int, ...]

BLOCK = 256
"""Elements that share a scale in 8-bit state, as in Dettmers et al. 2021 (arXiv:2110.02861)."""


def weight_dtype(optimizer: Optimizer, precision: Precision, shape: Shape) -> torch.dtype:
    """The type of the weights plane: what every pass reads.

    Adafactor's matrices are bf16, rounded stochastically at each update. The AdamWs keep an fp32
    master: whole where products are fp32, else split into the bf16 that the products take and a
    16-bit remainder beside the state.
    """
    if len(shape) < 2:
        return torch.float32
    bf16 = optimizer is Optimizer.adafactor or precision is Precision.bf16
    return torch.bfloat16 if bf16 else torch.float32


def has_remainder(optimizer: Optimizer, precision: Precision, shape: Shape) -> bool:
    """Whether the fp32 master is split in two."""
    split = optimizer is not Optimizer.adafactor and precision is Precision.bf16
    return split and len(shape) >= 2


def state_specs(
    optimizer: Optimizer, precision: Precision, shape: Shape
) -> dict[str, tuple[torch.dtype, Shape]]:
    """Key -> type and shape of everything that is read only at the update; zero at first."""
    specs: dict[str, tuple[torch.dtype, Shape]] = {}
    if has_remainder(optimizer, precision, shape):
        specs["remainder"] = (torch.int16, shape)
    elements = torch.Size(shape).numel()
    if optimizer is Optimizer.adafactor:
        if len(shape) < 2:
            return {"exp_avg_sq": (torch.float32, shape)}
        rows, columns = shape
        return {"row": (torch.float32, (rows,)), "column": (torch.float32, (columns,))}
    if optimizer is Optimizer.adamw8bit and len(shape) >= 2:
        blocks = -(-elements // BLOCK)
        for moment in ("exp_avg", "exp_avg_sq"):
            specs[moment] = (torch.uint8, shape)
            specs[f"{moment}_scale"] = (torch.float32, (blocks,))
        return specs
    return specs | dict.fromkeys(("exp_avg", "exp_avg_sq"), (torch.float32, shape))
