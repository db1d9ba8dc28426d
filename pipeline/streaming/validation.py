"""The loss of the model as it stands: one forward pass through its parts, nothing learned."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from pipeline.streaming.holders import Holder
from pipeline.streaming.layout import EMBEDDING, HEAD, TIED, head_is_tied, part_names
from pipeline.streaming.parts import Parts


class Validation:
    """Passes as many sequences through the model together as a step has."""

    def __init__(self, holder: Holder, modules: Parts, device: torch.device) -> None:
        self._holder, self._modules, self._device = holder, modules, device
        self._parts = part_names(modules.model)
        self._tied = head_is_tied(modules.model)

    def loss(self, batches: Iterable[Tensor]) -> float:
        """Mean loss in nats per token over batches (any, sequence_length + 1)."""
        total, sequences = 0.0, 0
        for group in self._grouped(batches):
            for tokens_bs, loss in zip(group, self._losses(group), strict=True):
                total += loss * len(tokens_bs)
                sequences += len(tokens_bs)
        return total / sequences

    def _grouped(self, batches: Iterable[Tensor]) -> Iterator[list[Tensor]]:
        group: list[Tensor] = []
        for tokens_bs in batches:
            if group and sum(map(len, [*group, tokens_bs])) > self._modules.train.global_batch:
                yield group
                group = []
            group.append(tokens_bs.to(self._device))
        if group:
            yield group

    def _losses(self, group: list[Tensor]) -> list[float]:
        """Of each batch."""
        inputs: list[Tensor] = []
        for part, after in zip(self._parts[:-1], self._parts[1:], strict=True):
            weights = self._holder.fetch(part, "weights", read_only=True)
            self._holder.prefetch(after, "weights")
            if part == EMBEDDING:
                inputs = self._modules.embed(weights, [tokens[:, :-1] for tokens in group])
            else:
                inputs = self._modules.forward(part, weights, inputs)
            weights = {}  # a view would keep a buffer that the holder wants to give back
            self._holder.release(part, "weights")
        return self._head_losses(inputs, [tokens[:, 1:] for tokens in group])

    def _head_losses(self, inputs: list[Tensor], targets: list[Tensor]) -> list[float]:
        weights = self._holder.fetch(HEAD, "weights", read_only=True)
        tied_vd = None
        if self._tied:
            tied_vd = self._holder.fetch(EMBEDDING, "weights", read_only=True)[TIED]
        losses = self._modules.head_loss(weights, tied_vd, inputs, targets)
        self._holder.release(HEAD, "weights")
        if self._tied:
            self._holder.release(EMBEDDING, "weights")
        return losses
