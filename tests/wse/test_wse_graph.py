"""A graph as a file: what was written is read again, and what is wrong in it is said by name."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.wse.cases import shapes
from wse.errors import PlanError
from wse.graph import Graph, Layer, LayerKind, Operator, OperatorKind
from wse.transformer import Shape, training_graph

ROOT = Path(__file__).resolve().parents[2]
SMALL = training_graph(Shape("small", "gpt2", 3, 8, 2, 32, 50, 16, 16))

counts = st.integers(0, 2**60)
operators = st.builds(
    Operator,
    name=st.text(),
    kind=st.sampled_from(OperatorKind),
    elements=counts,
    parameters=counts,
    count=counts,
    rows=counts,
    inner=counts,
    columns=counts,
    visible=st.floats(0, 1),
)
layers = st.builds(
    Layer,
    name=st.text(),
    kind=st.sampled_from(LayerKind),
    count=st.integers(1, 100),
    parameters=counts,
    input_elements=counts,
    saved_elements=counts,
    widest_elements=counts,
    forward=st.lists(operators, max_size=3).map(tuple),
    backward=st.lists(operators, max_size=3).map(tuple),
    part_elements=st.none() | counts,
)
graphs = st.builds(
    Graph,
    name=st.text(),
    family=st.text(),
    sequence_length=st.integers(1, 2**20),
    hidden=st.integers(1, 2**20),
    layers=st.lists(layers, max_size=3, unique_by=lambda layer: layer.name).map(
        lambda drawn: (*drawn, replace(SMALL.layers[1], name="a block of its own name"))
    ),
)


@given(graphs)
def test_a_graph_is_read_as_it_was_written(graph: Graph) -> None:
    assert Graph.from_json(graph.to_json()) == graph


@given(shapes())
def test_a_transformer_is_read_as_it_was_written(shape: Shape) -> None:
    graph = training_graph(shape)
    assert Graph.from_json(graph.to_json()) == graph


def _edited(path: tuple[str | int, ...], value: Any) -> str:
    values = json.loads(SMALL.to_json())
    place = values
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return json.dumps(values)


BLOCK = ("layers", 1)
FIRST = (*BLOCK, "forward", 0)


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        (("format",), 2, "format is not 1"),
        (("layers",), [], "layers: there is none"),
        (("layers",), "block", "layers"),
        (BLOCK, "block", "layers"),
        ((*BLOCK, "name"), "head", "layers: two have the same name"),
        ((*BLOCK, "kind"), "brick", "'brick'"),
        ((*BLOCK, "colour"), "red", "colour"),
        ((*BLOCK, "parameters"), -1, "layers.block.parameters: -1"),
        ((*BLOCK, "parameters"), "many", "layers.block.parameters: 'many'"),
        ((*BLOCK, "saved_elements"), math.inf, "layers.block.saved_elements: inf"),
        ((*BLOCK, "count"), None, "layers.block.count: None"),
        ((*BLOCK, "count"), 1.5, "layers.block.count: 1.5"),
        ((*FIRST, "rows"), math.nan, "layers.block.query_key_value.rows: nan"),
        ((*FIRST, "visible"), -0.5, "layers.block.query_key_value.visible: -0.5"),
        ((*FIRST, "kind"), "sort", "'sort'"),
        (FIRST, [1, 2], "layers"),
        ((*BLOCK, "forward"), 3, "layers"),
        (("sequence_length",), 0, "sequence_length: 0"),
        (("hidden",), None, "hidden: None"),
        (("name",), 7, "name: 7"),
    ],
)
def test_a_wrong_field_is_refused_by_file_and_name(
    path: tuple[str | int, ...], value: Any, said: str
) -> None:
    with pytest.raises(PlanError) as refusal:
        Graph.from_json(_edited(path, value), "my.json")
    message = str(refusal.value)
    assert message.startswith("my.json: ")
    assert said in message
    assert "\n" not in message


@pytest.mark.parametrize("text", ["", "[1", "not JSON", "[]", "3", "null", "{}", '"graph"'])
def test_what_is_no_graph_is_refused_with_the_file(text: str) -> None:
    with pytest.raises(PlanError, match=r"^my\.json: (not JSON|format is not)"):
        Graph.from_json(text, "my.json")


def test_a_graph_without_a_block_is_refused() -> None:
    ends = replace(SMALL, layers=(SMALL.layers[0], SMALL.layers[2]))
    with pytest.raises(PlanError, match=r"^my\.json: layers: none is a block"):
        Graph.from_json(ends.to_json(), "my.json")


def _paths(values: Any, at: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    inside = values.items() if isinstance(values, dict) else enumerate(values)
    found = [(*at, key) for key, _ in inside]
    inside = values.items() if isinstance(values, dict) else enumerate(values)
    for key, value in inside:
        if isinstance(value, (dict, list)):
            found += _paths(value, (*at, key))
    return found


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=3,
)


@given(st.sampled_from(_paths(json.loads(SMALL.to_json()))), json_values)
def test_whatever_stands_in_a_field_it_is_read_or_refused(
    path: tuple[str | int, ...], value: Any
) -> None:
    # Any error but this one is a defect; so is a graph that counts nothing sensible.
    with suppress(PlanError):
        graph = Graph.from_json(_edited(path, value), "my.json")
        assert graph.parameters >= 0
        assert graph.model_flops_per_token >= 0


def test_unknown_operators_are_counted_over_all_layers() -> None:
    unknown = Operator("scan", OperatorKind.unknown, elements=5, count=2)
    block = SMALL.layers[1]
    odd = replace(block, forward=(*block.forward, unknown), backward=(unknown, *block.backward))
    graph = replace(SMALL, layers=(SMALL.layers[0], odd, SMALL.layers[2]))
    assert graph.unknown == {"scan": 3 * (2 + 2)}
    assert graph.model_flops_per_token == SMALL.model_flops_per_token


def test_reading_needs_no_torch(tmp_path: Path) -> None:
    file = tmp_path / "graph.json"
    file.write_text(SMALL.to_json())
    code = (
        "import pathlib, sys; from wse.graph import Graph; "
        "Graph.from_json(pathlib.Path(sys.argv[1]).read_text()); print('torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, file], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "False"
