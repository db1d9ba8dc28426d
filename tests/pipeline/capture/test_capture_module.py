"""A module of one's own: what is found, what is counted, and what is said of the rest."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.capture.module import capture
from pipeline.config import CONF_DIR
from tests.pipeline.capture.handwritten import (
    BLOCKS,
    HEADS,
    TOKENS,
    VOCABULARY,
    WIDTH,
    Attention,
    Block,
    Fused,
    Model,
    ids,
    later_tokens,
    next_token_loss,
)
from wse.errors import PlanError
from wse.graph import Graph, LayerKind, OperatorKind
from wse.transformer import Shape, training_graph

ROOT = CONF_DIR.parent
SHAPE = Shape("Model", "gpt2", BLOCKS, WIDTH, HEADS, 4 * WIDTH, VOCABULARY, 64, TOKENS)


def attention_of(graph: Graph) -> set[float]:
    return {one.visible for _, one in graph.operators() if one.kind is OperatorKind.attention}


@pytest.mark.parametrize("attention", [Attention, Fused])
def test_a_transformer_of_ones_own_is_the_closed_form(attention: type[nn.Module]) -> None:
    graph = capture(Model(attention, later_tokens()), ids(), loss=next_token_loss)
    closed = training_graph(SHAPE)
    assert graph.parameters == closed.parameters
    for ours, theirs in zip(graph.layers, closed.layers, strict=True):
        assert (ours.kind, ours.count, ours.parameters, ours.input_elements) == (
            theirs.kind,
            theirs.count,
            theirs.parameters,
            theirs.input_elements,
        )
        assert ours.forward_flops == theirs.forward_flops
        assert ours.backward_flops == theirs.backward_flops
    assert graph.layers[1].name == "blocks.0-2"


def test_the_module_stays_as_it_was() -> None:
    model = Model(Fused).eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    capture(model, ids(), loss=next_token_loss)
    assert not any(one.training for one in model.modules())
    assert all(one.grad is None for one in model.parameters())
    assert not any(one._forward_hooks or one._forward_pre_hooks for one in model.modules())
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name])


def test_a_model_that_was_never_allocated_is_captured() -> None:
    with torch.device("meta"):
        model = Model(Fused)
    graph = capture(model, ids(), loss=next_token_loss)
    assert graph == capture(Model(Fused), ids(), loss=next_token_loss)


@pytest.mark.parametrize(
    ("mask", "visible", "told"),
    [
        (later_tokens(), 0.5, True),
        (~later_tokens(), 0.5, True),
        (None, 1.0, True),
        (torch.eye(64, dtype=torch.bool), 1.0, False),
    ],
)
def test_a_mask_is_told_by_its_values_or_counted_whole_and_said(
    mask: Tensor | None, visible: float, told: bool, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        graph = capture(Model(Attention, mask), ids(), loss=next_token_loss)
    assert attention_of(graph) == {visible}
    assert ["masks of 3 attentions cannot be told" in line for line in caplog.messages] == (
        [] if told else [True]
    )


def test_a_mask_compared_from_positions_is_causal() -> None:
    class Compared(Attention):
        def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
            numbers = torch.arange(x.shape[1], device=x.device)
            return super().forward(x, numbers[None, :] > numbers[:, None])

    assert attention_of(capture(Model(Compared), ids(), loss=next_token_loss)) == {0.5}


def test_an_operator_that_cannot_be_placed_is_named_and_counted(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Turned(Attention):
        def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
            return super().forward(
                torch.fft.rfft(x, dim=-1).abs().repeat(1, 1, 2)[..., :WIDTH], mask
            )

    with caplog.at_level(logging.WARNING):
        graph = capture(Model(Turned), ids(), loss=next_token_loss)
    assert graph.unknown["aten._fft_r2c"] == BLOCKS
    assert f"aten._fft_r2c ({BLOCKS})" in caplog.text
    assert f"{sum(graph.unknown.values())} operators of " in caplog.text
    assert "could not be placed and take no time in the plan" in caplog.text


def test_what_is_made_of_parameters_alone_is_a_weight() -> None:
    class Scaled(Fused):
        def __init__(self) -> None:
            super().__init__()
            self.gain = nn.Parameter(torch.ones(WIDTH, 1))

        def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
            weight = self.gain * self.out.weight
            return super().forward(F.linear(x, weight), mask)

    block = capture(Model(Scaled), ids(), loss=next_token_loss).layers[1]
    (scaled,) = (one for one in block.forward if one.name == "attention.linear")
    assert (scaled.kind, scaled.parameters) == (OperatorKind.linear, WIDTH * WIDTH)
    gradients = [one.kind for one in block.backward if one.name.startswith("attention.linear.")]
    assert set(gradients) == {OperatorKind.input_gradient, OperatorKind.weight_gradient}


def test_what_is_kept_for_the_backward_pass() -> None:
    """Input, two norms and their statistics, query, key, value, what attention gathered, the
    residual, and the feed-forward before and after its activation; no matrix of scores."""
    block = capture(Model(Fused), ids(), loss=next_token_loss).layers[1]
    assert block.saved_elements == TOKENS * (WIDTH * (1 + 2 + 3 + 1 + 1 + 4 + 4) + 2 * 2)
    assert block.widest_elements == TOKENS * 4 * WIDTH
    written_out = capture(Model(Attention, later_tokens()), ids(), loss=next_token_loss).layers[1]
    assert written_out.saved_elements == block.saved_elements + HEADS * TOKENS * TOKENS


def test_blocks_may_be_submodules_of_one_class() -> None:
    class Plain(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed = nn.Embedding(VOCABULARY, WIDTH)
            self.first, self.second = Block(Fused()), Block(Fused())
            self.head = nn.Linear(WIDTH, VOCABULARY)

        def forward(self, tokens: Tensor) -> Tensor:
            return self.head(self.second(self.first(self.embed(tokens))))

    graph = capture(Plain(), ids(), loss=next_token_loss)
    assert [(layer.kind, layer.count) for layer in graph.layers] == [
        (LayerKind.embedding, 1),
        (LayerKind.block, 2),
        (LayerKind.head, 1),
    ]


def test_a_block_may_be_a_list_that_is_never_called() -> None:
    class Paired(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.head = nn.Embedding(VOCABULARY, WIDTH), nn.Linear(WIDTH, VOCABULARY)
            self.layers = nn.ModuleList(
                nn.ModuleList([Fused(), nn.Linear(WIDTH, WIDTH)]) for _ in range(BLOCKS)
            )

        def forward(self, tokens: Tensor) -> Tensor:
            x = self.embed(tokens)
            for attention, feed_forward in self.layers:  # type: ignore[misc]
                x = x + attention(x, None)
                x = x + feed_forward(x)
            return self.head(x)

    graph = capture(Paired(), ids(), loss=next_token_loss)
    assert [(layer.name, layer.count) for layer in graph.layers] == [
        ("embedding", 1),
        (f"layers.0-{BLOCKS - 1}", BLOCKS),
        ("head", 1),
    ]
    assert graph.layers[1].parameters == 5 * WIDTH * WIDTH + 5 * WIDTH


def test_pytorchs_own_encoder_is_captured_without_a_loss() -> None:
    layer = nn.TransformerEncoderLayer(WIDTH, HEADS, 4 * WIDTH, batch_first=True)
    encoder = nn.TransformerEncoder(layer, BLOCKS, enable_nested_tensor=False)
    graph = capture(encoder, torch.zeros(1, TOKENS, WIDTH))
    assert graph.blocks == BLOCKS
    assert attention_of(graph) == {1.0}
    first, block = graph.layers[1:3]
    assert first.count == 1  # its input needs no gradient
    assert first.forward == block.forward
    assert block.forward_flops == 2 * TOKENS * WIDTH * WIDTH * 12 + 4 * TOKENS * TOKENS * WIDTH
    assert graph.parameters == sum(one.numel() for one in encoder.parameters())


def test_the_file_is_read_without_pytorch(tmp_path: Path) -> None:
    graph = capture(Model(Fused), ids(), loss=next_token_loss)
    path = tmp_path / "graph.json"
    path.write_text(graph.to_json())
    assert Graph.from_json(path.read_text()) == graph
    code = (
        "import sys; from pathlib import Path; from wse.graph import Graph; "
        f"graph = Graph.from_json(Path({str(path)!r}).read_text()); "
        "print(graph.parameters, 'torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=CONF_DIR.parent,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == [str(graph.parameters), "False"]


class Decides(nn.Module):
    """Looks at a value."""

    def forward(self, tokens: Tensor) -> Tensor:
        return tokens if tokens.sum() > 0 else -tokens


class Perceptron(nn.Module):
    """No transformer."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 8))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


class OneBlock(nn.Module):
    """Attends, in no layers."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.block = nn.Embedding(VOCABULARY, WIDTH), Block(Fused())

    def forward(self, tokens: Tensor) -> Tensor:
        return self.block(self.embed(tokens))


@pytest.mark.parametrize(
    ("module", "inputs", "said"),
    [
        (Decides(), ids(), "Decides: aten._local_scalar_dense does not run on the meta device"),
        (Perceptron(), torch.zeros(1, 4, 8), "Perceptron: no attention was found"),
        (OneBlock(), ids(), "OneBlock: no layers were found"),
        (Model(), torch.zeros(2, 8, dtype=torch.long), "Model: example_inputs: a batch of 2"),
        (Model(), {}, "Model: example_inputs: no tensor"),
        (Model(), (ids(), ids()), "Model: a training step failed: "),
        (nn.Identity(), ids(), "Identity: a training step failed: nothing of its output"),
    ],
)
def test_what_cannot_be_captured_is_said_in_one_line(
    module: nn.Module, inputs: object, said: str
) -> None:
    with pytest.raises(PlanError) as refusal:
        capture(module, inputs)  # type: ignore[arg-type]
    assert str(refusal.value).startswith(said)
    assert len(str(refusal.value).splitlines()) == 1
