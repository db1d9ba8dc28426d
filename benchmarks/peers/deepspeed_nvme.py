"""DeepSpeed ZeRO-3 with parameters and optimizer on NVMe (ZeRO-Infinity), on the CPU.

    python -m benchmarks.peers.deepspeed_nvme --folder /tmp/nvme --steps 3
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

os.environ.setdefault("DS_ACCELERATOR", "cpu")
for key, value in {"RANK": 0, "WORLD_SIZE": 1, "LOCAL_RANK": 0, "MASTER_PORT": 29561}.items():
    os.environ.setdefault(key, str(value))
os.environ.setdefault("MASTER_ADDR", "127.0.0.1")

import deepspeed
import torch

from benchmarks.peers.gpt2 import SHAPES, Gpt2, initialize
from benchmarks.peers.measuring import random_tokens, timed_steps


def settings(arguments: argparse.Namespace) -> dict[str, Any]:
    nvme = {"device": "nvme", "nvme_path": str(arguments.folder), "pin_memory": arguments.pin}
    return {
        "train_micro_batch_size_per_gpu": arguments.batch,
        "bf16": {"enabled": True},
        "optimizer": {"type": "Adam", "params": {"lr": 1e-4}},
        "aio": {"block_size": 2**20, "queue_depth": 16, "single_submit": False, "overlap_events": True, "intra_op_parallelism": 2},
        "zero_optimization": {
            "stage": 3,
            "offload_param": nvme | {"buffer_count": arguments.buffers, "buffer_size": arguments.buffer_size, "max_in_cpu": 0},
            "offload_optimizer": nvme | {"buffer_count": 4},
            "sub_group_size": arguments.sub_group,
            "stage3_max_live_parameters": arguments.live,
            "stage3_prefetch_bucket_size": arguments.prefetch,
            "stage3_max_reuse_distance": 0,
            "stage3_param_persistence_threshold": arguments.persist,
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--tokens", type=int, default=256)
    parser.add_argument("--buffers", type=int, default=5)
    parser.add_argument("--buffer-size", type=int, default=40_000_000)
    parser.add_argument("--sub-group", type=int, default=1_000_000_000)
    parser.add_argument("--live", type=int, default=1_000_000_000)
    parser.add_argument("--prefetch", type=int, default=50_000_000)
    parser.add_argument("--pin", action="store_true")
    parser.add_argument("--persist", type=int, default=100_000)
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    shape = SHAPES["gpt2_125m"]
    config = settings(arguments)
    deepspeed.init_distributed(dist_backend="gloo")
    with deepspeed.zero.Init(config_dict_or_path=config):
        model = Gpt2(shape)
    for name, parameter in model.named_parameters():
        with deepspeed.zero.GatheredParameters([parameter], modifier_rank=0):
            if parameter.ndim > 1:
                parameter.data.normal_(std=0.02)
    engine, *_ = deepspeed.initialize(model=model, model_parameters=model.parameters(), config=config)
    batch = random_tokens(arguments.batch, arguments.tokens, shape.vocabulary)

    def step() -> float:
        loss = engine(batch[:, :-1], batch[:, 1:])
        engine.backward(loss)
        engine.step()
        return loss.item()

    timed_steps(step, arguments.steps, arguments.batch * arguments.tokens)


if __name__ == "__main__":
    main()
