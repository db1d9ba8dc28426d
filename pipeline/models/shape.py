"""The shape of a model, read from and written to the ``config.json`` of Hugging Face.

No torch here: the configuration is composed from shapes, and stays quick to import.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.choices import Family
from pipeline.errors import ModelError
from pipeline.models.config_file import ConfigFile
from pipeline.models.families import TRAITS
from pipeline.schema import ModelConfig

CONFIG_FILE = "config.json"


@dataclass(frozen=True)
class _Format:
    """How ``config.json`` describes a family: the key of each of our fields, and the rest.

    ``required`` holds the options that change the arithmetic with the one value that the
    decoder reproduces, which is also the value that transformers takes where the key is absent.
    """

    model_type: str
    architecture: str
    sizes: dict[str, str]  # our field -> key; has to be there
    feed_forward: str
    activation: str
    default_activation: str
    layer_norm_epsilon: str
    required: dict[str, bool]
    dropouts: tuple[str, ...]  # exported as zero: the decoder has none


_GPT2_SIZES = {
    "layers": "n_layer",
    "hidden": "n_embd",
    "heads": "n_head",
    "vocabulary": "vocab_size",
    "positions": "n_positions",
}
_GPTNEOX_SIZES = {
    "layers": "num_hidden_layers",
    "hidden": "hidden_size",
    "heads": "num_attention_heads",
    "vocabulary": "vocab_size",
    "positions": "max_position_embeddings",
}
_FORMATS: dict[Family, _Format] = {
    Family.gpt2: _Format(
        model_type="gpt2",
        architecture="GPT2LMHeadModel",
        sizes=_GPT2_SIZES,
        feed_forward="n_inner",
        activation="activation_function",
        default_activation="gelu_new",
        layer_norm_epsilon="layer_norm_epsilon",
        required={
            "tie_word_embeddings": True,
            "scale_attn_weights": True,
            "scale_attn_by_inverse_layer_idx": False,
            "add_cross_attention": False,
        },
        dropouts=("attn_pdrop", "embd_pdrop", "resid_pdrop"),
    ),
    Family.gptj: _Format(
        model_type="gptj",
        architecture="GPTJForCausalLM",
        sizes=_GPT2_SIZES,
        feed_forward="n_inner",
        activation="activation_function",
        default_activation="gelu_new",
        layer_norm_epsilon="layer_norm_epsilon",
        required={"tie_word_embeddings": False},
        dropouts=("attn_pdrop", "embd_pdrop", "resid_pdrop"),
    ),
    Family.gptneox: _Format(
        model_type="gpt_neox",
        architecture="GPTNeoXForCausalLM",
        sizes=_GPTNEOX_SIZES,
        feed_forward="intermediate_size",
        activation="hidden_act",
        default_activation="gelu",
        layer_norm_epsilon="layer_norm_eps",
        required={
            "tie_word_embeddings": False,
            "use_parallel_residual": True,
            "attention_bias": True,
        },
        dropouts=("attention_dropout", "hidden_dropout"),
    ),
}


def read_shape(directory: Path) -> ModelConfig:
    """Read the shape of the model in a Hugging Face ``directory``, to be trained from there.

    Raises :class:`ModelError` where ``config.json`` is missing or damaged, or asks for what the
    decoder does not reproduce.
    """
    source = ConfigFile.read(directory / CONFIG_FILE)
    family = _family(source)
    form = _FORMATS[family]
    for key, value in form.required.items():
        source.require(key, value)
    sizes = {field: source.size(key) for field, key in form.sizes.items()}
    rotary_dimensions, rotary_base = _rotary(source, family, sizes["hidden"] // sizes["heads"])
    model = ModelConfig(
        name=directory.resolve().name,
        family=family,
        feed_forward=source.size(form.feed_forward, default=4 * sizes["hidden"]),
        rotary_dimensions=rotary_dimensions,
        rotary_base=rotary_base,
        activation=source.activation(form.activation, form.default_activation),
        layer_norm_epsilon=source.number(form.layer_norm_epsilon, 1e-5),
        initializer_range=source.number("initializer_range", 0.02),
        weights=str(directory),
        **sizes,
    )
    _check_heads(source, model)
    return model


def hugging_face_config(model: ModelConfig) -> dict[str, Any]:
    """What ``config.json`` must hold for transformers to build ``model``; no special tokens.

    Raises :class:`ModelError` for a GPT-J whose rotary base is not 10000, the only one that
    transformers has.
    """
    form = _FORMATS[model.family]
    shape = {key: getattr(model, field) for field, key in form.sizes.items()}
    return {
        "architectures": [form.architecture],
        "model_type": form.model_type,
        **shape,
        form.feed_forward: model.feed_forward,
        form.activation: model.activation.value,
        form.layer_norm_epsilon: model.layer_norm_epsilon,
        "initializer_range": model.initializer_range,
        **_rotary_config(model),
        **form.required,
        **dict.fromkeys(form.dropouts, 0.0),
        "bos_token_id": None,
        "eos_token_id": None,
    }


def parameter_count(model: ModelConfig) -> int:
    """Count the parameters of ``model``, a tied head's matrix once.

    With hidden size d, feed-forward size f, vocabulary V and P positions, a layer has

    - attention: query, key, value and output matrices, 4 d^2, with biases 4 d
    - feed-forward: d f + f up and f d + d down
    - LayerNorms: 2 d each

    and around the layers there are the token embedding V d, learned positions P d, the last
    LayerNorm 2 d, and an untied head V d with its bias V.
    """
    traits = TRAITS[model.family]
    d, f, vocabulary = model.hidden, model.feed_forward, model.vocabulary
    attention = 4 * d * d + (4 * d if traits.attention_bias else 0)
    feed_forward = 2 * d * f + f + d
    layer = attention + feed_forward + traits.layer_norms * 2 * d
    embedding = vocabulary * d + (0 if traits.rotary else model.positions * d)
    head = (0 if traits.tied_head else vocabulary * d) + (vocabulary if traits.head_bias else 0)
    return embedding + model.layers * layer + 2 * d + head


def _family(source: ConfigFile) -> Family:
    families = {form.model_type: family for family, form in _FORMATS.items()}
    model_type = source.values.get("model_type")
    if model_type not in families:
        raise source.refuse("model_type", model_type, ", ".join(families))
    return families[model_type]


def _rotary(source: ConfigFile, family: Family, head_size: int) -> tuple[int, float]:
    """How many dimensions of a head are turned, and the base of their frequencies.

    The keys, their defaults and the rounding are those of transformers; GPT-NeoX files before
    its release 5 say ``rotary_pct`` and ``rotary_emb_base``.
    """
    if family is Family.gpt2:
        return 0, 10000.0
    if family is Family.gptj:
        return source.size("rotary_dim", default=64, null=False), 10000.0
    rope = source.values.get("rope_scaling") or source.values.get("rope_parameters") or {}
    if not isinstance(rope, dict):
        raise source.refuse("rope_parameters", rope, "an object")
    nested = ConfigFile(source.path, {**_legacy_rotary(source), **rope})
    kind = nested.values.get("rope_type", nested.values.get("type", "default"))
    if kind != "default":
        raise source.refuse("rope_type", kind, "default")
    share = nested.number("partial_rotary_factor", 0.25)
    return int(head_size * share), nested.number("rope_theta", 10000.0)


def _legacy_rotary(source: ConfigFile) -> dict[str, Any]:
    names = {"rotary_pct": "partial_rotary_factor", "rotary_emb_base": "rope_theta"}
    return {new: source.values[old] for old, new in names.items() if old in source.values}


def _rotary_config(model: ModelConfig) -> dict[str, Any]:
    """The inverse of :func:`_rotary`, in the old keys and the new for GPT-NeoX."""
    if model.family is Family.gpt2:
        return {}
    if model.family is Family.gptj:
        if model.rotary_base != 10000:
            raise ModelError(
                f"{model.name}: model.rotary_base is {model.rotary_base:g}; a GPT-J in"
                " Hugging Face's format has 10000"
            )
        return {"rotary_dim": model.rotary_dimensions}
    head_size = model.hidden // model.heads
    share = model.rotary_dimensions / head_size
    if int(head_size * share) < model.rotary_dimensions:  # transformers rounds down
        share = math.nextafter(share, math.inf)
    rope = {
        "rope_type": "default",
        "rope_theta": model.rotary_base,
        "partial_rotary_factor": share,
    }
    return {"rope_parameters": rope, "rotary_pct": share, "rotary_emb_base": model.rotary_base}


def _check_heads(source: ConfigFile, model: ModelConfig) -> None:
    """Refuse heads that do not divide the hidden size, and rotary dimensions beyond a head."""
    if model.hidden % model.heads:
        key = _FORMATS[model.family].sizes["heads"]
        raise source.refuse(key, model.heads, f"a divisor of the hidden size {model.hidden}")
    rotary, head_size = model.rotary_dimensions, model.hidden // model.heads
    if TRAITS[model.family].rotary and (rotary % 2 or not 2 <= rotary <= head_size):
        raise source.refuse(
            "rotary dimensions", rotary, f"an even number from 2 to the head's {head_size}"
        )
