"""A captured model of the ladder is the closed form: parameters exactly, FLOPs to 1 %."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.capture.huggingface import capture_directory
from pipeline.capture.planning import graph_of
from pipeline.config import compose
from pipeline.models.shape import hugging_face_config
from pipeline.schema import PartitionConfig
from wse.graph import LayerKind, OperatorKind


@pytest.mark.parametrize(
    "name", ["cerebras_gpt_111m", "gptj_6b", "gptneox_20b", "nano_gptj", "nano_gptneox"]
)
def test_a_captured_ladder_model_agrees_with_the_closed_form(
    name: str, written: Callable[[str, dict[str, Any]], Path]
) -> None:
    model = compose([f"model={name}"]).model
    closed = graph_of(model, PartitionConfig(global_batch=1))
    captured = capture_directory(written(name, hugging_face_config(model)))

    assert captured.name == closed.name
    assert captured.parameters == closed.parameters
    assert captured.hidden == closed.hidden
    assert captured.sequence_length == closed.sequence_length
    assert captured.unknown == {}
    assert [(layer.kind, layer.count) for layer in captured.layers] == [
        (layer.kind, layer.count) for layer in closed.layers
    ]
    for ours, theirs in zip(captured.layers, closed.layers, strict=True):
        assert ours.parameters == theirs.parameters
        assert ours.input_elements == theirs.input_elements
        assert ours.forward_flops == pytest.approx(theirs.forward_flops, rel=0.01)
        assert ours.backward_flops == pytest.approx(theirs.backward_flops, rel=0.01)
    block, theirs = captured.layers[1], closed.layers[1]
    assert block.kind is LayerKind.block
    if name == "cerebras_gpt_111m":  # of the others transformers writes out attention or GELU
        assert block.saved_elements == pytest.approx(theirs.saved_elements, rel=0.2)
        assert block.widest_elements == theirs.widest_elements
    kinds = [operator.kind for operator in theirs.forward]
    for kind in (OperatorKind.attention, OperatorKind.softmax, OperatorKind.normalization):
        assert sum(one.kind is kind for one in block.forward) == kinds.count(kind)
