"""Frozen slices: what a stage reads, written where the stage finds it.

A frozen file holds a stage's slice of the configuration and its hash. It is the stage's input
in Snakemake, so a run is done again when, and only when, its own slice changes.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf

from pipeline import schema, slices
from pipeline.config import STAGE_VERSIONS, corpus_id, plain, slice_hash, stage_slice
from pipeline.errors import ConfigError
from pipeline.explain import explained
from pipeline.job import Job
from pipeline.sweep import Sweep

SLICES = {
    "tokenize": slices.TokenizeSlice,
    "partition": slices.PartitionSlice,
    "train": slices.TrainSlice,
    "evaluate": slices.EvaluateSlice,
    "fabric": slices.FabricSlice,
    "report": slices.ReportSlice,
}


def frozen(config: schema.Config, stage: str) -> dict[str, Any]:
    """The content of the frozen file of one stage of one run."""
    run = corpus_id(config) if stage == "tokenize" else config.run
    return _frozen(stage, str(run), config, stage_slice(config, stage))


def frozen_report(sweep: Sweep) -> dict[str, Any]:
    """The content of the frozen file of a sweep's report."""
    config = next(iter(sweep.runs.values()))
    return _frozen("report", sweep.name, config, plain(sweep.report()))


def _frozen(stage: str, run: str, config: schema.Config, values: dict[str, Any]) -> dict[str, Any]:
    tracking = plain(config.tracking)
    # The sweep's name is not frozen: the same run in another sweep is the same run.
    del tracking["sweep"]
    return {
        "stage": stage,
        "version": STAGE_VERSIONS[stage],
        "hash": slice_hash(stage, values),
        "run": run,
        "results": config.results,
        "config": values,
        "tracking": tracking,
    }


def text(content: dict[str, Any]) -> str:
    """A frozen file's text; equal contents give equal texts."""
    return yaml.safe_dump(content, sort_keys=False)


def is_stale(path: Path, content: dict[str, Any]) -> bool:
    """Whether a file is there and holds anything but ``content``."""
    return path.exists() and path.read_text() != text(content)


def skipped(path: Path) -> bool:
    """Whether ``path`` is the ``record.json`` of a record run that the machine could not hold."""
    try:
        return json.loads(path.read_text())["status"] == "skipped"
    except (OSError, ValueError, KeyError, TypeError):
        return False


def job_of(content: dict[str, Any], sweep: str) -> Job[Any]:
    """Turn a frozen file's content into a stage's typed job."""
    stage = content["stage"]
    node = OmegaConf.structured(SLICES[stage])
    for group in ("data", "tokenizer"):
        if group in content["config"]:
            kind = content["config"][group]["kind"]
            node[group] = OmegaConf.structured(schema.GROUP_SCHEMAS[group][kind])
    if "config_sha256" in content["config"].get("model", {}):
        node.model = OmegaConf.structured(schema.CapturedModel)
    with explained():
        config = OmegaConf.to_object(OmegaConf.merge(node, content["config"]))
    tracking = schema.TrackingConfig(**content["tracking"], sweep=sweep)
    return Job(stage, content["hash"], content["run"], Path(content["results"]), config, tracking)


def load(path: Path, stage: str, sweep: str) -> Job[Any]:
    """Read a frozen file; refuse one that is damaged, edited, or of another stage or version."""
    remedy = f"delete {path} and run snakemake again"
    try:
        content = yaml.safe_load(path.read_text())
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file; snakemake writes it") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not readable as YAML; {remedy}") from error
    if not isinstance(content, dict) or content.get("stage") != stage:
        raise ConfigError(f"{path}: not a frozen configuration of stage {stage}; {remedy}")
    if content["version"] != STAGE_VERSIONS[stage]:
        raise ConfigError(
            f"{path}: version {content['version']} of stage {stage}, this is version "
            f"{STAGE_VERSIONS[stage]}; {remedy}"
        )
    if content["hash"] != slice_hash(stage, content["config"]):
        raise ConfigError(f"{path}: was changed after it was written; {remedy}")
    return job_of(content, sweep)


def sweep_content(sweep: Sweep, run: str, stage: str) -> dict[str, Any]:
    """The frozen content of one stage of one run, corpus or report of a sweep."""
    if stage == "report":
        return frozen_report(sweep)
    return frozen(sweep.corpora[run] if stage == "tokenize" else sweep.runs[run], stage)
