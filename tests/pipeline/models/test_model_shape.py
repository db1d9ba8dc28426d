"""``config.json`` in and out: what is read, what is refused and in which words."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from transformers import GPT2Config, GPTJConfig, GPTNeoXConfig

from pipeline.choices import Activation, Family
from pipeline.errors import ModelError
from pipeline.models.shape import hugging_face_config, read_shape
from pipeline.schema import ModelConfig

GPT2 = {"model_type": "gpt2", "n_layer": 2, "n_embd": 24, "n_head": 3, "n_positions": 16}
GPT2 |= {"vocab_size": 61}
GPTJ = {**GPT2, "model_type": "gptj", "rotary_dim": 4}
GPTNEOX = {"model_type": "gpt_neox", "num_hidden_layers": 2, "hidden_size": 32, "vocab_size": 61}
GPTNEOX |= {"num_attention_heads": 2, "intermediate_size": 40, "max_position_embeddings": 16}


def written(directory: Path, values: dict[str, Any]) -> Path:
    (directory / "config.json").write_text(json.dumps(values))
    return directory


@pytest.mark.parametrize("family", Family)
def test_a_shape_survives_the_way_through_hugging_face(
    family: Family, tmp_path: Path, small_model: Callable[..., ModelConfig]
) -> None:
    fields = {"activation": Activation.gelu, "layer_norm_epsilon": 1e-6, "initializer_range": 0.1}
    if family is Family.gptneox:
        fields |= {"rotary_base": 5000.0, "rotary_dimensions": 6}
    directory = tmp_path / "small"
    directory.mkdir()
    model = small_model(family, weights=str(directory), **fields)
    assert read_shape(written(directory, hugging_face_config(model))) == model


@pytest.mark.parametrize("config", [GPT2Config, GPTJConfig, GPTNeoXConfig])
def test_the_defaults_of_transformers_are_read_as_they_are(config: type, tmp_path: Path) -> None:
    theirs = config()
    theirs.save_pretrained(tmp_path)
    model = read_shape(tmp_path)
    assert (model.layers, model.hidden) == (theirs.num_hidden_layers, theirs.hidden_size)
    assert (model.heads, model.vocabulary) == (theirs.num_attention_heads, theirs.vocab_size)
    assert model.positions == theirs.max_position_embeddings
    assert model.feed_forward == 4 * theirs.hidden_size
    assert model.rotary_dimensions == {"gpt2": 0, "gptj": 64, "gpt_neox": 24}[theirs.model_type]


def test_every_share_of_rotary_dimensions_comes_back_exactly() -> None:
    for head_size in range(2, 257):
        for rotary in range(2, head_size + 1, 2):
            model = ModelConfig("any", Family.gptneox, 1, head_size, 1, 4, 9, 9, rotary)
            share = hugging_face_config(model)["rope_parameters"]["partial_rotary_factor"]
            assert int(head_size * share) == rotary  # how transformers rounds


def test_the_older_keys_of_gpt_neox_are_read(tmp_path: Path) -> None:
    values = {**GPTNEOX, "rotary_pct": 0.5, "rotary_emb_base": 500, "hidden_act": "gelu_fast"}
    model = read_shape(written(tmp_path, {**values, "attention_probs_dropout_prob": 0}))
    assert (model.rotary_dimensions, model.rotary_base) == (8, 500.0)
    assert model.activation is Activation.gelu_new


def test_rotary_positions_are_also_said_in_the_older_keys(
    tmp_path: Path, small_model: Callable[..., ModelConfig]
) -> None:
    model = small_model(Family.gptneox, rotary_base=5000.0, rotary_dimensions=6)
    values = hugging_face_config(model)
    del values["rope_parameters"]
    read = read_shape(written(tmp_path, values))
    assert (read.rotary_dimensions, read.rotary_base) == (6, 5000.0)


@pytest.mark.parametrize("name", ["gelu_new", "gelu_fast", "gelu_pytorch_tanh"])
def test_the_approximations_of_gelu_are_one(name: str, tmp_path: Path) -> None:
    model = read_shape(written(tmp_path, {**GPT2, "activation_function": name}))
    assert model.activation is Activation.gelu_new


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({**GPT2, "model_type": "llama"}, "model_type is llama; supported is gpt2, gptj, gpt_neox"),
        ({"n_layer": 2}, "model_type is null"),
        ({**GPT2, "tie_word_embeddings": False}, "tie_word_embeddings is false; supported is true"),
        ({**GPT2, "scale_attn_weights": False}, "scale_attn_weights is false"),
        ({**GPT2, "scale_attn_by_inverse_layer_idx": True}, "scale_attn_by_inverse_layer_idx is"),
        ({**GPT2, "add_cross_attention": True}, "add_cross_attention is true"),
        ({**GPT2, "activation_function": "relu"}, "activation_function is relu; supported is gelu"),
        ({**GPT2, "activation_function": ["gelu"]}, "activation_function is"),
        ({**GPT2, "n_head": 5}, "n_head is 5; supported is a divisor of the hidden size 24"),
        ({**GPT2, "n_layer": 0}, "n_layer is 0; supported is an integer of at least 1"),
        ({**GPT2, "n_layer": "two"}, "n_layer is two"),
        ({**GPT2, "layer_norm_epsilon": -1}, "layer_norm_epsilon is -1; supported is a number"),
        ({k: v for k, v in GPT2.items() if k != "n_embd"}, "n_embd is null"),
        ({**GPTJ, "tie_word_embeddings": True}, "tie_word_embeddings is true"),
        ({**GPTJ, "rotary_dim": None}, "rotary_dim is null"),
        ({**GPTJ, "rotary_dim": 3}, "rotary dimensions is 3; supported is an even number"),
        ({**GPTJ, "rotary_dim": 10}, "rotary dimensions is 10"),
        ({**GPTNEOX, "use_parallel_residual": False}, "use_parallel_residual is false"),
        ({**GPTNEOX, "attention_bias": False}, "attention_bias is false; supported is true"),
        ({**GPTNEOX, "tie_word_embeddings": True}, "tie_word_embeddings is true"),
        ({**GPTNEOX, "rope_scaling": {"type": "linear", "factor": 2}}, "rope_type is linear"),
        ({**GPTNEOX, "rope_parameters": {"rope_type": "yarn"}}, "rope_type is yarn"),
        ({**GPTNEOX, "rope_parameters": 3}, "rope_parameters is 3"),
        ({**GPTNEOX, "rotary_pct": 0.1}, "rotary dimensions is 1"),
    ],
)
def test_what_the_decoder_does_not_reproduce_is_refused(
    values: dict[str, Any], words: str, tmp_path: Path
) -> None:
    with pytest.raises(ModelError) as refused:
        read_shape(written(tmp_path, values))
    assert str(tmp_path / "config.json") in str(refused.value)
    assert words in str(refused.value)


@pytest.mark.parametrize("content", ["{", "[]", "\x00"])
def test_a_damaged_config_is_named(content: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(ModelError, match=r"config\.json: (cannot be read|holds no)"):
        read_shape(tmp_path)


def test_a_directory_without_a_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"nowhere/config\.json: no such file; give a local"):
        read_shape(tmp_path / "nowhere")


def test_a_rotary_base_that_gptj_cannot_store_is_refused(
    small_model: Callable[..., ModelConfig],
) -> None:
    with pytest.raises(ModelError, match=r"model\.rotary_base is 500"):
        hugging_face_config(small_model(Family.gptj, rotary_base=500.0))


def test_a_shape_is_read_without_torch() -> None:
    code = "import sys, pipeline.models.shape; print({'torch', 'transformers'} & {*sys.modules})"
    found = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout == "set()\n"
