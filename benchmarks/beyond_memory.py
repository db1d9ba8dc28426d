"""Onewafer beyond memory, beside what a user would take instead.

    python -m benchmarks.beyond_memory
    python -m benchmarks.beyond_memory --peers-python PEERS/bin/python

**Under one limit.** A GPT-2 of 1.3 billion parameters (GPT-3 XL's shape), a batch of 1 x 256
tokens, bf16, within a memory cgroup of 1.8 GB in which the page cache counts:

- onewafer: the train stage by its command line, streamed, Adafactor; its budget is the limit less
  a tenth, for the page cache of what it reads besides.
- mapped weights (:mod:`benchmarks.peers.mapped_weights`): the bf16 weights in a mapped file and an
  update in the backward pass, by SGD, the cheapest there is; again with recomputation, which leaves
  more memory to the page cache; and with torch's Adafactor (``--adafactor``). On a processor
  without bf16 instructions these multiply as Onewafer does, which torch does not: there the fp32
  weights in a file are measured, too, as whoever has torch alone would map them.

**DeepSpeed**, if ``--peers-python`` is given: ZeRO-3 with parameters and optimizer on NVMe
(:mod:`benchmarks.peers.deepspeed_nvme`) at 125 million parameters (GPT-2's shape), a batch of
2 x 256 tokens, without a limit, in its default setting and in the one that takes least memory.
Beside it Onewafer streamed, with a budget of a tenth of the default setting's peak, or the least
that it runs in if that is more; with Adafactor, and with AdamW, which is DeepSpeed's optimizer.

Sides take turns, each in fresh processes with an empty page cache, with the same torch and
threads. Tokens a second are by the median step after the first, ratios the median of the rounds.
All figures are *measured*; needs root, for the cgroup and to empty the page cache.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import comparison
from benchmarks.comparison import Measured, Runs
from benchmarks.memory_limit import MemoryLimit, NoMemoryLimit
from benchmarks.onewafer_side import Trainer, sizes, training
from benchmarks.peers.deepspeed_nvme import DEFAULT_GROUP_ELEMENTS
from benchmarks.processes import Failed, end_on_termination, run, settle
from pipeline.config import compose
from pipeline.models.products import processor_multiplies_bf16
from pipeline.streaming.plan import minimum_streaming_bytes

TARGET = 2.0
LIMIT_BYTES = 1_800_000_000
BUDGET_SHARE = 0.9
TIMEOUT_SECONDS = 600.0
COMPILE_SECONDS = 1500.0
SMALL_GROUP_ELEMENTS = 50_000_000
GPT2_125M = [
    "model=cerebras_gpt_111m",
    "model.name=gpt2_125m",
    "model.layers=12",
    "model.positions=1024",
    "model.activation=gelu_new",
]


def peer(
    python: str,
    module: str,
    options: Sequence[str],
    timeout_seconds: float = TIMEOUT_SECONDS,
    limit_bytes: int | None = None,
    environment: Mapping[str, str] | None = None,
) -> Measured:
    """Run a peer's script, whose last line of JSON says what it measured."""
    command = [python, "-m", f"benchmarks.peers.{module}", *options]
    settle()
    finished = run(command, timeout_seconds, limit_bytes, environment)
    found = [line for line in finished.lines if line.startswith('{"step_seconds"')]
    if not found:
        raise Failed(f"{module} printed no figures")
    return Measured(**json.loads(found[-1]), group_peak_bytes=finished.group_peak_bytes)


def under_one_limit(trainer: Trainer, arguments: argparse.Namespace) -> dict[str, Any]:
    """Onewafer and mapped weights within the same cgroup limit."""
    with MemoryLimit(arguments.limit):  # a clear line at once where none can be made
        pass
    if not settle():
        raise NoMemoryLimit("/proc/sys/vm/drop_caches: the page cache cannot be emptied; be root")
    folder = trainer.folder / "mapped"
    folder.mkdir()
    model = ["--folder", str(folder), "--model", "gpt3_xl"]
    precisions = ["bf16"] if processor_multiplies_bf16() else ["bf16", "fp32"]
    for precision in precisions:
        words = [*model, "--precision", precision]
        run([sys.executable, "-m", "benchmarks.peers.mapped_weights", *words], TIMEOUT_SECONDS)
    budget = f"device.memory={int(arguments.limit * BUDGET_SHARE) // 10**6}MB"
    ours = ["model=gpt3_xl", *sizes(1, 256, arguments.steps + 1, "adafactor"), budget]

    def mapped(*options: str) -> Callable[[], Measured]:
        words = [*model, "--steps", str(arguments.steps), *options]
        return lambda: peer(sys.executable, "mapped_weights", words, limit_bytes=arguments.limit)

    sides = {
        "onewafer, Adafactor": lambda: trainer.train(
            [*ours, "train.execution=streaming"], TIMEOUT_SECONDS, arguments.limit
        ),
        "mapped weights, SGD": mapped(),
        "mapped weights, SGD, recomputed": mapped("--recompute"),
    }
    if "fp32" in precisions:
        sides["mapped fp32 weights, SGD"] = mapped("--precision", "fp32", "--recompute")
    if arguments.adafactor:
        sides["mapped weights, Adafactor"] = mapped("--optimizer", "adafactor", "--recompute")
    runs, problems = comparison.in_turn(sides, arguments.rounds)
    shutil.rmtree(folder)
    title = f"1.3B, 1 x 256 tokens, within {arguments.limit / 1e9:.2f} GB of memory ({budget})"
    comparison.show(comparison.table(title, runs, problems, "onewafer, Adafactor"))
    say_ratios(runs, ["onewafer, Adafactor"])
    return {"budget": budget, "sides": comparison.as_json(runs, problems)}


