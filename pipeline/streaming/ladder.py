"""The models of ``conf/model`` by size, for saying which of them fit."""

from __future__ import annotations

from functools import cache
from typing import cast

from omegaconf import OmegaConf

from pipeline.config import CONF_DIR
from pipeline.models.shape import parameter_count
from pipeline.schema import ModelConfig, TrainConfig


@cache
def ladder() -> tuple[ModelConfig, ...]:
    """Every model that has a shape of its own, the smallest first."""
    models = []
    for path in sorted((CONF_DIR / "model").glob("*.yaml")):
        values = OmegaConf.to_container(OmegaConf.load(path))
        if isinstance(values, dict) and "layers" in values:
            del values["defaults"]
            merged = OmegaConf.merge(OmegaConf.structured(ModelConfig), values)
            models.append(cast(ModelConfig, OmegaConf.to_object(merged)))
    return tuple(sorted(models, key=parameter_count))


def within_positions(train: TrainConfig, model: ModelConfig) -> bool:
    """Whether the model can learn sequences of this length."""
    return train.sequence_length <= model.positions
