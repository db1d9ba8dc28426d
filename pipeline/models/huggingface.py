"""Models in and out of Hugging Face's format: ``config.json``, safetensors and tokenizer files.

What :func:`export` writes, ``AutoModelForCausalLM`` and ``AutoTokenizer`` open; what
``save_pretrained`` writes for GPT-2, GPT-J and GPT-NeoX, :func:`from_directory` reads. Models
larger than memory go either way part by part: :func:`export_parts` and :class:`Checkpoint`.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from torch import Tensor

from pipeline.errors import TokenizerError
from pipeline.files import naming, write_text
from pipeline.models.decoder import Decoder, allocate
from pipeline.models.shape import CONFIG_FILE, hugging_face_config, read_shape
from pipeline.models.stored_tensors import StoredTensors
from pipeline.models.tensor_names import rules
from pipeline.models.weight_files import Part, stored_shapes, write_parts
from pipeline.models.whole_directory import appearing_whole
from pipeline.schema import ModelConfig
from pipeline.streaming.layout import TIED, part_names

END_OF_TEXT = "<|endoftext|>"
SHARD_BYTES = 5 * 10**9


class Checkpoint:
    """The weights in a Hugging Face directory, read in any order, a parameter at a time.

    ``parameters`` lists those of each part by their full names. Raises :class:`ModelError` on
    opening, before any weight is read, if a tensor is missing, unexpected or of another shape, or
    a file is missing or damaged.
    """

    def __init__(self, model: ModelConfig, directory: Path) -> None:
        self.model = model
        self._stored = StoredTensors.open(directory, model.family)
        parts = stored_shapes(model)
        self._stored.check(
            {
                theirs: shape
                for shapes in parts.values()
                for stored in shapes.values()
                for theirs, shape in stored.items()
            }
        )
        self.parameters = {part: list(shapes) for part, shapes in parts.items()}
        self._rules = {rule.ours: rule for rule in rules(model)}

    @property
    def matrix_dtype(self) -> torch.dtype:
        """The type of the matrices, by that of the token embedding."""
        return self._stored.dtype(self._rules[TIED].theirs[0])

    @property
    def nbytes(self) -> int:
        """Bytes of all parameters as they are stored."""
        return self._stored.nbytes

    def read(self, part: str) -> dict[str, Tensor]:
        """A part's parameters by their full names; see :meth:`read_parameter`."""
        return {name: self.read_parameter(name) for name in self.parameters[part]}

    def read_parameter(self, name: str) -> Tensor:
        """One parameter by its full name, in the type it is stored in; may be a transposed view."""
        rule = self._rules[name]
        tensors = [self._stored.read(theirs) for theirs in rule.theirs]
        return rule.conversion.load(tensors, self.model.heads)


def read_part(model: ModelConfig, directory: Path, part: str) -> dict[str, Tensor]:
    """The parameters of one part; see :class:`Checkpoint`, which serves for more than one."""
    return Checkpoint(model, directory).read(part)


def read_parts(model: ModelConfig, directory: Path) -> Iterator[tuple[str, dict[str, Tensor]]]:
    """Name and parameters of each part in the order of a forward pass, all checked before.

    Whoever lets go of a part before asking for the next has one in memory at a time.
    """
    checkpoint = Checkpoint(model, directory)
    for part in part_names(model):
        yield part, checkpoint.read(part)


def read_weights(model: ModelConfig, directory: Path) -> Iterator[tuple[str, Tensor]]:
    """Our name and value of each parameter, one in memory at a time, all checked before."""
    checkpoint = Checkpoint(model, directory)
    for rule in rules(model):
        yield rule.ours, checkpoint.read_parameter(rule.ours)


def from_directory(directory: Path) -> tuple[ModelConfig, Decoder]:
    """Read shape and weights, in fp32 on the CPU; raises as the two readers do."""
    model = read_shape(directory)
    decoder = allocate(model)
    load_weights(decoder, directory)
    return model, decoder


def load_weights(decoder: Decoder, directory: Path) -> None:
    """Fill every parameter from the safetensors files of ``directory``, of any float type.

    Raises :class:`ModelError` before the first parameter changes, as :class:`Checkpoint` does.
    """
    parameters = dict(decoder.named_parameters())
    for name, tensor in read_weights(decoder.config, directory):
        with torch.no_grad():
            parameters[name].copy_(tensor)


def export(
    decoder: Decoder,
    model: ModelConfig,
    directory: Path,
    tokenizer_path: Path | None = None,
    shard_bytes: int = SHARD_BYTES,
) -> None:
    """Write ``decoder`` as :func:`export_parts` does."""
    parts = (
        (part, dict(decoder.get_submodule(part).named_parameters(prefix=part)))
        for part in part_names(model)
    )
    export_parts(parts, model, directory, tokenizer_path, shard_bytes)


def export_parts(
    parts: Iterable[Part],
    model: ModelConfig,
    directory: Path,
    tokenizer_path: Path | None = None,
    shard_bytes: int = SHARD_BYTES,
) -> None:
    """Write a Hugging Face directory from a stream of parts, with the tokenizer if there is one.

    ``parts`` gives each part once, in any order, with its parameters by their full names; no more
    than one part and one tensor in its stored layout are in memory. The directory appears complete
    or not at all, and replaces an earlier one; weights of more than ``shard_bytes`` are split into
    several files.

    Matrices keep their type, bf16 or fp32, which ``config.json`` states, and vectors are fp32: by
    default transformers opens all in the stated type, and with ``dtype=torch.float32`` it opens
    the very values given here, as this module does.

    Raises OSError for a failure of the system, such as a full disk, :class:`TokenizerError` if
    ``tokenizer_path`` holds no tokenizer, and ValueError for parts that are not those of ``model``.
    """
    config = hugging_face_config(model)
    with appearing_whole(directory) as partial:
        if tokenizer_path is not None:
            config |= _write_tokenizer(tokenizer_path, partial, model)
        matrices = write_parts(parts, model, partial, shard_bytes)
        # Every release of transformers reads this key; the new ones write it as "dtype".
        config["torch_dtype"] = str(matrices).removeprefix("torch.")
        _write_json(partial / CONFIG_FILE, config)


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
