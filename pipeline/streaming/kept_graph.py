"""A layer's graph, kept from the forward to the backward pass without the layer's weights.

Autograd saves a product's matrix beside its input. Of a streamed layer that is most of what it
saves, and the backward pass has the weights at hand anyway, to update them. So the graph saves
where in the layer's weights a tensor lay, and is given the weights again when it is needed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor, nn


class _Place(NamedTuple):
    """A view of the layer's ``number``-th parameter; ``offset`` in elements."""

    number: int
    offset: int
    size: torch.Size
    stride: tuple[int, ...]


@dataclass
class KeptGraph:
    """A layer's passes of all micro-batches, x_btd -> x_btd.

    ``parameters`` are the leaves that gradients are asked of; they hold no memory once
    :meth:`without_weights` has ended.
    """

    parameters: list[nn.Parameter]
    inputs: list[Tensor]
    outputs: list[Tensor] = field(default_factory=list)
    _weights: Sequence[Tensor] = ()

    @contextmanager
    def without_weights(self) -> Iterator[None]:
        """What is computed herein saves all that its backward pass needs but the weights."""
        self._weights = self.parameters
        try:
            with torch.autograd.graph.saved_tensors_hooks(self._pack, self._unpack):
                yield
        finally:
            self._weights = ()
            for parameter in self.parameters:
                parameter.data = parameter.new_empty(()).expand(parameter.shape)

    @contextmanager
    def with_weights(self, weights: Sequence[Tensor]) -> Iterator[None]:
        """The backward pass may be taken herein; ``weights`` are those of the forward pass."""
        self._weights = weights
        try:
            yield
        finally:
            self._weights = ()

    def _pack(self, saved: Tensor) -> Tensor | _Place:
        for number, weight in enumerate(self._weights):
            offset = saved.data_ptr() - weight.data_ptr()
            if saved.dtype is weight.dtype and 0 <= offset < weight.nbytes:
                elements = offset // weight.element_size()
                return _Place(number, elements, saved.size(), saved.stride())
        return saved

    def _unpack(self, packed: Tensor | _Place) -> Tensor:
        if isinstance(packed, Tensor):
            return packed
        weight = self._weights[packed.number].detach()
        start = weight.storage_offset() + packed.offset
        return weight.as_strided(packed.size, packed.stride, start)
