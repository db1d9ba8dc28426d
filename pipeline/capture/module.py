"""Captures the training step of a PyTorch module: :func:`capture` is the one function to call.

``docs/any_model.md`` has an example.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils._pytree import tree_leaves, tree_map

from pipeline.capture.graph import Model, build
from pipeline.capture.layers import find_segments
from pipeline.capture.record import Recorder
from pipeline.capture.unplaced import unplaced
from pipeline.capture.values import Values, is_causal_mask
from wse.errors import PlanError
from wse.graph import Graph

log = logging.getLogger(__name__)

Inputs = Tensor | Sequence[Any] | Mapping[str, Any]


def capture(
    module: nn.Module,
    example_inputs: Inputs,
    loss: Callable[[Any], Tensor] | None = None,
    name: str | None = None,
    sequence_length: int | None = None,
) -> Graph:
    """The training step of one sequence through ``module``, forward and backward.

    ``example_inputs`` are the arguments of ``module``: a tensor, a sequence, or keywords. Shapes
    alone matter, of a batch of one sequence; nothing is computed and no weight is copied, so a
    module of any size may be built on the meta device. ``loss`` makes a scalar of the output;
    without it the output's own ``loss`` is taken, and if it has none, the gradient of the output
    is taken as given. ``sequence_length`` in tokens is the second dimension of the first input
    unless it is said, and ``name`` the module's class.

    Warns of attention whose mask cannot be told and of operators that cannot be placed. Raises
    :class:`PlanError` if the module does not run on the meta device, naming the operator that
    failed, or is no transformer.
    """
    name = name or type(module).__name__
    args, kwargs = _arguments(example_inputs)
    first = _first(name, args, kwargs)
    values = Values()
    recorder = Recorder(module, values)
    parameters = {
        key: nn.Parameter(torch.empty_like(value, device="meta"), value.requires_grad)
        for key, value in module.named_parameters()
    }
    for key, value in parameters.items():
        values.parameter(value, key)
    state: dict[str, Tensor] = {**parameters, **_on_meta(dict(module.named_buffers()), values)}
    args, kwargs = _on_meta(args, values, data=True), _on_meta(kwargs, values, data=True)
    with _training(module), recorder.recording():
        try:
            output = functional_call(module, state, args, kwargs)
            results = _results(output, loss)
            gradients = [torch.empty_like(one) for one in results]
            for gradient in gradients:
                values.given(gradient)
            recorder.turn_back()
            torch.autograd.backward(results, gradients)
        except Exception as error:
            raise _refusal(name, recorder, error) from error
    segments = find_segments(name, module, recorder.calls, recorder.records)
    counts = {key: value.numel() for key, value in parameters.items()}
    tokens = sequence_length or (first.shape[1] if first.dim() > 1 else first.numel())
    model = Model(name, type(module).__name__, tokens, first.numel(), counts)
    graph = build(model, recorder, segments)
    for note in _notes(recorder, graph):
        log.warning("%s: %s", name, note)
    return graph


def _arguments(example_inputs: Inputs) -> tuple[tuple[Any, ...], dict[str, Any]]:
    if isinstance(example_inputs, Tensor):
        return (example_inputs,), {}
    if isinstance(example_inputs, Mapping):
        return (), dict(example_inputs)
    return tuple(example_inputs), {}


def _first(name: str, args: Any, kwargs: Any) -> Tensor:
    """The first tensor of the inputs; refuse inputs without one, and batches."""
    tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
    if not tensors:
        raise PlanError(f"{name}: example_inputs: no tensor; give the tokens of one sequence")
    first = tensors[0]
    if first.dim() > 1 and first.shape[0] != 1:
        raise PlanError(
            f"{name}: example_inputs: a batch of {first.shape[0]}; give one sequence, whose "
            "multiple a batch is"
        )
    return first


def _on_meta(tree: Any, values: Values, data: bool = False) -> Any:
    """Every tensor without its values; what they say of a mask is noted first."""

    def move(leaf: Any) -> Any:
        if not isinstance(leaf, Tensor):
            return leaf
        moved = torch.empty_like(leaf, device="meta")
        values.given(moved, data, is_causal_mask(leaf))
        return moved

    return tree_map(move, tree)


@contextmanager
def _training(module: nn.Module) -> Iterator[None]:
    """The module in training, and afterwards as it was."""
    before = [(one, one.training) for one in module.modules()]
    module.train()
    try:
        yield
    finally:
        for one, training in before:
            one.training = training


def _results(output: Any, loss: Callable[[Any], Tensor] | None) -> list[Tensor]:
    """What the backward pass starts from."""
    if loss is not None:
        output = loss(output)
    elif isinstance(getattr(output, "loss", None), Tensor):
        output = output.loss
    results = [one for one in tree_leaves(output) if isinstance(one, Tensor) and one.requires_grad]
    if not results:
        raise ValueError("nothing of its output has a gradient")
    return results


def _refusal(name: str, recorder: Recorder, error: Exception) -> PlanError:
    reason = (str(error).strip() or type(error).__name__).splitlines()[0]
    if recorder.failed is None:
        return PlanError(f"{name}: a training step failed: {reason}")
    return PlanError(
        f"{name}: {recorder.failed} does not run on the meta device, where tensors have shapes "
        f"and no values: {reason}"
    )


def _notes(recorder: Recorder, graph: Graph) -> Iterator[str]:
    """What a user should know of a capture."""
    scores = {record.scores for record in recorder.records if record.scores is not None}
    unclear = sum(one.masked and one.normalized and not one.masked_causally for one in scores)
    if unclear:
        yield (
            f"the masks of {unclear} attentions cannot be told; all pairs of tokens are counted, "
            "twice those of a causal mask"
        )
    line = unplaced(graph)
    if line is not None:
        yield line
