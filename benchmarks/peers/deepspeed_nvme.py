"""DeepSpeed's ZeRO-3 with parameters and optimizer on NVMe (ZeRO-Infinity, arXiv:2104.07857).

    PEERS/bin/python -m benchmarks.peers.deepspeed_nvme --folder /disk/nvme --steps 3

PEERS is an environment made from ``requirements-peers.txt``; it needs g++, and libaio with its
headers (``apt install libaio-dev``). One process on the CPU trains a GPT-2 with DeepSpeed's own
Adam. Found while making it run:

- Four extensions are compiled at first use, which takes three to ten minutes on two cores. A kill
  meanwhile leaves a file ``lock`` in the extension's folder, and every later start waits for it
  for ever; this script removes such files first, so start it once at a time.
- A parameter buffer must hold the largest matrix, here the embedding of 38.6 million elements.
  How many buffers are needed is found by trial: with too few it ends with "Not enough buffers".
- By default all parameters are one group of the optimizer, whose fp32 copies and moments come to
  memory together. ``--group-elements 50000000`` is the smallest that the embedding allows here,
  and takes some 2 GB off the peak; it costs speed.
- What it leaves on disk is about 17 bytes a parameter.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

ENVIRONMENT = {
    "DS_ACCELERATOR": "cpu",
    "RANK": "0",
    "LOCAL_RANK": "0",
    "WORLD_SIZE": "1",
    "MASTER_ADDR": "127.0.0.1",
    "MASTER_PORT": "29561",
}
DEFAULT_GROUP_ELEMENTS = 1_000_000_000
"""DeepSpeed's own ``sub_group_size``."""


def settings(arguments: argparse.Namespace) -> dict[str, Any]:
    """DeepSpeed's configuration; what is not named is its default."""
    on_disk = {"device": "nvme", "nvme_path": str(arguments.folder)}
    return {
        "train_micro_batch_size_per_gpu": arguments.batch,
        "bf16": {"enabled": True},
        "optimizer": {"type": "Adam", "params": {"lr": 1e-4}},
        "aio": {"block_size": 2**20, "queue_depth": 16, "intra_op_parallelism": 2},
        "zero_optimization": {
            "stage": 3,
            "sub_group_size": arguments.group_elements,
            "offload_optimizer": {**on_disk, "buffer_count": 4},
            "offload_param": {
                **on_disk,
                "buffer_count": arguments.buffers,
                "buffer_size": arguments.buffer_elements,
            },
        },
    }


def remove_stale_locks() -> None:
    """Remove what a killed compilation left, for which the next one would wait for ever."""
    folder = os.environ.get("TORCH_EXTENSIONS_DIR")
    for lock in Path(folder).glob("*/lock") if folder else ():
        lock.unlink(missing_ok=True)


def train(arguments: argparse.Namespace) -> None:
    """Train on one fixed batch and print the figures."""
    import deepspeed  # type: ignore[import-not-found]  # reads the environment when imported

    from benchmarks.peers.gpt2 import SHAPES, Gpt2, initialize_tensor
    from benchmarks.peers.measuring import random_tokens, timed_steps

    shape, config = SHAPES[arguments.model], settings(arguments)
    deepspeed.init_distributed(dist_backend="gloo")
    with deepspeed.zero.Init(config_dict_or_path=config):
        model = Gpt2(shape)
    for name, parameter in model.named_parameters():
        with deepspeed.zero.GatheredParameters([parameter], modifier_rank=0):
            initialize_tensor(name, parameter)
    engine, *_ = deepspeed.initialize(
        model=model, model_parameters=model.parameters(), config=config
    )
    tokens = random_tokens(arguments.batch, arguments.tokens, shape.vocabulary)

    def step() -> float:
        loss = engine(tokens[:, :-1], tokens[:, 1:])
        engine.backward(loss)
        engine.step()
        return float(loss.item())

    timed_steps(step, arguments.steps, arguments.batch * arguments.tokens)


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--folder", type=Path, required=True, help="of the offloaded tensors")
    parser.add_argument("--model", default="gpt2_125m", help="default gpt2_125m")
    parser.add_argument("--steps", type=int, default=3, help="timed, after one to warm up")
    parser.add_argument("--batch", type=int, default=2, help="sequences in a step")
    parser.add_argument("--tokens", type=int, default=256, help="tokens in a sequence")
    parser.add_argument("--buffers", type=int, default=5, help="for parameters; default 5")
    parser.add_argument("--buffer-elements", type=int, default=40_000_000)
    parser.add_argument("--group-elements", type=int, default=DEFAULT_GROUP_ELEMENTS)
    arguments = parser.parse_args()
    for key, value in ENVIRONMENT.items():
        os.environ.setdefault(key, value)
    remove_stale_locks()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    train(arguments)


if __name__ == "__main__":
    main()
