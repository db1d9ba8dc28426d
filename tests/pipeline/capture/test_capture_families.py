"""Models of `transformers` outside the ladder, built from their configurations alone."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from pipeline.capture.huggingface import capture_directory
from wse.graph import Graph, LayerKind, OperatorKind

TOKENS, WIDTH, LAYERS, HEADS = 24, 32, 3, 4
_SIZES = {
    "hidden_size": WIDTH,
    "intermediate_size": 48,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
    "num_key_value_heads": 2,
    "vocab_size": 100,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
_DECODERS: dict[str, dict[str, Any]] = {
    "llama": {},
    "mistral": {"sliding_window": None},
    "qwen2": {},
    "phi": {},
    "gemma": {"head_dim": 8},
    "opt": {"ffn_dim": 48, "word_embed_proj_dim": WIDTH},
    "bloom": {"n_layer": LAYERS, "n_head": HEADS},
    "mixtral": {"num_local_experts": 4, "num_experts_per_tok": 2, "sliding_window": None},
}
Written = Callable[[str, dict[str, Any]], Path]


def captured(written: Written, model_type: str, **values: Any) -> Graph:
    values = {**_SIZES, **values, "model_type": model_type}
    if model_type == "bloom":
        del values["num_hidden_layers"], values["num_attention_heads"]
    return capture_directory(written(model_type, values), TOKENS)


def count_of(graph: Graph, task: Any, directory: Path) -> int:
    config = transformers.AutoConfig.from_pretrained(directory)
    with torch.device("meta"):
        return sum(one.numel() for one in task.from_config(config).parameters())


@pytest.mark.parametrize("model_type", _DECODERS)
def test_a_decoder_is_captured_whole(
    model_type: str, written: Written, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        graph = captured(written, model_type, **_DECODERS[model_type])
    assert caplog.messages == []
    assert graph.family == model_type
    assert graph.unknown == {}
    assert [layer.kind for layer in graph.layers] == [
        LayerKind.embedding,
        LayerKind.block,
        LayerKind.head,
    ]
    assert graph.layers[1].count == LAYERS
    task = transformers.AutoModelForCausalLM
    assert graph.parameters == count_of(graph, task, tmp_path / model_type)
    products = [one for one in graph.layers[1].forward if one.kind is OperatorKind.attention]
    assert [(one.count, one.rows, one.visible) for one in products] == [(HEADS, TOKENS, 0.5)] * 2
    for layer in graph.layers[1:]:
        assert layer.backward_flops == pytest.approx(2 * layer.forward_flops)


def test_the_flops_of_a_llama_are_those_counted_by_hand(written: Written) -> None:
    block = captured(written, "llama").layers[1]
    head, queries, groups = WIDTH // HEADS, WIDTH, 2
    attention = 2 * HEADS * 2 * TOKENS * TOKENS * head / 2
    projections = 2 * TOKENS * WIDTH * (queries + 2 * groups * head + WIDTH)
    feed_forward = 3 * 2 * TOKENS * WIDTH * 48
    assert block.forward_flops == attention + projections + feed_forward
    assert block.backward_flops == 2 * block.forward_flops
    assert block.parameters == WIDTH * (2 * queries + 2 * groups * head + 3 * 48) + 2 * WIDTH
    norms = [one for one in block.forward if one.kind is OperatorKind.normalization]
    assert [(one.name, one.elements) for one in norms] == [
        ("input_layernorm", TOKENS * WIDTH),
        ("post_attention_layernorm", TOKENS * WIDTH),
    ]
    gradients = [one for one in block.backward if one.kind is OperatorKind.weight_gradient]
    assert {(one.rows, one.inner, one.columns) for one in gradients} == {
        (WIDTH, TOKENS, WIDTH),
        (WIDTH, TOKENS, groups * head),
        (WIDTH, TOKENS, 48),
        (48, TOKENS, WIDTH),
    }


def test_a_mixture_of_experts_counts_what_its_tokens_take(written: Written) -> None:
    block = captured(written, "mixtral", **_DECODERS["mixtral"]).layers[1]
    experts = [one for one in block.forward if "experts" in one.name and one.flops]
    assert sum(one.flops for one in experts) == 2 * 2 * TOKENS * WIDTH * 3 * 48
    assert sum(one.parameters for one in experts) == 4 * WIDTH * 3 * 48


def test_an_encoder_sees_all_pairs_of_tokens(
    written: Written, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    graph = captured(written, "bert", architectures=["BertForMaskedLM"])
    assert graph.layers[1].count == LAYERS
    products = [one for one in graph.layers[1].forward if one.kind is OperatorKind.attention]
    assert [one.visible for one in products] == [1.0, 1.0]
    assert graph.parameters == count_of(graph, transformers.AutoModelForMaskedLM, tmp_path / "bert")
    assert caplog.messages == []


def test_an_encoder_and_a_decoder_are_two_runs_of_blocks(written: Written, tmp_path: Path) -> None:
    sizes = {"d_model": WIDTH, "d_kv": 8, "d_ff": 48, "num_layers": 2, "num_heads": HEADS}
    values = {**sizes, "vocab_size": 100, "decoder_start_token_id": 0}
    graph = capture_directory(written("t5", {**values, "model_type": "t5"}), TOKENS)
    blocks = [layer for layer in graph.layers if layer.kind is LayerKind.block]
    assert sum(layer.count for layer in blocks) == 4
    visible = [
        {one.visible for one in layer.forward if one.kind is OperatorKind.attention}
        for layer in blocks
    ]
    assert visible[0] == {1.0}
    assert visible[-1] == {0.5, 1.0}  # its own tokens causally, the encoder's all
    assert graph.parameters == count_of(graph, transformers.AutoModelForSeq2SeqLM, tmp_path / "t5")


def test_layers_that_share_their_weights_count_them_once(written: Written, tmp_path: Path) -> None:
    graph = captured(written, "albert", architectures=["AlbertForMaskedLM"], embedding_size=16)
    assert Graph.from_json(graph.to_json()) == graph  # each run of the one layer has a name
    assert graph.blocks == LAYERS
    assert graph.parameters == count_of(
        graph, transformers.AutoModelForMaskedLM, tmp_path / "albert"
    )
