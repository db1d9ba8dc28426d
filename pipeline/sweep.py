"""Sweeps: ``conf/sweep/NAME.yaml`` maps the name of a run to its list of overrides."""

from __future__ import annotations

from dataclasses import dataclass

import yaml

from pipeline.choices import Keep
from pipeline.config import (
    CONF_DIR,
    compose,
    corpus_id,
    hydra_initialized,
    slice_hash,
    stage_slice,
)
from pipeline.constraints import check_run_name
from pipeline.errors import ConfigError
from pipeline.models.shape import parameter_count
from pipeline.schema import Config
from pipeline.slices import ReportSlice
from wse.errors import OnewaferError

SWEEP_DIR = CONF_DIR / "sweep"


@dataclass(frozen=True)
class Sweep:
    """A sweep's runs, composed; those with a ``train`` part are trained, the others planned.

    Runs with a ``fabric`` part are experiments on the fabric, and nothing else.
    """

    name: str
    runs: dict[str, Config]

    @property
    def experiments(self) -> list[str]:
        """Names of the runs that are experiments on the fabric."""
        return [name for name, config in self.runs.items() if config.fabric is not None]

    @property
    def planned(self) -> list[str]:
        """Names of the runs that have a plan: all but the experiments on the fabric."""
        return [name for name, config in self.runs.items() if config.fabric is None]

    @property
    def trained(self) -> list[str]:
        """Names of the runs that train a model."""
        return [name for name, config in self.runs.items() if config.train is not None]

    @property
    def evaluated(self) -> list[str]:
        """Names of the trained runs that leave a model to evaluate."""
        return [name for name in self.trained if "evaluate" in stages_of(self.runs[name])]

    @property
    def records(self) -> list[str]:
        """Names of the record runs, the smallest model first."""
        runs = self.runs.items()
        recording = [
            (parameter_count(c.model), name) for name, c in runs if c.train and c.train.record
        ]
        return [name for _, name in sorted(recording)]

    @property
    def corpora(self) -> dict[str, Config]:
        """Each corpus that a trained run needs, with a configuration that describes it."""
        return {corpus_id(self.runs[name]): self.runs[name] for name in self.trained}

    def report(self) -> ReportSlice:
        """What the report of this sweep reads."""
        hashes = {name: _stage_hashes(config) for name, config in self.runs.items()}
        return ReportSlice(sweep=self.name, runs=hashes, corpora=list(self.corpora))


def load_sweep(name: str, results: str = "results") -> Sweep:
    """Read and compose a sweep; raise :class:`ConfigError` naming the sweep, run and key."""
    overrides = read_sweep(name)
    runs = {}
    with hydra_initialized():
        for run, values in overrides.items():
            try:
                check_run_name(run)
                runs[run] = compose([*values, f"run={run}", f"results={results}"])
            except OnewaferError as error:
                raise ConfigError(f"conf/sweep/{name}.yaml: run {run}: {error}") from error
    return Sweep(name, runs)


def read_sweep(name: str) -> dict[str, list[str]]:
    """Read ``conf/sweep/NAME.yaml`` as it stands, checking its form only."""
    path = SWEEP_DIR / f"{name}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in SWEEP_DIR.glob("*.yaml")))
        raise ConfigError(f"sweep={name}: no such sweep; conf/sweep/ has {known}")
    try:
        content = yaml.safe_load(path.read_text())
    except yaml.YAMLError as error:
        raise ConfigError(f"conf/sweep/{name}.yaml: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict) or not content:
        raise ConfigError(f"conf/sweep/{name}.yaml: a sweep maps run names to lists of overrides")
    for run, overrides in content.items():
        if not isinstance(overrides, list) or not all(isinstance(o, str) for o in overrides):
            raise ConfigError(
                f"conf/sweep/{name}.yaml: run {run}: {overrides!r} is not a list of overrides "
                "such as [model=nano_3m, train.steps=100]"
            )
    return content


def stages_of(config: Config) -> list[str]:
    """The stages that a run of a sweep goes through; one that keeps no model is not evaluated.

    Nor is a record run, whose training may be skipped.
    """
    if config.fabric is not None:
        return ["fabric"]
    if config.train is None:
        return ["partition"]
    evaluated = config.train.keep is Keep.model and not config.train.record
    return ["partition", "train", *(["evaluate"] if evaluated else [])]


def _stage_hashes(config: Config) -> dict[str, str]:
    return {stage: slice_hash(stage, stage_slice(config, stage)) for stage in stages_of(config)}
