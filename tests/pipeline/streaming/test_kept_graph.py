"""A kept graph gives the gradients of a computation taken again, and holds no weights."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch import Tensor

from pipeline.config import compose
from pipeline.models import products
from pipeline.schema import Config
from pipeline.streaming import kept_graph
from pipeline.streaming.layout import layer_name, part_layouts
from pipeline.streaming.parts import Parts
from pipeline.streaming.working_memory import WorkingMemory
from tests.pipeline.streaming.processes import REPOSITORY

LAYER = layer_name(0)
MODELS = {"gpt2": "cerebras_gpt_111m", "gptj": "gptj_6b", "gptneox": "gptneox_20b"}
SMALL = ["model.layers=2", "model.hidden=64", "model.heads=4", "model.feed_forward=256"]
ROTARY = {
    "gpt2": [],
    "gptj": ["model.rotary_dimensions=8"],
    "gptneox": ["model.rotary_dimensions=4"],
}
TOKENS = 32
MICRO_BATCHES = 2


@pytest.fixture(params=["fp32", "bf16", "bf16 in fp32"])
def precision(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Also as a processor without bf16 instructions multiplies."""
    name, *taken = request.param.split(" in ")
    if taken:
        monkeypatch.setattr(products, "processor_multiplies_bf16", lambda: False)
    return str(name)


def configured(family: str, precision: str) -> Config:
    sizes = [f"train.sequence_length={TOKENS}", f"train.global_batch={MICRO_BATCHES}"]
    shape = [f"model={MODELS[family]}", *SMALL, *ROTARY[family]]
    return compose([*shape, *sizes, "train=record", f"train.precision={precision}"])


def weights_of(config: Config) -> dict[str, Tensor]:
    """The layer's weights as a store has them: views of one buffer."""
    assert config.train is not None
    specs = part_layouts(config.model, config.train)[LAYER].planes["weights"]
    buffer = torch.empty(sum(spec.nbytes for spec in specs), dtype=torch.uint8)
    pieces = buffer.split([spec.nbytes for spec in specs])
    return {
        spec.name: piece.view(spec.dtype).view(spec.shape).copy_(0.1 * torch.randn(spec.shape))
        for spec, piece in zip(specs, pieces, strict=True)
    }


@pytest.mark.parametrize("family", MODELS)
def test_weights_may_be_overwritten_between_the_passes(family: str, precision: str) -> None:
    config = configured(family, precision)
    assert config.train is not None
    torch.manual_seed(0)
    parts = Parts(config.model, config.train, torch.device("cpu"))
    weights = weights_of(config)
    again = {name: weight.clone() for name, weight in weights.items()}
    shape = (1, TOKENS, config.model.hidden)
    inputs, gradients = (
        [torch.randn(shape) for _ in range(MICRO_BATCHES)] for _ in ("inputs", "gradients")
    )
    copies = [x_btd.clone() for x_btd in inputs]
    outputs, kept = parts.forward_kept(LAYER, weights, inputs)
    expected = parts.forward(LAYER, weights, inputs)
    assert all(torch.equal(one, other) for one, other in zip(outputs, expected, strict=True))
    for weight in weights.values():
        weight.fill_(torch.nan)
    for x_btd in (*inputs, *outputs):
        x_btd.fill_(torch.nan)
    ours = parts.backward_kept(LAYER, again, kept, [*gradients])
    theirs = parts.backward(LAYER, again, copies, [*gradients])
    for one, other in zip(ours[0], theirs[0], strict=True):
        assert torch.equal(one, other)
    assert ours[1].keys() == theirs[1].keys() == weights.keys()
    assert all(torch.equal(ours[1][name], theirs[1][name]) for name in weights)


@pytest.mark.parametrize("family", MODELS)
def test_a_graph_takes_no_more_than_is_planned(
    family: str, precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = configured(family, precision)
    assert config.train is not None
    layouts = part_layouts(config.model, config.train)
    saved: list[int] = []
    move = kept_graph._Kept.move

    def counted(kept: kept_graph._Kept) -> int:
        saved.append(move(kept))
        return saved[-1]

    monkeypatch.setattr(kept_graph._Kept, "move", counted)
    parts = Parts(config.model, config.train, torch.device("cpu"))
    inputs = [torch.randn(1, TOKENS, config.model.hidden) for _ in range(MICRO_BATCHES)]
    parts.forward_kept(LAYER, weights_of(config), inputs)
    planned = WorkingMemory(config.model, config.train, layouts).kept_graph_bytes
    assert sum(saved) <= 1.05 * planned  # norms' statistics and angles are in no term


GROWTH = """
from pathlib import Path
import torch
from pipeline.models import products
from pipeline.streaming.layout import layer_name
from pipeline.streaming.parts import Parts
from tests.pipeline.streaming.test_kept_graph import LAYER, large, weights_of

def resident_bytes():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

products.processor_multiplies_bf16 = lambda: False
config = large()
parts = Parts(config.model, config.train, torch.device("cpu"))
x_btd = [torch.randn(1, config.train.sequence_length, config.model.hidden)]
weights, kept = weights_of(config), []
for _ in range(LAYERS + 4):
    kept.append(parts.forward_kept(LAYER, weights, x_btd))
    if len(kept) == 4:
        before = resident_bytes()
print(resident_bytes() - before)
"""
LAYERS = 80


def large() -> Config:
    shape = ["model.hidden=768", "model.heads=12", "model.feed_forward=3072"]
    sizes = ["train.sequence_length=64", "train.global_batch=1"]
    return compose(["model=nano_gptneox", *shape, *sizes, "train=record", "train.precision=bf16"])


def test_what_lies_between_kept_graphs_is_used_again() -> None:
    """A layer's passing tensors are ten times what is kept of it: gaps would fill the memory."""
    code = GROWTH.replace("LAYERS", str(LAYERS))
    grown = int(subprocess.check_output([sys.executable, "-c", code], text=True, cwd=REPOSITORY))
    config = large()
    assert config.train is not None
    layouts = part_layouts(config.model, config.train)
    kept_bytes = WorkingMemory(config.model, config.train, layouts).kept_graph_bytes
    assert grown <= 1.5 * LAYERS * kept_bytes
