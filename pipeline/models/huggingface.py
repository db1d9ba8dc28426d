"""Models in and out of Hugging Face's format: ``config.json``, safetensors and tokenizer files.

What :func:`export` writes, ``AutoModelForCausalLM`` and ``AutoTokenizer`` open; what
``save_pretrained`` writes for GPT-2, GPT-J and GPT-NeoX, :func:`from_directory` reads.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from tokenizers import Tokenizer
from torch import Tensor

from pipeline.errors import ModelError, TokenizerError
from pipeline.files import naming, write_text
from pipeline.models.decoder import Decoder, allocate
from pipeline.models.shape import CONFIG_FILE, hugging_face_config, read_shape
from pipeline.models.stored_tensors import INDEX_FILE, WEIGHTS_FILE, StoredTensors
from pipeline.models.tensor_names import Rule, rules
from pipeline.schema import ModelConfig

END_OF_TEXT = "<|endoftext|>"
SHARD_BYTES = 5 * 10**9


def from_directory(directory: Path) -> tuple[ModelConfig, Decoder]:
    """Read shape and weights, in fp32 on the CPU; raises as the two readers do."""
    model = read_shape(directory)
    decoder = allocate(model)
    load_weights(decoder, directory)
    return model, decoder


def load_weights(decoder: Decoder, directory: Path) -> None:
    """Fill every parameter from the safetensors files of ``directory``, of any float type.

    Raises :class:`ModelError` before the first parameter changes if a tensor is missing,
    unexpected or of another shape, or a file is missing or damaged.
    """
    parameters = dict(decoder.named_parameters())
    for name, tensor in read_weights(decoder.config, directory):
        with torch.no_grad():
            parameters[name].copy_(tensor)


def read_weights(model: ModelConfig, directory: Path) -> Iterator[tuple[str, Tensor]]:
    """Yield our name and value of each parameter, one in memory at a time, all checked before."""
    stored = StoredTensors.open(directory, model.family)
    with torch.device("meta"):
        shapes = dict(Decoder(model).named_parameters())
    table = list(rules(model))
    stored.check(
        {
            theirs: tuple(tensor.shape)
            for rule in table
            for theirs, tensor in _stored_as(rule, shapes[rule.ours], model)
        }
    )
    for rule in table:
        tensors = [stored.read(theirs) for theirs in rule.theirs]
        yield rule.ours, rule.conversion.load(tensors, model.heads)


def export(
    decoder: Decoder,
    model: ModelConfig,
    directory: Path,
    tokenizer_path: Path | None = None,
    shard_bytes: int = SHARD_BYTES,
) -> None:
    """Write ``decoder`` as a Hugging Face directory, with the tokenizer if there is one.

    The directory appears complete or not at all, and replaces an earlier one. Weights of more
    than ``shard_bytes`` are split into several files. Raises OSError for a failure of the system,
    such as a full disk, :class:`ModelError` if the weights cannot be written otherwise, and
    :class:`TokenizerError` if ``tokenizer_path`` holds no tokenizer.
    """
    config = hugging_face_config(model)
    with _appearing_whole(directory) as partial:
        if tokenizer_path is not None:
            config |= _write_tokenizer(tokenizer_path, partial, model)
        _write_json(partial / CONFIG_FILE, config)
        write_weights(dict(decoder.named_parameters()), model, partial, shard_bytes)
        for weights in partial.glob("*.safetensors"):
            # The library makes files that their owner alone may read.
            shutil.copymode(partial / CONFIG_FILE, weights)


def write_weights(
    parameters: Mapping[str, Tensor],
    model: ModelConfig,
    directory: Path,
    shard_bytes: int = SHARD_BYTES,
) -> None:
    """Write the safetensors files of our ``parameters``; one shard in memory at a time."""
    shards = _shards(parameters, model, shard_bytes)
    files: dict[str, str] = {}
    for number, shard in enumerate(shards, start=1):
        name = WEIGHTS_FILE
        if len(shards) > 1:
            name = f"model-{number:05d}-of-{len(shards):05d}.safetensors"
        tensors = {
            theirs: tensor.cpu().contiguous()
            for rule in shard
            for theirs, tensor in _stored_as(rule, parameters[rule.ours].detach(), model)
        }
        _save(tensors, directory / name)
        files |= dict.fromkeys(tensors, name)
    if len(shards) > 1:
        total = sum(tensor.nbytes for tensor in parameters.values())
        index = {"metadata": {"total_size": total}, "weight_map": files}
        _write_json(directory / INDEX_FILE, index)


def _save(tensors: dict[str, Tensor], path: Path) -> None:
    try:
        save_file(tensors, path, metadata={"format": "pt"})
    except SafetensorError as error:
        # The library has no class of its own for what the system refuses, such as a full disk.
        if refusal := re.search(r"\(os error (\d+)\)", str(error)):
            number = int(refusal[1])
            raise OSError(number, os.strerror(number), str(path)) from error
        raise ModelError(f"{path}: the weights cannot be written: {error}") from error


def _shards(
    parameters: Mapping[str, Tensor], model: ModelConfig, shard_bytes: int
) -> list[list[Rule]]:
    """Split the parameters, in order, into as few files as ``shard_bytes`` allows."""
    shards: list[list[Rule]] = []
    free = 0
    for rule in rules(model):
        size = parameters[rule.ours].nbytes
        if not shards or size > free:
            shards.append([])
            free = shard_bytes
        shards[-1].append(rule)
        free -= size
    return shards


def _stored_as(rule: Rule, ours: Tensor, model: ModelConfig) -> Iterator[tuple[str, Tensor]]:
    yield from zip(rule.theirs, rule.conversion.store(ours, model.heads), strict=True)


def _write_tokenizer(source: Path, directory: Path, model: ModelConfig) -> dict[str, Any]:
    """Write the tokenizer's two files; return the special tokens for ``config.json``."""
    try:
        end_of_text = Tokenizer.from_file(str(source)).token_to_id(END_OF_TEXT)
    except Exception as error:  # the library raises no class of its own
        raise TokenizerError(f"{source}: cannot be read as a tokenizer: {error}") from error
    with naming(directory / "tokenizer.json"):
        shutil.copyfile(source, directory / "tokenizer.json")
    config: dict[str, Any] = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": model.positions,
        "clean_up_tokenization_spaces": False,
    }
    if end_of_text is not None:
        config |= {"bos_token": END_OF_TEXT, "eos_token": END_OF_TEXT}
    _write_json(directory / "tokenizer_config.json", config)
    return {"bos_token_id": end_of_text, "eos_token_id": end_of_text}


def _write_json(path: Path, content: dict[str, Any]) -> None:
    write_text(path, json.dumps(content, indent=2, sort_keys=True) + "\n")


@contextmanager
def _appearing_whole(directory: Path) -> Iterator[Path]:
    """Give a folder beside ``directory`` to write in, and rename it once it is complete."""
    partial = directory.with_name(f".{directory.name}.partial")
    replaced = directory.with_name(f".{directory.name}.replaced")
    _settle(directory, partial, replaced)  # after a run that was killed
    partial.mkdir(parents=True)
    try:
        yield partial
        if directory.exists():
            directory.rename(replaced)
        partial.rename(directory)
    finally:
        _settle(directory, partial, replaced)


def _settle(directory: Path, partial: Path, replaced: Path) -> None:
    """Leave ``directory`` alone; an earlier one comes back if nothing has taken its place."""
    if replaced.exists() and not directory.exists():
        replaced.rename(directory)
    for folder in (partial, replaced):
        shutil.rmtree(folder, ignore_errors=True)
