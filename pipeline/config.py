"""Composes, checks and freezes configurations; the only module the Snakefile imports.

``conf/`` and a sweep are the only source of settings. :func:`compose` turns overrides into a
:class:`~pipeline.schema.Config`; :func:`stage_slice` cuts out what one stage reads, and the
slice's hash names it everywhere: in the checkpoint's guard, the MLflow tag and the report.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from typing import Any, cast

from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig, OmegaConf

from pipeline import schema
from pipeline.capture.planning import model_in
from pipeline.constraints import check
from pipeline.errors import ConfigError
from pipeline.explain import explained, refuse_added_keys
from pipeline.models.shape import read_shape

CONF_DIR = Path(__file__).resolve().parent.parent / "conf"

# A stage's version is part of its frozen slice: raise it when the stage's output changes for
# the same configuration, and every run of that stage is done again.
STAGE_VERSIONS = {
    "tokenize": 1,
    "partition": 3,
    "train": 2,
    "evaluate": 1,
    "fabric": 2,
    "report": 1,
}


def register_schemas() -> None:
    """Make the schemas known to Hydra; each file of a group names its own as ``KIND_schema``."""
    store = ConfigStore.instance()
    store.store(name="config_schema", node=schema.Config)
    for group, kinds in schema.GROUP_SCHEMAS.items():
        for kind, node in kinds.items():
            store.store(group=group, name=f"{kind}_schema", node=node)


register_schemas()


def compose(overrides: Sequence[str] = ()) -> schema.Config:
    """Compose ``conf/config.yaml`` with ``overrides``; raise :class:`ConfigError` if refused."""
    with explained(), hydra_initialized():
        return resolve(hydra_compose("config", overrides=list(overrides)))


def resolve(composed: DictConfig) -> schema.Config:
    """Turn Hydra's composed configuration into a checked :class:`~pipeline.schema.Config`.

    An experiment on the fabric trains nothing. A model given as a Hugging Face directory takes its
    shape from there; of a family that cannot be trained it is accepted where nothing is. A run
    without a name gets one: the model's, with a hash where anything differs from ``conf/``.
    """
    refuse_added_keys(composed)
    with explained():
        if composed.fabric is not None:
            composed.train = None
        if OmegaConf.get_type(composed, "model") is schema.HfModel:
            read = model_in if composed.train is None else read_shape
            composed.model = OmegaConf.structured(read(_directory_of(composed.model)))
        config = cast(schema.Config, OmegaConf.to_object(composed))
    check(config)
    config.run = config.run or _default_run_name(config)
    return config


def _directory_of(model: DictConfig) -> Path:
    """The Hugging Face directory that gives the model; refuse to override a part of it."""
    usual = OmegaConf.structured(schema.HfModel)
    for key in usual:
        missing = OmegaConf.is_missing(usual, key)
        if key != "path" and not (
            OmegaConf.is_missing(model, key) if missing else model[key] == usual[key]
        ):
            raise ConfigError(f"model.{key}: model=hf takes the model as model.path has it")
    return Path(model.path)


def _default_run_name(config: schema.Config) -> str:
    """Name a run after its model; a hash tells apart the runs that change more than that.

    An experiment on the fabric is named after its program.
    """
    if config.fabric is not None:
        return f"{config.fabric.program}-{_run_hash(config)[:8]}"
    if config.model.weights is None and _is_usual(config):
        return config.model.name
    return f"{config.model.name}-{_run_hash(config)[:8]}"


def _is_usual(config: schema.Config) -> bool:
    """Whether the run differs from the default in nothing but its model."""
    train = "default" if config.train else "none"
    try:
        usual = compose([f"model={config.model.name}", f"train={train}", "run=usual"])
    except ConfigError:
        # The model is not in conf/, or cannot be trained as the default says.
        return False
    return _run_hash(usual) == _run_hash(config)


def _run_hash(config: schema.Config) -> str:
    """What a run is: its experiment, what it trains, or what it plans if it trains nothing."""
    stage = "fabric" if config.fabric else "train" if config.train else "partition"
    return slice_hash(stage, stage_slice(config, stage))


@contextmanager
def hydra_initialized() -> Iterator[None]:
    """Initialize Hydra on ``conf/``, or use what this or the application has initialized.

    Entered around several calls of :func:`compose`, it reads ``conf/`` once for all of them.
    """
    if GlobalHydra.instance().is_initialized():
        yield
    else:
        with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
            yield


def plain(value: Any) -> Any:
    """Turn dataclasses and enums into what YAML and JSON can hold."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value


def corpus_id(config: schema.Config) -> str:
    """Name the tokens of a configuration: runs that share text and tokenizer share them."""
    digest = slice_hash("tokenize", stage_slice(config, "tokenize"))
    return f"{config.data.name}-{config.tokenizer.name}-{digest[:8]}"


def stage_slice(config: schema.Config, stage: str) -> dict[str, Any]:
    """The part of ``config`` that ``stage`` reads, and nothing else, as plain values."""
    if stage == "tokenize":
        return plain({"data": config.data, "tokenizer": config.tokenizer})
    if stage == "partition":
        return plain(
            {
                "model": config.model,
                "wafer": config.wafer,
                "partition": config.partition,
                "trained": config.train is not None,
            }
        )
    if stage == "train":
        return plain(
            {
                "model": config.model,
                "train": config.train,
                "device": config.device,
                "corpus": corpus_id(config),
            }
        )
    if stage == "evaluate":
        trained = slice_hash("train", stage_slice(config, "train"))
        return plain(
            {"evaluate": config.evaluate, "corpus": corpus_id(config), "train_hash": trained}
        )
    if stage == "fabric":
        if config.fabric is None:
            raise ConfigError("fabric: no experiment is chosen; choose one with fabric=experiment")
        return plain({"fabric": config.fabric, "wafer": config.wafer.name})
    raise ConfigError(f"{stage}: no such stage; the stages are {', '.join(STAGE_VERSIONS)}")


def slice_hash(stage: str, values: dict[str, Any]) -> str:
    """SHA-256 of a stage's version and slice, as 64 hexadecimal digits.

    How much of the machine a run may use is left out: it changes nothing of what it learns.
    """
    hashed = {key: value for key, value in values.items() if key != "device"}
    content = {"stage": stage, "version": STAGE_VERSIONS[stage], "config": hashed}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
