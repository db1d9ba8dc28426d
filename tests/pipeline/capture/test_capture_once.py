"""A model is captured once for all that is made of its plan, and again if it changed."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.capture import huggingface
from pipeline.capture.planning import graph_of
from pipeline.schema import CapturedModel, PartitionConfig
from wse.graph import Graph
from wse.transformer import Shape, training_graph


def test_a_model_is_captured_once_for_each_config_and_length(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls: list[tuple[Path, int | None]] = []
    graph = training_graph(Shape("a", "gpt2", 1, 8, 2, 32, 10, 16, 16))

    def capture(path: Path, sequence_length: int | None) -> Graph:
        calls.append((path, sequence_length))
        return graph

    monkeypatch.setattr(huggingface, "capture_directory", capture)
    model = CapturedModel(name="a", weights="once", config_sha256="one")
    for _ in range(2):
        assert graph_of(model, PartitionConfig(sequence_length=16)) is graph
    assert calls == [(Path("once"), 16)]
    graph_of(model, PartitionConfig(sequence_length=8))
    graph_of(
        CapturedModel(name="a", weights="once", config_sha256="two"),
        PartitionConfig(sequence_length=16),
    )
    assert len(calls) == 3
