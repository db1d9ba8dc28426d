"""What the schema's types cannot say: the relations that a configuration must satisfy."""

from __future__ import annotations

import re

from pipeline.choices import Family
from pipeline.errors import ConfigError
from pipeline.schema import CapturedModel, Config, ModelConfig, TrainConfig

# Folders below results/ that are not runs.
RESERVED_RUN_NAMES = {"corpus", "figures", "logs", "mlflow-artifacts", "records", "sweeps"}


def check(config: Config) -> None:
    """Raise :class:`ConfigError` with the key, its value and what would be right."""
    if config.run is not None:
        check_run_name(config.run)
    _require(
        0 < config.data.validation_fraction < 1,
        f"data.validation_fraction: {config.data.validation_fraction} is not between 0 and 1",
    )
    _require(
        config.data.max_bytes is None or config.data.max_bytes > 0,
        f"data.max_bytes: {config.data.max_bytes} is not above 0; null means all of the text",
    )
    if not isinstance(config.model, CapturedModel):
        _check_model(config.model)
    if config.train is not None:
        _check_train(config.train, config.model)


def check_run_name(name: str) -> None:
    """Refuse a run name that could not be a folder of its own below ``results/``."""
    _require(
        re.fullmatch(r"\w[\w.=,+-]*", name) is not None and name not in RESERVED_RUN_NAMES,
        f"run: {name!r} cannot name a folder of results/; use letters, digits, '_', '-' and '.', "
        f"and none of {', '.join(sorted(RESERVED_RUN_NAMES))}",
    )


def _check_model(model: ModelConfig) -> None:
    for key in ("layers", "hidden", "heads", "feed_forward", "vocabulary", "positions"):
        value = getattr(model, key)
        _require(value > 0, f"model.{key}: {value} is not a positive number")
    _require(
        model.hidden % model.heads == 0,
        f"model.heads: {model.heads} does not divide model.hidden, {model.hidden}",
    )
    if model.family is not Family.gpt2:
        width = model.hidden // model.heads
        _require(
            0 < model.rotary_dimensions <= width and model.rotary_dimensions % 2 == 0,
            f"model.rotary_dimensions: {model.rotary_dimensions} must be even, above 0 and at most "
            f"{width}, the size of a head",
        )


def _check_train(train: TrainConfig, model: ModelConfig) -> None:
    positive = (
        "steps sequence_length global_batch micro_batch learning_rate epsilon validate_every "
        "validation_sequences checkpoint_every log_every"
    )
    for key in positive.split():
        value = getattr(train, key)
        _require(value > 0, f"train.{key}: {value} is not a positive number")
    for key in ("warmup_steps", "weight_decay", "minimum_learning_rate"):
        value = getattr(train, key)
        _require(value >= 0, f"train.{key}: {value} is negative")
    for key in ("beta1", "beta2"):
        value = getattr(train, key)
        _require(0 <= value < 1, f"train.{key}: {value} is not in [0, 1)")
    _require(
        train.gradient_clip is None or train.gradient_clip > 0,
        f"train.gradient_clip: {train.gradient_clip} is not above 0; null means no clipping",
    )
    _require(
        train.global_batch % train.micro_batch == 0,
        f"train.micro_batch: {train.micro_batch} does not divide train.global_batch, "
        f"{train.global_batch}",
    )
    _require(
        train.sequence_length <= model.positions,
        f"train.sequence_length: {train.sequence_length} is more than the {model.positions} "
        f"positions of {model.name}",
    )


def _require(holds: bool, message: str) -> None:
    if not holds:
        raise ConfigError(message)
