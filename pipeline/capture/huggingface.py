"""Captures the model that a ``config.json`` of ``transformers`` describes; no weights are needed.

Nothing is fetched, and no code that lies beside a model is run: the class is one of the
installed ``transformers``.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
import transformers
from torch import nn
from transformers import masking_utils

from pipeline.capture.module import capture
from pipeline.errors import ModelError
from pipeline.models.config_file import ConfigFile
from pipeline.models.shape import CONFIG_FILE
from wse.errors import PlanError
from wse.graph import Graph

# What configurations call the length of the longest sequence.
_POSITIONS = ("max_position_embeddings", "n_positions", "max_seq_len", "seq_length")
# Classes whose labels are one for each token; of others the gradient of the output is given.
_LANGUAGE_MODELS = ("ForCausalLM", "LMHeadModel", "ForMaskedLM", "ForConditionalGeneration")
# What a configuration without architectures is taken to be, the first that there is.
_TASKS = ("AutoModelForCausalLM", "AutoModelForSeq2SeqLM", "AutoModelForMaskedLM", "AutoModel")


def capture_directory(path: Path, sequence_length: int | None = None) -> Graph:
    """The training step of the model in a directory, on sequences of all its positions if not said.

    Raises :class:`ModelError` if there is no ``config.json``, or one of no model that the
    installed ``transformers`` knows, and :class:`PlanError` if the model has fewer positions,
    takes no tokens, or cannot be captured.
    """
    source = ConfigFile.read(path / CONFIG_FILE)
    name = path.resolve().name
    config = _config(source)
    model_class = _class(source, config)
    tokens = _tokens(name, config, sequence_length)
    with torch.device("meta"):
        module = _build(source, model_class, config)
    if module.main_input_name != "input_ids":
        raise PlanError(
            f"{name}: {model_class.__name__} takes {module.main_input_name}, not tokens; "
            "capture it with inputs of your own: pipeline.capture.module.capture"
        )
    with _single_sequences():
        graph = capture(module, _inputs(module, tokens), name=name, sequence_length=tokens)
    return replace(graph, family=config.model_type)


def _config(source: ConfigFile) -> Any:
    """The configuration as ``transformers`` reads it."""
    model_type = source.values.get("model_type")
    if not isinstance(model_type, str) or model_type not in transformers.CONFIG_MAPPING:
        raise ModelError(
            f"{source.path}: model_type is {model_type!r}, which transformers "
            f"{transformers.__version__} does not know; capture the module itself with "
            "pipeline.capture.module.capture"
        )
    try:
        config = transformers.CONFIG_MAPPING[model_type].from_dict(dict(source.values))
    except Exception as error:  # of many classes, those of validation among them
        raise ModelError(f"{source.path}: {_line(error)}") from error
    config.use_cache = False
    return config


def _class(source: ConfigFile, config: Any) -> Any:
    """The class of ``transformers`` that the configuration is for."""
    architectures = source.values.get("architectures") or []
    if architectures:
        found = getattr(transformers, str(architectures[0]), None)
        if found is None:
            raise ModelError(
                f"{source.path}: architectures names {architectures[0]}, a class that transformers "
                f"{transformers.__version__} does not have"
            )
        return found
    for task in _TASKS:
        mapping = getattr(transformers, task)._model_mapping
        if type(config) in mapping:
            return mapping[type(config)]
    raise ModelError(f"{source.path}: transformers has no model of type {config.model_type}")


def _build(source: ConfigFile, model_class: Any, config: Any) -> Any:
    """The module, with attention in one kernel and experts in one product where it has those."""
    attention = "sdpa" if model_class._supports_sdpa else "eager"
    options: dict[str, Any] = {"attn_implementation": attention, "dtype": torch.float32}
    if model_class._can_set_experts_implementation():
        # PyTorch has this product for no other type.
        options |= {"experts_implementation": "grouped_mm", "dtype": torch.bfloat16}
    try:
        return model_class._from_config(config, **options)
    except Exception as error:  # whatever the sizes of a configuration make a class raise
        raise ModelError(
            f"{source.path}: {model_class.__name__} cannot be built: {_line(error)}"
        ) from error


def _tokens(name: str, config: Any, sequence_length: int | None) -> int:
    """The length of the sequences; refuse one that the model has no positions for."""
    text = config.get_text_config()
    known = (getattr(text, key, None) for key in _POSITIONS)
    positions = next((value for value in known if isinstance(value, int) and value > 0), None)
    if sequence_length is None:
        if positions is None:
            raise PlanError(
                f"{name}: its configuration does not say how long its sequences are; give "
                "partition.sequence_length"
            )
        return positions
    if sequence_length < 1:
        raise PlanError(f"partition.sequence_length: {sequence_length} is not a positive number")
    if positions is not None and sequence_length > positions:
        raise PlanError(
            f"partition.sequence_length: {sequence_length} is more than the {positions} positions "
            f"of {name}"
        )
    return sequence_length


def _inputs(module: nn.Module, tokens: int) -> dict[str, Any]:
    """One sequence, with its labels where a class computes the loss of a language model."""
    ids = torch.empty((1, tokens), dtype=torch.long, device="meta")
    inputs: dict[str, Any] = {"input_ids": ids}
    accepted = inspect.signature(module.forward).parameters
    if "labels" in accepted and type(module).__name__.endswith(_LANGUAGE_MODELS):
        inputs["labels"] = ids
    elif "decoder_input_ids" in accepted:
        inputs["decoder_input_ids"] = ids
    return inputs


@contextmanager
def _single_sequences() -> Iterator[None]:
    """Spare ``transformers`` the look at values for padding and for several sequences in one.

    There is neither in one sequence without values; masks are made as for any sequence. Its
    advice on training is not what is asked for.
    """
    verbosity = transformers.logging.get_verbosity()
    transformers.logging.set_verbosity_error()
    with (
        patch.object(masking_utils, "is_tracing", lambda tensor=None: True),
        patch.object(masking_utils, "find_packed_sequence_indices", lambda position_ids: None),
    ):
        try:
            yield
        finally:
            transformers.logging.set_verbosity(verbosity)


def _line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