def beside_deepspeed(trainer: Trainer, arguments: argparse.Namespace) -> dict[str, Any]:
    """Onewafer and DeepSpeed on NVMe at 125M; the peer is measured first, for its memory."""
    default = deepspeed(trainer.folder, arguments, DEFAULT_GROUP_ELEMENTS)
    small = deepspeed(trainer.folder, arguments, SMALL_GROUP_ELEMENTS)
    print("compiling DeepSpeed's extensions, where that was not done", flush=True)
    first = default(COMPILE_SECONDS)
    tenth = first.peak_rss_bytes // 10

    def ours(optimizer: str) -> Callable[[], Measured]:
        settings = [*GPT2_125M, *sizes(2, 256, arguments.steps + 1, optimizer)]
        config = compose([*training(), *settings])
        assert config.train is not None
        budget = max(tenth, minimum_streaming_bytes(config.model, config.train))
        print(f"onewafer, {optimizer}: {budget / 1e6:.0f} MB; a tenth is {tenth / 1e6:.0f} MB")
        settings += ["train.execution=streaming", f"device.memory={-(-budget // 10**6)}MB"]
        return lambda: trainer.train(settings, TIMEOUT_SECONDS)

    sides = {
        "onewafer, Adafactor": ours("adafactor"),
        "onewafer, AdamW": ours("adamw"),
        "DeepSpeed, default": default,
        "DeepSpeed, least memory": small,
    }
    runs, problems = comparison.in_turn(sides, arguments.rounds)
    title = "125M, 2 x 256 tokens, DeepSpeed ZeRO-3 with parameters and optimizer on NVMe"
    comparison.show(comparison.table(title, runs, problems, "onewafer, Adafactor"))
    say_ratios(runs, ["onewafer, Adafactor", "onewafer, AdamW"])
    return {"sides": comparison.as_json(runs, problems)}


def deepspeed(
    folder: Path, arguments: argparse.Namespace, group_elements: int
) -> Callable[..., Measured]:
    """A run of the DeepSpeed peer; what it compiles stays beside its Python."""
    python = Path(os.path.abspath(arguments.peers_python))  # not resolved: a link names its venv
    environment = {
        "PATH": os.pathsep.join([str(python.parent), os.environ["PATH"]]),
        "TORCH_EXTENSIONS_DIR": str(python.parents[1] / "torch_extensions"),
    }
    options = ["--steps", str(arguments.steps), "--group-elements", str(group_elements)]

    def measure(timeout_seconds: float = TIMEOUT_SECONDS) -> Measured:
        with tempfile.TemporaryDirectory(dir=folder) as on_disk:
            words = [*options, "--folder", on_disk]
            return peer(
                str(python), "deepspeed_nvme", words, timeout_seconds, environment=environment
            )

    return measure


def say_ratios(runs: Runs, ours: Sequence[str]) -> None:
    """The headline: tokens a second and memory of each of our sides over each peer's."""
    for side in ours:
        for other in runs:
            times = comparison.ratio(runs, side, other)
            if other.startswith("onewafer") or times is None:
                continue
            memory = [max(run.peak_rss_bytes for run in runs[name]) for name in (side, other)]
            print(
                f"{side} / {other}: {times:.2f} times the tokens a second (target {TARGET:.1f}), "
                f"{memory[0] / memory[1]:.2f} of the peak memory"
            )


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3, help="runs of each side (default 3)")
    parser.add_argument("--steps", type=int, default=2, help="timed in each run (default 2)")
    parser.add_argument("--limit", type=int, default=LIMIT_BYTES, help="of the cgroup, in bytes")
    parser.add_argument("--adafactor", action="store_true", help="also map with torch's Adafactor")
    parser.add_argument("--peers-python", help="the Python that has DeepSpeed")
    parser.add_argument("--only", choices=["limit", "deepspeed"], help="one of the two parts")
    parser.add_argument("--folder", type=Path, default=Path(), help="on the disk to be used")
    parser.add_argument("--json", type=Path, help="also write every figure to this file")
    arguments = parser.parse_args()
    if arguments.only == "deepspeed" and not arguments.peers_python:
        parser.error("--only deepspeed needs --peers-python")
    end_on_termination()
    comparison.announce()
    found: dict[str, Any] = {"target": TARGET, "limit_bytes": arguments.limit}
    with tempfile.TemporaryDirectory(dir=arguments.folder.resolve(), prefix=".beyond_") as folder:
        trainer = Trainer(Path(folder))
        try:
            if arguments.only != "deepspeed":
                found["under_one_limit"] = under_one_limit(trainer, arguments)
            if arguments.peers_python and arguments.only != "limit":
                found["beside_deepspeed"] = beside_deepspeed(trainer, arguments)
        except (NoMemoryLimit, Failed) as error:
            sys.exit(f"beyond_memory: {error}")
    comparison.write(arguments.json, found)


if __name__ == "__main__":
    main()
