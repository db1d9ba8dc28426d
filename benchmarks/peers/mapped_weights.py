"""The naive way beyond memory: weights memory-mapped from a file, updated in the backward pass.

    python -m benchmarks.peers.mapped_weights --folder /tmp/mapped --steps 3

The weights of a GPT-2 are one file on disk, and each parameter is a view of its mapping; the
kernel reads the pages that a pass touches, and writes back those that an update made dirty. A
hook updates each parameter as soon as its gradient is there, and frees the gradient. Ten lines of
torch, no package. Updates are written to the only copy of the weights, in no order: a kill leaves
them between two steps. There is neither accumulation nor clipping.

``--optimizer sgd`` keeps no state and costs least. ``adafactor`` is torch's own, eager, its state
in memory. ``--recompute`` keeps only each block's input for the backward pass, so that more memory
is left to the page cache. ``--precision fp32`` is what torch multiplies fast on a processor without
bf16 instructions, at twice the bytes.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from benchmarks.peers.gpt2 import SHAPES, Gpt2, initialize_tensor
from benchmarks.peers.measuring import random_tokens, timed_steps

LEARNING_RATE = {"sgd": 1e-3, "adafactor": 1e-2}
PRECISIONS = {"bf16": torch.bfloat16, "fp32": torch.float32}


def map_weights(model: nn.Module, path: Path, dtype: torch.dtype) -> None:
    """Make every parameter of a model on the meta device a view of one mapped file."""
    parameters = dict(model.named_parameters())
    elements = sum(parameter.numel() for parameter in parameters.values())
    flat = torch.from_file(str(path), shared=True, size=elements, dtype=dtype)
    start = 0
    for name, parameter in parameters.items():
        values = flat[start : start + parameter.numel()].view(parameter.shape)
        start += parameter.numel()
        owner_name, _, leaf = name.rpartition(".")
        setattr(model.get_submodule(owner_name), leaf, nn.Parameter(values))


def update_in_backward(model: nn.Module, optimizer: str) -> None:
    """Register the hooks that update a parameter and free its gradient."""
    rate = LEARNING_RATE[optimizer]
    for parameter in model.parameters():
        if optimizer == "sgd":
            parameter.register_post_accumulate_grad_hook(_sgd(rate))
        else:
            parameter.register_post_accumulate_grad_hook(
                _stepping(torch.optim.Adafactor([parameter], lr=rate))
            )


def _sgd(rate: float) -> Callable[[Tensor], None]:
    def hook(parameter: Tensor) -> None:
        assert parameter.grad is not None
        parameter.data.add_(parameter.grad, alpha=-rate)
        parameter.grad = None

    return hook


def _stepping(optimizer: torch.optim.Optimizer) -> Callable[[Tensor], None]:
    def hook(_: Tensor) -> None:
        optimizer.step()
        optimizer.zero_grad()

    return hook


def main() -> None:
    """Read the command line; without ``--steps`` only write the file."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--folder", type=Path, required=True, help="where the weights file lies")
    parser.add_argument("--model", choices=SHAPES, default="gpt3_xl")
    parser.add_argument("--steps", type=int, default=0, help="timed steps, after one to warm up")
    parser.add_argument("--batch", type=int, default=1, help="sequences in a step")
    parser.add_argument("--tokens", type=int, default=256, help="tokens in a sequence")
    parser.add_argument("--optimizer", choices=LEARNING_RATE, default="sgd")
    parser.add_argument("--precision", choices=PRECISIONS, default="bf16", help="of the weights")
    parser.add_argument("--recompute", action="store_true", help="keep the inputs of blocks alone")
    arguments = parser.parse_args()
    shape = SHAPES[arguments.model]
    with torch.device("meta"):
        model = Gpt2(shape, arguments.recompute)
    path = arguments.folder / f"{arguments.model}.{arguments.precision}"
    map_weights(model, path, PRECISIONS[arguments.precision])
    if not arguments.steps:
        for name, parameter in model.named_parameters():
            initialize_tensor(name, parameter)
        return
    update_in_backward(model, arguments.optimizer)
    tokens = random_tokens(arguments.batch, arguments.tokens, shape.vocabulary)

    def step() -> float:
        loss = model(tokens[:, :-1], tokens[:, 1:])
        loss.backward()
        return loss.item()

    timed_steps(step, arguments.steps, arguments.batch * arguments.tokens)


if __name__ == "__main__":
    main()
