from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given

from tests.wse.cases import shapes
from wse.errors import PlanError
from wse.graph import LayerKind
from wse.transformer import Shape, training_graph

# Counted by transformers on the meta device.
PARAMETERS = {
    "cerebras_gpt_111m": 111_050_496,
    "cerebras_gpt_13b": 12_853_386_240,
    "gptj_6b": 6_050_882_784,
    "gptneox_20b": 20_554_567_680,
}
BERT_BASE = Shape("bert_base", "bert", 12, 768, 12, 3072, 30522, 512, 128)


@pytest.mark.parametrize(("name", "parameters"), PARAMETERS.items())
def test_parameters_are_exact(ladder: dict[str, Shape], name: str, parameters: int) -> None:
    assert training_graph(ladder[name]).parameters == parameters


def test_bert_base_has_its_published_parameters() -> None:
    assert training_graph(BERT_BASE).parameters == 109_482_240


def test_flops_are_six_per_multiplied_parameter_and_the_visible_half_of_attention(
    ladder: dict[str, Shape],
) -> None:
    shape = ladder["cerebras_gpt_1p3b"]
    multiplied = 24 * 12 * 2048**2 + 50257 * 2048
    attention = 24 * 2 * (2048 * 2048 // 2) * 2  # scores and values, a multiply-add each
    assert training_graph(shape).model_flops_per_token == 6 * multiplied + 3 * attention


def test_an_encoder_attends_to_the_whole_square(ladder: dict[str, Shape]) -> None:
    causal = ladder["cerebras_gpt_111m"]
    encoder, decoder = (
        next(x for x in training_graph(shape).layers if x.kind is LayerKind.block).forward_flops
        for shape in (replace(causal, family="bert"), causal)
    )
    tokens = causal.sequence_length
    assert encoder - decoder == 2 * causal.hidden * tokens * tokens


@given(shapes())
def test_a_backward_pass_takes_twice_the_flops_of_a_forward_pass(shape: Shape) -> None:
    for layer in training_graph(shape).layers:
        assert layer.backward_flops == pytest.approx(2 * layer.forward_flops)


@given(shapes())
def test_nothing_of_a_transformer_is_unknown(shape: Shape) -> None:
    graph = training_graph(shape)
    assert graph.unknown == {}
    assert graph.blocks == shape.layers
    assert graph.streamed_layers == shape.layers + 2
    for layer in graph.layers:
        assert layer.input_elements <= layer.saved_elements
        weights = sum(one.parameters for one in layer.forward)
        assert weights <= layer.parameters


@pytest.mark.parametrize(
    ("field", "value", "where"),
    [
        ("family", "mamba", "model.family: 'mamba'"),
        ("layers", 0, "model.layers: 0"),
        ("hidden", -4096, "model.hidden: -4096"),
        ("vocabulary", 0, "model.vocabulary: 0"),
        ("heads", 7, "model.heads: 7"),
        ("sequence_length", 0, "partition.sequence_length: 0"),
        ("sequence_length", 4096, "partition.sequence_length: 4096"),
    ],
)
def test_a_wrong_shape_is_refused_by_name(
    ladder: dict[str, Shape], field: str, value: object, where: str
) -> None:
    with pytest.raises(PlanError) as refusal:
        training_graph(replace(ladder["gptj_6b"], **{field: value}))
    assert str(refusal.value).startswith(where)
    assert "\n" not in str(refusal.value)
