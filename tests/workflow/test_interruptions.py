"""Killed, interrupted and failed jobs under Snakemake: nothing finished is lost."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time

import psutil
import pytest
from safetensors.torch import load_file

pytestmark = pytest.mark.slow

LONG = "train.steps=400, train.checkpoint_every=20, train.log_every=1, train.validate_every=1000"


def start_training(project, after: int = 0) -> subprocess.Popen[str]:
    """Start the sweep with one long training; return when it has a checkpoint past a step."""
    text = project.sweep.read_text().splitlines()[0]
    project.sweep.write_text(text.replace("train.steps=12", LONG) + "\n")
    process = subprocess.Popen(
        project.command(),
        cwd=project.folder,
        env=project.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    deadline = time.monotonic() + 120
    while not any(step > after for step in checkpoints(project)):
        assert time.monotonic() < deadline, "no checkpoint after two minutes"
        assert process.poll() is None, process.stdout.read()
        time.sleep(0.05)
    return process


def checkpoints(project) -> list[int]:
    """The steps that the training has checkpoints of."""
    folders = (project.folder / "results").glob("small/checkpoints/*/step-*")
    return [int(folder.name[5:]) for folder in folders if not folder.suffix]


def trainer_of(process: subprocess.Popen[str]) -> psutil.Process:
    """The training process below a running Snakemake."""
    children = psutil.Process(process.pid).children(recursive=True)
    return next(p for p in children if "pipeline.train" in p.cmdline() and "python" in p.name())


def resumed_step(out: str) -> int:
    """The step that a run says it goes on from."""
    line = next(line for line in out.splitlines() if line.startswith("resuming after step"))
    return int(line.split()[3])


@pytest.mark.long
def test_a_killed_job_goes_on_from_its_checkpoint_and_ends_where_an_unbroken_one_ends(fresh):
    process = start_training(fresh)
    trainer_of(process).send_signal(signal.SIGKILL)
    out, _ = process.communicate(timeout=120)
    assert process.returncode != 0
    assert not (fresh.folder / "results/small/metrics.json").exists()
    assert checkpoints(fresh), out
    out = fresh.snakemake().stdout
    assert resumed_step(out) >= 20
    assert "tokenize:" not in out
    broken = load_file(fresh.folder / "results/small/model/model.safetensors")
    text = fresh.sweep.read_text()
    fresh.sweep.write_text(text.replace("small:", "whole:"))
    fresh.snakemake()
    whole = load_file(fresh.folder / "results/whole/model/model.safetensors")
    assert all((whole[name] == tensor).all() for name, tensor in broken.items())


def test_ctrl_c_and_sigterm_of_snakemake_lose_nothing(fresh):
    steps = []
    for number in (signal.SIGINT, signal.SIGTERM):
        process = start_training(fresh, after=steps[-1] if steps else 0)
        # Ctrl-C reaches the whole foreground group; a batch system signals it likewise.
        os.killpg(process.pid, number)
        out, _ = process.communicate(timeout=120)
        assert process.returncode != 0
        assert "Traceback" not in out
        saved = re.search(r"saved at step (\d+)", out)
        assert saved, out
        steps.append(int(saved[1]))
    assert resumed_step(out) == steps[0] >= 20
    finished = fresh.snakemake("--", "results/small/metrics.json").stdout
    assert resumed_step(finished) == steps[1] > steps[0]


@pytest.mark.long
def test_a_failed_run_says_why_and_does_not_stop_the_others(fresh):
    text = fresh.sweep.read_text()
    fresh.sweep.write_text(
        text.replace("train.seed=1", "train.learning_rate=1e30, train.gradient_clip=null")
    )
    done = fresh.snakemake(check=False)
    assert done.returncode != 0
    assert "onewafer train: step " in done.stdout
    assert "is not finite" in done.stdout
    assert "Traceback" not in done.stdout
    assert (fresh.folder / "results/small/evaluation.json").exists()
    assert (fresh.folder / "results/gptj_6b/partition.json").exists()
