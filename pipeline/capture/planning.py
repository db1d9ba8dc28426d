"""The graph that a configured model is planned by; PyTorch is imported only to capture one."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

from pipeline.errors import ModelError
from pipeline.models.config_file import ConfigFile
from pipeline.models.shape import CONFIG_FILE, read_shape
from pipeline.schema import CapturedModel, ModelConfig, PartitionConfig
from wse.graph import Graph
from wse.transformer import Shape, training_graph


def model_in(directory: Path) -> ModelConfig:
    """The model in a Hugging Face ``directory``, to be planned: of a family that can be trained
    its shape, of any other where it lies.

    Raises :class:`ModelError` if there is no ``config.json`` that holds a JSON object.
    """
    try:
        return read_shape(directory)
    except ModelError:
        path = ConfigFile.read(directory / CONFIG_FILE).path
    return CapturedModel(
        name=directory.resolve().name,
        weights=str(directory),
        config_sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
    )


def graph_of(model: ModelConfig, partition: PartitionConfig) -> Graph:
    """The training step of ``model``; sequences of all its positions if no length is set.

    A family that can be trained here has a closed form; any other is captured from its
    directory. Raises :class:`~wse.errors.OnewaferError` as either does.
    """
    shape = shape_of(model, partition)
    if shape is not None:
        return training_graph(shape)
    assert isinstance(model, CapturedModel)
    return _captured(str(model.weights), model.config_sha256, partition.sequence_length)


@cache
def _captured(directory: str, config_sha256: str, sequence_length: int | None) -> Graph:
    """The graph of the model in ``directory``, captured once for each ``config.json``."""
    from pipeline.capture.huggingface import capture_directory

    return capture_directory(Path(directory), sequence_length)


def shape_of(model: ModelConfig, partition: PartitionConfig) -> Shape | None:
    """The sizes that the closed form takes; None for a model that has to be captured."""
    if isinstance(model, CapturedModel):
        return None
    length = partition.sequence_length
    return Shape(
        name=model.name,
        family=model.family.value,
        layers=model.layers,
        hidden=model.hidden,
        heads=model.heads,
        feed_forward=model.feed_forward,
        vocabulary=model.vocabulary,
        positions=model.positions,
        sequence_length=model.positions if length is None else length,
    )
