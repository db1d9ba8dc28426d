"""The command line that all stages share: Hydra as everyone knows it, or one frozen slice.

    python -m pipeline.STAGE key=value ... [--multirun]     compose conf/ with overrides
    python -m pipeline.STAGE --frozen FILE                  read a slice that snakemake froze

A user's mistake ends as one line on the standard error and an exit code that is not 0.
"""

from __future__ import annotations

import argparse
import errno
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from pipeline.background import in_background
from pipeline.config import CONF_DIR, resolve
from pipeline.errors import ConfigError, Interrupted
from pipeline.explain import explained
from pipeline.files import write_text
from pipeline.freeze import frozen, frozen_report, job_of, load, text
from pipeline.job import Job
from pipeline.multirun import Gathering, Together, gathering
from pipeline.schema import Config
from pipeline.sweep import load_sweep
from wse.errors import OnewaferError

# Snakemake names the sweep that a run is part of here: the run does not depend on it.
SWEEP_VARIABLE = "ONEWAFER_SWEEP"
# And here the memory that a run may take, where `--config memory=8GiB` gives it: how much a run
# may use changes nothing of what it learns, so it is no part of what is frozen.
MEMORY_VARIABLE = "ONEWAFER_MEMORY"

StageFunction = Callable[[Job[Any]], Any]
Afterwards = Callable[[Job[Any], Any], None]


def stage_main(
    stage: str,
    run: StageFunction,
    before: Callable[[Config], None] | None = None,
    together: Together | None = None,
    afterwards: Afterwards | None = None,
) -> None:
    """Run a stage from the command line and exit; errors of the user become one line.

    ``before`` makes what a stage started by hand needs; snakemake makes it itself. ``together``
    is given the results folder and what ``run`` returned of every run of a multirun that ended
    well, as JSON keeps it. ``afterwards`` is given the job and what ``run`` returned; of a single
    run started by hand, which shows its answer, it goes on in the background.
    """
    try:
        if any(argument.split("=")[0] == "--frozen" for argument in sys.argv[1:]):
            _run_frozen(stage, run, afterwards)
        else:
            with gathering(together) as gathered:
                _run_hydra(stage, run, before, gathered, afterwards)
    except (OnewaferError, OSError, KeyboardInterrupt) as error:
        raise SystemExit(_told(stage, error)) from None


def _told(stage: str, error: BaseException) -> int:
    """Say what went wrong in one line; return the exit code."""
    if isinstance(error, KeyboardInterrupt):
        _tell(stage, "stopped")
        return 130
    _tell(stage, describe(error))
    return getattr(error, "exit_code", 1)


def _tell(stage: str, message: str) -> None:
    print(f"onewafer {stage}: {message}", file=sys.stderr, flush=True)


def describe(error: BaseException) -> str:
    """One line for an error of the user or of the machine."""
    if not isinstance(error, OSError):
        return " ".join(str(error).split())
    where, reason = error.filename or "a file", (error.strerror or str(error)).lower()
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return (
            f"{where}: no space left to write; what was finished is kept: free some space and "
            "give the same command again"
        )
    if isinstance(error, PermissionError) or error.errno == errno.EROFS:
        return (
            f"{where}: no permission ({reason}); change its owner or mode, or choose another "
            "folder for the results"
        )
    return f"{where}: {reason}; mend that, or choose another folder for the results"


def _run_frozen(stage: str, run: StageFunction, afterwards: Afterwards | None) -> None:
    parser = argparse.ArgumentParser(prog=f"python -m pipeline.{stage}")
    parser.add_argument("--frozen", type=Path, required=True, help="the frozen slice to run")
    arguments = parser.parse_args()
    job = load(arguments.frozen, stage, os.environ.get(SWEEP_VARIABLE, "by_hand"))
    memory = os.environ.get(MEMORY_VARIABLE)
    if memory and stage == "train":
        job.config.device.memory = memory
    made = run(job)
    if afterwards is not None:
        afterwards(job, made)


def _run_hydra(
    stage: str,
    run: StageFunction,
    before: Callable[[Config], None] | None,
    gathered: Gathering,
    afterwards: Afterwards | None,
) -> None:
    # Hydra would print an error over several lines; with this it leaves the wording to us.
    os.environ["HYDRA_FULL_ERROR"] = "1"

    def work(config: Config) -> None:
        if before is not None:
            before(config)
        job = job_by_hand(config, stage)
        made = run(job)
        gathered.keep(job.results, made)
        if afterwards is not None:
            _follow(job, made, afterwards)

    errors: list[Exception] = []

    @hydra.main(version_base="1.3", config_path=str(CONF_DIR), config_name="config")
    def application(composed: DictConfig) -> None:
        name = "a run"
        try:
            if stage == "partition":
                # A plan by hand is a plan alone, whatever the run would train.
                composed.train = None
            config = resolve(composed)
            name = str(config.run)
            work(config)
        except (OnewaferError, OSError) as error:
            if HydraConfig.get().mode is RunMode.MULTIRUN:
                raise _one_of_many(stage, name, error) from None
            errors.append(error)

    with explained():
        application()
    for error in errors:
        raise error


def _follow(job: Job[Any], made: Any, afterwards: Afterwards) -> None:
    """Do what comes after the answer: at once in a multirun, else in the background."""
    if HydraConfig.get().mode is RunMode.MULTIRUN:
        afterwards(job, made)
        return

    def work() -> int:
        try:
            afterwards(job, made)
        except (OnewaferError, OSError) as error:
            return _told(job.stage, error)
        return 0

    log = job.run_directory / "logs" / f"{job.stage}_afterwards.log"
    in_background(work, log)


def _one_of_many(stage: str, name: str, error: OnewaferError | OSError) -> BaseException:
    """Say which run of a multirun failed; return what has Hydra go on with the others, or stop."""
    # Said at once, and of every run: Hydra tells of the first alone, when all have ended.
    _tell(stage, f"{name}: {describe(error)}")
    if isinstance(error, Interrupted):
        return SystemExit(error.exit_code)
    return OnewaferError(
        "not every run of the multirun was finished, as said above; the same command goes on with "
        "what is left"
    )


def job_by_hand(config: Config, stage: str) -> Job[Any]:
    """The job of a stage run by hand, its frozen slice written beside its results."""
    if stage == "report":
        content = frozen_report(load_sweep(config.tracking.sweep, config.results))
        return job_of(content, config.tracking.sweep)
    content = frozen(config, stage)
    job = job_of(content, config.tracking.sweep)
    folder = job.corpus_directory(job.run) if stage == "tokenize" else job.run_directory
    if stage == "train":
        refuse_to_overwrite(job)
    path = folder / "config" / f"{stage}.yaml"
    if not path.exists() or path.read_text() != text(content):
        write_text(path, text(content))
    return job


def refuse_to_overwrite(job: Job[Any]) -> None:
    """Raise :class:`ConfigError` if the run's folder holds a finished run of another config."""
    metrics = job.trained_metrics()
    if metrics is not None and metrics["config_hash"] != job.hash:
        raise ConfigError(
            f"{job.run_directory} holds a finished run of another configuration; name this one "
            "with run=NAME, or delete that folder"
        )
