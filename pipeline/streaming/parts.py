"""Computing one part of the decoder with weights that are handed in: forward and backward.

Shapes: b sequences of a micro-batch, t tokens, s = t + 1, d hidden, v vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from pipeline.choices import Precision
from pipeline.models.decoder import Head
from pipeline.schema import ModelConfig, TrainConfig
from pipeline.streaming.kept_graph import Gaps, KeptGraph
from pipeline.streaming.layout import EMBEDDING, HEAD, TIED, layer_name, part_template

Tensors = dict[str, Tensor]


class Parts:
    """The three kinds of part, each one module that takes any weights of its kind."""

    def __init__(self, model: ModelConfig, train: TrainConfig, device: torch.device) -> None:
        self.model, self.train, self._device = model, train, device
        self._gaps = Gaps()
        self._layer = part_template(model, layer_name(0))
        self._ends = {part: part_template(model, part) for part in (EMBEDDING, HEAD)}
        self._empty = {
            module: module.state_dict() for module in (self._layer, *self._ends.values())
        }

    def embed(self, weights: Tensors, tokens: Sequence[Tensor]) -> list[Tensor]:
        """tokens_bt -> x_btd of each micro-batch, without a graph."""
        with self._bound(EMBEDDING, weights) as module, torch.no_grad():
            return [module(tokens_bt) for tokens_bt in tokens]

    def forward(self, part: str, weights: Tensors, inputs: Sequence[Tensor]) -> list[Tensor]:
        """A layer's x_btd -> x_btd of each micro-batch, without a graph."""
        with self._bound(part, weights) as module, torch.no_grad(), self._autocast():
            return [module(x_btd) for x_btd in inputs]

    def forward_kept(
        self, part: str, weights: Tensors, inputs: Sequence[Tensor]
    ) -> tuple[list[Tensor], KeptGraph]:
        """The same, and the graph, so that the backward pass need not compute it again."""
        with self._bound(part, weights) as module, self._autocast():
            kept = KeptGraph(module, self._gaps)
            outputs = [kept.forward(x_btd) for x_btd in inputs]
            kept.let_go_of_weights()
        return outputs, kept

    def backward(
        self, part: str, weights: Tensors, inputs: list[Tensor], gradients: list[Tensor]
    ) -> tuple[list[Tensor], Tensors]:
        """Compute a layer again and its gradients: of its inputs, and of its parameters by name.

        ``inputs`` and ``gradients`` (of the outputs) are emptied as they are used up.
        """
        input_gradients: list[Tensor] = []
        sums: list[Tensor] = []
        with self._bound(part, weights) as module:
            parameters = list(module.parameters())
            while inputs:
                x_btd = inputs.pop(0).detach().requires_grad_()
                with self._autocast():
                    y_btd = module(x_btd)
                found = torch.autograd.grad(y_btd, [x_btd, *parameters], gradients.pop(0))
                input_gradients.append(found[0])
                sums = self._summed(sums, found[1:])
            return input_gradients, self._named(part, module, sums)

    def backward_kept(
        self, part: str, weights: Tensors, kept: KeptGraph, gradients: list[Tensor]
    ) -> tuple[list[Tensor], Tensors]:
        """The gradients of a layer whose graph was kept, given the weights of the forward pass."""
        input_gradients: list[Tensor] = []
        sums: list[Tensor] = []
        with self._bound(part, weights) as module, kept.given(list(module.parameters())):
            while gradients:
                found = kept.backward(gradients.pop(0))
                input_gradients.append(found[0])
                sums = self._summed(sums, found[1:])
            return input_gradients, self._named(part, module, sums)

    def head_backward(
        self,
        weights: Tensors,
        tied_vd: Tensor | None,
        inputs: list[Tensor],
        targets: Sequence[Tensor],
    ) -> tuple[Tensor, list[Tensor], Tensors]:
        """Mean loss in nats, and its gradients: of the inputs, and of the parameters by name.

        The gradient of a tied matrix is among them, as :data:`~pipeline.streaming.layout.TIED`.
        """
        tied = None if tied_vd is None else self._computed(tied_vd).detach().requires_grad_()
        count = len(inputs)
        loss = torch.zeros((), device=self._device)
        input_gradients: list[Tensor] = []
        sums: list[Tensor] = []
        with self._bound_head(weights) as head:
            parameters = list(head.parameters())
            leaves = parameters if tied is None else [*parameters, tied]
            for targets_bt in targets:
                x_btd = inputs.pop(0).detach().requires_grad_()
                with self._autocast():
                    micro_loss = head.loss(x_btd, targets_bt, tied) / count
                found = torch.autograd.grad(micro_loss, [x_btd, *leaves])
                loss += micro_loss.detach()
                input_gradients.append(found[0])
                sums = self._summed(sums, found[1:])
            named = self._named(HEAD, head, sums)
        if tied is not None:
            named[TIED] = sums[-1]
        return loss, input_gradients, named

    @torch.no_grad()
    def head_loss(
        self,
        weights: Tensors,
        tied_vd: Tensor | None,
        inputs: Sequence[Tensor],
        targets: Sequence[Tensor],
    ) -> list[float]:
        """Mean loss of each micro-batch in nats per token."""
        tied = None if tied_vd is None else self._computed(tied_vd)
        with self._bound_head(weights) as head, self._autocast():
            pairs = zip(inputs, targets, strict=True)
            return [head.loss(x_btd, targets_bt, tied).item() for x_btd, targets_bt in pairs]

    @contextmanager
    def _bound_head(self, weights: Tensors) -> Iterator[Head]:
        with self._bound(HEAD, weights) as head:
            assert isinstance(head, Head)
            yield head

    @contextmanager
    def _bound(self, part: str, weights: Tensors) -> Iterator[nn.Module]:
        """The part's module, holding these very tensors as its parameters.

        It lets go of them afterwards: what it held could not be given back to the system.
        """
        module = self._ends.get(part, self._layer)
        own = {
            name.removeprefix(f"{part}."): self._computed(tensor)
            for name, tensor in weights.items()
            if name.startswith(f"{part}.") and "/" not in name
        }
        module.load_state_dict(own, assign=True)
        try:
            yield module
        finally:
            module.load_state_dict(self._empty[module], assign=True)

    def _computed(self, weight: Tensor) -> Tensor:
        """The weight in the type that it is computed with."""
        return weight.float() if self.train.precision is Precision.fp32 else weight

    def _named(self, part: str, module: nn.Module, gradients: Sequence[Tensor]) -> Tensors:
        names = [name for name, _ in module.named_parameters(prefix=part)]
        return dict(zip(names, gradients, strict=False))

    def _summed(self, sums: list[Tensor], gradients: Sequence[Tensor]) -> list[Tensor]:
        """Add a micro-batch's gradients; the sum of several is fp32."""
        if not sums:
            single = self.train.micro_batch == self.train.global_batch
            return list(gradients) if single else [gradient.float() for gradient in gradients]
        for summed, gradient in zip(sums, gradients, strict=True):
            summed.add_(gradient)
        return sums

    def _autocast(self) -> torch.autocast:
        bf16 = self.train.precision is Precision.bf16
        return torch.autocast(self._device.type, torch.bfloat16, enabled=bf16)


