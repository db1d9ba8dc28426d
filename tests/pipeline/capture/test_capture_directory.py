"""Planning a directory of any family: what is let through, and what is refused in one line."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.capture.huggingface import capture_directory
from pipeline.capture.planning import graph_of
from pipeline.capture.unplaced import unplaced
from pipeline.config import CONF_DIR, compose, slice_hash, stage_slice
from pipeline.errors import ModelError
from pipeline.freeze import frozen, job_of
from pipeline.schema import CapturedModel, PartitionConfig
from wse.errors import OnewaferError
from wse.graph import Graph, Layer, LayerKind, Operator, OperatorKind

ROOT = CONF_DIR.parent
Written = Callable[[str, dict[str, Any]], Path]
LLAMA = {
    "model_type": "llama",
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "vocab_size": 100,
    "max_position_embeddings": 64,
}


def planned(directory: Path, *more: str) -> Any:
    return compose(["model=hf", f"model.path={directory}", "train=none", *more])


def test_another_family_is_planned_from_its_directory(written: Written) -> None:
    directory = written("my_llama", LLAMA)
    config = planned(directory, "partition.sequence_length=16")
    assert isinstance(config.model, CapturedModel)
    job = job_of(frozen(config, "partition"), "by_hand")
    assert job.config.model == config.model
    graph = graph_of(job.config.model, job.config.partition)
    assert (graph.name, graph.family, graph.sequence_length) == ("my_llama", "llama", 16)
    assert graph == capture_directory(directory, 16)
    assert graph_of(config.model, PartitionConfig(global_batch=1)).sequence_length == 64


def test_another_family_is_not_trained(written: Written) -> None:
    with pytest.raises(ModelError, match="model_type is llama; supported is gpt2, gptj, gpt_neox"):
        compose(["model=hf", f"model.path={written('my_llama', LLAMA)}"])


def test_another_configuration_is_another_plan(written: Written) -> None:
    directory = written("my_llama", LLAMA)
    before = planned(directory)
    (directory / "config.json").write_text(json.dumps({**LLAMA, "intermediate_size": 64}))
    after = planned(directory)
    hashes = {slice_hash("partition", stage_slice(one, "partition")) for one in (before, after)}
    assert len(hashes) == 2
    assert before.run != after.run


def test_a_family_that_can_be_trained_is_planned_in_closed_form(written: Written) -> None:
    gpt2 = {"n_layer": 2, "n_embd": 32, "n_head": 4, "vocab_size": 100, "n_positions": 64}
    model = planned(written("small", {"model_type": "gpt2", **gpt2})).model
    assert not isinstance(model, CapturedModel)
    assert graph_of(model, PartitionConfig(global_batch=1)).layers[1].name == "block"
    relu = {"model_type": "gpt2", **gpt2, "activation_function": "relu"}
    assert isinstance(planned(written("relu", relu)).model, CapturedModel)


def test_configuring_and_closed_forms_leave_pytorch_alone() -> None:
    code = (
        "import sys; from pipeline.capture.planning import graph_of; "
        "from pipeline.config import compose; config = compose(['model=gptneox_20b']); "
        "graph_of(config.model, config.partition); print('torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=CONF_DIR.parent,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize(
    ("values", "length", "said"),
    [
        ({"model_type": "nonesuch"}, None, "model_type is 'nonesuch', which transformers"),
        ({}, None, "model_type is None, which transformers"),
        ({**LLAMA, "architectures": ["MyLlama"]}, None, "architectures names MyLlama, a class"),
        ({**LLAMA, "num_attention_heads": 5}, None, "config.json: "),
        ({**LLAMA, "hidden_act": "nonesuch"}, None, "LlamaForCausalLM cannot be built: "),
        (LLAMA, 65, "partition.sequence_length: 65 is more than the 64 positions of model"),
        (LLAMA, 0, "partition.sequence_length: 0 is not a positive number"),
        ({"model_type": "mamba", "hidden_size": 32, "num_hidden_layers": 2}, 8, "model: "),
        ({"model_type": "vit"}, 8, "takes pixel_values, not tokens"),
        ({"model_type": "bloom", "hidden_size": 64}, None, "give partition.sequence_length"),
    ],
)
def test_a_directory_that_cannot_be_captured_is_refused_in_one_line(
    values: dict[str, Any], length: int | None, said: str, written: Written
) -> None:
    with pytest.raises(OnewaferError) as refusal:
        capture_directory(written("model", values), length)
    assert said in str(refusal.value)
    assert len(str(refusal.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("text", "said"),
    [(None, "no such file"), ("{", "cannot be read as JSON"), ("[]", "holds no JSON object")],
)
def test_a_directory_without_a_configuration_is_refused(
    text: str | None, said: str, tmp_path: Path
) -> None:
    if text is not None:
        (tmp_path / "config.json").write_text(text)
    for refused in (lambda: planned(tmp_path), lambda: capture_directory(tmp_path)):
        with pytest.raises(ModelError, match=said):
            refused()


def test_the_line_on_what_could_not_be_placed() -> None:
    def graph(**unknown: int) -> Graph:
        operators = tuple(
            Operator(f"aten.{name}", OperatorKind.unknown, 1)
            for name, count in unknown.items()
            for _ in range(count)
        )
        layer = Layer("head", LayerKind.head, 1, 0, 1, 1, 1, operators, ())
        return Graph("model", "own", 1, 1, (layer,))

    assert unplaced(graph()) is None
    assert unplaced(graph(foo=2, bar=1)) == (
        "3 operators of 2 kinds could not be placed and take no time in the plan: "
        "aten.bar (1), aten.foo (2)"
    )
    assert unplaced(graph(foo=1)) == (
        "1 operator of 1 kind could not be placed and take no time in the plan: aten.foo (1)"
    )
