"""The inputs of the layers, kept from the forward pass to the backward pass.

The lowest layers' are used last: where memory has no room for all, those are spilled to disk.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pipeline.streaming.buffers import lasting
from pipeline.streaming.holders import Holder
from pipeline.streaming.layout import layer_name


class Activations:
    """For each part, its input of every micro-batch, x_btd in fp32."""

    def __init__(self, holder: Holder, spilled_layers: int) -> None:
        self._holder = holder
        self._spilled = {layer_name(number) for number in range(spilled_layers)}
        self._counts: dict[str, int] = {}
        self._kept: dict[str, list[Tensor]] = {}

    def put(self, part: str, inputs: list[Tensor]) -> None:
        """Keep the inputs of ``part``."""
        if part not in self._spilled:
            self._kept[part] = _moved(inputs)
            return
        self._counts[part] = len(inputs)
        for number, x_btd in enumerate(inputs):
            self._holder.spill(f"{part}.{number}", x_btd)

    def prefetch(self, part: str) -> None:
        """The inputs of ``part`` are taken next."""
        for number in range(self._counts.get(part, 0)):
            self._holder.prefetch_spilled(f"{part}.{number}")

    def take(self, part: str) -> list[Tensor]:
        """Give the inputs of ``part`` and keep them no longer."""
        if part in self._kept:
            return self._kept.pop(part)
        count = self._counts.pop(part)
        return [self._holder.unspill(f"{part}.{number}") for number in range(count)]


def _moved(inputs: list[Tensor]) -> list[Tensor]:
    """The same in memory that lasts."""
    pieces = lasting([x_btd.nbytes for x_btd in inputs], inputs[0].device)
    moved = [
        piece.view(x_btd.dtype).view(x_btd.shape)
        for piece, x_btd in zip(pieces, inputs, strict=True)
    ]
    torch._foreach_copy_(moved, inputs)
    return moved
