"""One update of one tensor, in place: natively on the CPU, in plain torch elsewhere."""

from __future__ import annotations

from types import ModuleType

import torch
from torch import Tensor

from pipeline.choices import Optimizer, Precision
from pipeline.optimizers import eager
from pipeline.optimizers.layout import state_specs
from pipeline.optimizers.settings import UpdateSettings

FLOATS = (torch.bfloat16, torch.float32)


@torch.no_grad()
def update(
    name: str,
    weight: Tensor,
    state: dict[str, Tensor],
    gradient: Tensor,
    settings: UpdateSettings,
) -> None:
    """Update ``weight`` and ``state`` in place by ``gradient``, bf16 or fp32 and of any layout.

    Types and keys as in :mod:`pipeline.optimizers.layout`: the AdamWs' weight is an fp32 master, or
    its bf16 half with ``state["remainder"]``; Adafactor's is bf16, rounded stochastically, or fp32.
    ``name`` tells the random bits of one tensor from those of another.

    Raises ``ValueError`` for tensors that do not fit together.
    """
    _check(name, weight, state, gradient, settings)
    rules: ModuleType = eager
    if weight.device.type == "cpu" and weight.dim() == 2 and weight.numel() > 0:
        from pipeline.optimizers import native  # imports numba; vectors are too few to matter

        rules = native
    if settings.optimizer is Optimizer.adafactor:
        rules.adafactor(name, weight, state, gradient.contiguous(), settings)
    else:
        rules.adamw(weight, state, gradient.contiguous(), settings)


@torch.no_grad()
def sum_of_squares(gradient: Tensor) -> float:
    """The sum of all elements' squares, in fp64: NaN or infinite if an element is.

    On the CPU the same bits for any number of threads.
    """
    if gradient.device.type == "cpu" and gradient.dtype in FLOATS:
        from pipeline.optimizers import native

        return native.sum_of_squares(gradient)
    return eager.sum_of_squares(gradient)


def _check(
    name: str,
    weight: Tensor,
    state: dict[str, Tensor],
    gradient: Tensor,
    settings: UpdateSettings,
) -> None:
    """The native loops write where they are told to: so everything must have its size."""
    shape = tuple(weight.shape)
    precision = Precision.bf16 if weight.dtype == torch.bfloat16 else Precision.fp32
    expected = {"weight": (weight.dtype, shape), "gradient": (gradient.dtype, shape)}
    expected |= state_specs(settings.optimizer, precision, shape)
    given = {"weight": weight, "gradient": gradient, **state}
    if expected.keys() != given.keys():
        raise ValueError(f"{name}: {sorted(given)} given, {sorted(expected)} needed")
    for key, (dtype, size) in expected.items():
        tensor = given[key]
        if (tensor.dtype, tuple(tensor.shape)) != (dtype, size):
            raise ValueError(
                f"{name}: {key} is {tensor.dtype} {tuple(tensor.shape)}, not {dtype} {size}"
            )
        if key != "gradient" and not tensor.is_contiguous():
            raise ValueError(f"{name}: {key} is not contiguous")
        if tensor.device != weight.device:
            raise ValueError(f"{name}: {key} is on {tensor.device}, not {weight.device}")
    for key in ("weight", "gradient"):
        if given[key].dtype not in FLOATS:
            raise ValueError(f"{name}: {key} is {given[key].dtype}, not bf16 or fp32")
