"""Measures what is not a matrix product: passes over memory, updates, initial weights, copies.

Shapes: n tokens, d hidden, v vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from pipeline.choices import Optimizer, Precision
from pipeline.machine_speed.products import DTYPES
from pipeline.machine_speed.timing import best_seconds
from pipeline.models.initialization import initialize_tensor
from pipeline.optimizers import state_specs, weight_dtype
from pipeline.optimizers.settings import UpdateSettings
from pipeline.optimizers.update import sum_of_squares, update
from pipeline.schema import ModelConfig

PASS_SHAPE = (512, 6144)
"""Of the tensors passed over: larger than the caches of one core, as a layer's are."""
LOGITS_SHAPE = (64, 50257)
"""Small enough that its memory is used again, and does not come fresh from the system."""
FRESH_BYTES = COPY_BYTES = 1 << 27


def pass_nanoseconds() -> dict[str, float]:
    """Nanoseconds per element of each kind of pass that a layer and the loss make.

    ``fresh`` is per byte of memory that comes zeroed from the system, as large tensors do.
    """
    x, y = torch.randn(PASS_SHAPE), torch.randn(PASS_SHAPE)
    passes: dict[str, Callable[[], object]] = {
        "layer_norm": lambda: F.layer_norm(x, PASS_SHAPE[1:], x[0], x[0], 1e-5),
        "layer_norm_backward": _backward(
            lambda values, scale: F.layer_norm(values, PASS_SHAPE[1:], scale, scale, 1e-5),
            [x, x[0]],
        ),
        "add": lambda: x + y,
    }
    for precision, dtype in DTYPES.items():
        low = x.to(dtype)
        passes |= {
            f"cast_{precision}": lambda low=low: low.float() if low.dtype != x.dtype else None,  # type: ignore[misc]
            f"gelu_{precision}": lambda low=low: F.gelu(low, approximate="tanh"),  # type: ignore[misc]
            f"gelu_backward_{precision}": _backward(
                lambda values: F.gelu(values, approximate="tanh"), [low]
            ),
            f"column_sum_{precision}": lambda low=low: low.sum(0),  # type: ignore[misc]
        }
    per_element = 1e9 / x.numel()
    measured = {name: per_element * best_seconds(work, 0.03) for name, work in passes.items()}
    fresh = best_seconds(lambda: torch.zeros(FRESH_BYTES, dtype=torch.uint8), 0.03)
    logits = {f"logit_{name}": _logit_nanoseconds(DTYPES[name]) for name in DTYPES}
    return measured | logits | {"fresh": 1e9 * fresh / FRESH_BYTES}


def _backward(function: Callable[..., Tensor], inputs: list[Tensor]) -> Callable[[], object]:
    leaves = [tensor.detach().requires_grad_() for tensor in inputs]
    output = function(*leaves)
    gradient = torch.ones_like(output)
    return lambda: torch.autograd.grad(output, leaves, gradient, retain_graph=True)


def _logit_nanoseconds(dtype: torch.dtype) -> float:
    """Of the cross-entropy and its gradient, per logit."""
    logits = torch.randn(LOGITS_SHAPE).to(dtype).requires_grad_()
    targets = torch.zeros(LOGITS_SHAPE[0], dtype=torch.int64)

    def work() -> object:
        return torch.autograd.grad(F.cross_entropy(logits.float(), targets), logits)

    return 1e9 * best_seconds(work) / logits.numel()


def operation_seconds() -> float:
    """Of an operation on a few values: what calling it costs, its backward pass included."""
    x = torch.zeros(8, requires_grad=True)

    def work() -> object:
        return torch.autograd.grad(((x + x) * x).sum(), x)

    return best_seconds(work, 0.01) / 7


def update_nanoseconds(matrix: int) -> dict[str, float]:
    """Per parameter of a square matrix of side ``matrix``, by ``OPTIMIZER/PRECISION``."""
    return {
        f"{optimizer.value}/{precision.value}": _update_nanoseconds(optimizer, precision, matrix)
        for optimizer in Optimizer
        for precision in Precision
    }


def _update_nanoseconds(optimizer: Optimizer, precision: Precision, matrix: int) -> float:
    _update(optimizer, precision, 64)()  # compiles it, once for all times
    return 1e9 * best_seconds(_update(optimizer, precision, matrix)) / matrix**2


def _update(optimizer: Optimizer, precision: Precision, matrix: int) -> Callable[[], object]:
    shape = (matrix, matrix)
    weight = torch.full(shape, 0.01, dtype=weight_dtype(optimizer, precision, shape))
    gradient = torch.full(shape, 0.001, dtype=DTYPES[precision.value])
    state = {
        key: torch.zeros(state_shape, dtype=dtype)
        for key, (dtype, state_shape) in state_specs(optimizer, precision, shape).items()
    }
    settings = UpdateSettings(
        optimizer=optimizer,
        step=1,
        learning_rate=1e-4,
        beta1=0.9,
        beta2=0.95,
        epsilon=1e-8,
        weight_decay=0.1,
        update_clip=1.0,
        gradient_scale=1.0,
        seed=0,
    )
    return lambda: update("weight", weight, state, gradient, settings)


def norm_nanoseconds(matrix: int) -> float:
    """Per element of the sum of squares of a bf16 gradient."""
    gradient = torch.full((matrix, matrix), 0.001, dtype=torch.bfloat16)
    return 1e9 * best_seconds(lambda: sum_of_squares(gradient)) / gradient.numel()


def initial_nanoseconds() -> float:
    """Per parameter of a bf16 matrix of initial weights, drawn by one core."""
    weight = torch.empty(1024, 1024, dtype=torch.bfloat16)
    model = ModelConfig(layers=1, initializer_range=0.02)
    seconds = best_seconds(lambda: initialize_tensor(weight, "layers.0.weight", model, 0))
    return 1e9 * seconds / weight.numel()


def copy_bytes_per_second() -> float:
    """Bytes read and written together in copying memory."""
    source = torch.ones(COPY_BYTES, dtype=torch.uint8)
    target = torch.empty_like(source)
    return 2 * COPY_BYTES / best_seconds(lambda: target.copy_(source))
