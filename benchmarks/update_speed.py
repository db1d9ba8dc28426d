"""Speed of one update of a large matrix by each rule, beside torch's own fused AdamW.

    python -m benchmarks.update_speed --rounds 9

All sides update a matrix of the same shape (one of a layer of gptneox_20b, unless told otherwise)
with the threads that torch takes, in turn within each round. Ours get a bf16 gradient and keep what
a run of bf16 products keeps; torch's fused AdamW is all fp32, as it is used where weights must not
lose small updates. "clipped" limits the update's root mean square, which takes a pass more.
Compilation and a first round are not timed. All figures are *measured*.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor

from pipeline import machine
from pipeline.choices import Optimizer, Precision
from pipeline.optimizers import UpdateSettings, state_specs, sum_of_squares, update, weight_dtype


def settings(optimizer: Optimizer, update_clip: float | None) -> UpdateSettings:
    """Those of a step in mid-training."""
    return UpdateSettings(
        optimizer=optimizer,
        step=100,
        learning_rate=1e-3,
        beta1=0.9,
        beta2=0.95,
        epsilon=1e-8,
        weight_decay=0.1,
        update_clip=update_clip,
        gradient_scale=1.0,
        seed=0,
    )


def ours(optimizer: Optimizer, gradient: Tensor) -> dict[str, Callable[[], object]]:
    """Updates of a weight of its own by one rule, without and with clipping."""
    shape = tuple(gradient.shape)
    dtype = weight_dtype(optimizer, Precision.bf16, shape)
    weight = torch.empty(shape, dtype=dtype).normal_(std=0.02)
    specs = state_specs(optimizer, Precision.bf16, shape)
    state = {key: torch.zeros(size, dtype=kind) for key, (kind, size) in specs.items()}
    name = optimizer.value
    plain, clipped = settings(optimizer, None), settings(optimizer, 1.0)
    return {
        name: lambda: update("weight", weight, state, gradient, plain),
        f"{name}, clipped": lambda: update("weight", weight, state, gradient, clipped),
    }


def torch_adamw(gradient: Tensor) -> Callable[[], object]:
    """A step of torch's fused AdamW."""
    weight = torch.nn.Parameter(torch.empty(gradient.shape).normal_(std=0.02))
    weight.grad = gradient.float()
    return torch.optim.AdamW([weight], lr=1e-3, weight_decay=0.1, fused=True).step


def measure(rows: int, columns: int, rounds: int) -> None:
    """Time every side once in each round and print the medians."""
    gradient = torch.empty(rows, columns, dtype=torch.bfloat16).normal_(std=1e-3)
    sides: dict[str, Callable[[], object]] = {"sum_of_squares": lambda: sum_of_squares(gradient)}
    for optimizer in (Optimizer.adafactor, Optimizer.adamw8bit, Optimizer.adamw):
        sides |= ours(optimizer, gradient)
    sides["torch fused AdamW, fp32"] = torch_adamw(gradient)
    times: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(rounds + 1):
        for name, side in sides.items():
            start = time.perf_counter()
            side()
            if number:
                times[name].append((time.perf_counter() - start) / gradient.numel() * 1e9)
    for name, values in times.items():
        print(
            f"{name:<24} {statistics.median(values):6.2f} ns a parameter "
            f"(of {rounds} rounds: {min(values):.2f} to {max(values):.2f})"
        )


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", type=int, default=6144, help="of the matrix (default 6144)")
    parser.add_argument("--columns", type=int, default=24576, help="of it (default 24576)")
    parser.add_argument("--rounds", type=int, default=9, help="of all sides (default 9)")
    arguments = parser.parse_args()
    about = machine.describe()
    print(
        f"measured on {about['cpu']}, {about['cores']} cores, Python {about['python']}, torch "
        f"{torch.__version__}, {torch.get_num_threads()} threads: "
        f"a matrix of {arguments.rows} x {arguments.columns}"
    )
    measure(arguments.rows, arguments.columns, arguments.rounds)


if __name__ == "__main__":
    main()