def embedding_gradients(
    weights: Tensors,
    tokens: Sequence[Tensor],
    gradients: Sequence[Tensor],
    fp32: bool,
    carried_vd: Tensor | None,
) -> Tensors:
    """Gradients of the embedding's matrices from those of its outputs, summed in fp32.

    Only the rows of tokens that occur are computed. The others are those of ``carried_vd``, the
    gradient of a tied head, to which all is added in place; zero without one.
    """
    hidden = gradients[0].shape[-1]
    flat_n = torch.cat([tokens_bt.flatten() for tokens_bt in tokens])
    rows, row_of_n = flat_n.unique(return_inverse=True)
    sums = torch.zeros(len(rows), hidden, device=rows.device)
    sums.index_add_(0, row_of_n, torch.cat([g_btd.flatten(0, 1) for g_btd in gradients]))
    if carried_vd is None:
        carried_vd = _zeros_like(weights[TIED], fp32)
    carried_vd[rows] = (carried_vd[rows].float() + sums).to(carried_vd.dtype)
    named = {TIED: carried_vd}
    positions = TIED.replace("tokens", "positions")
    if positions in weights:
        gradient = _zeros_like(weights[positions], fp32)
        sums = torch.stack([g_btd.sum(dim=0) for g_btd in gradients]).sum(dim=0)
        gradient[: len(sums)] = sums.to(gradient.dtype)
        named[positions] = gradient
    return named


def _zeros_like(weight: Tensor, fp32: bool) -> Tensor:
    return torch.zeros_like(weight, dtype=torch.float32 if fp32 else weight.dtype)
