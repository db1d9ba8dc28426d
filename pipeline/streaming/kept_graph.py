"""A layer's graph, kept from the forward to the backward pass without the layer's weights.

Autograd saves a product's matrix beside its input. Of a streamed layer that is most of what it
saves, and the backward pass has the weights at hand anyway, to update them. So the graph saves
where in the layer's weights a tensor lay, and is given the weights again when it is needed.

The rest of a micro-batch is moved to one block, in memory of its own: see
:func:`pipeline.streaming.buffers.lasting`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, get_gradient_edge, saved_tensors_hooks

from pipeline.machine import give_back_free_memory
from pipeline.streaming.buffers import lasting

GAPS_BYTES = 2**26
"""Of what is kept, before gaps are given back: fewer are not worth the time that it takes."""


class _View(NamedTuple):
    """A tensor of the memory ``number``: a weight's, or of what is kept; ``offset`` in elements."""

    number: int
    of_weight: bool
    dtype: torch.dtype
    offset: int
    size: torch.Size
    stride: tuple[int, ...]


class Gaps:
    """What the C library keeps between the nodes of kept graphs, too small for the next layer's.

    Seen: 24 MB for each 65 MB that is kept.
    """

    def __init__(self) -> None:
        self._kept_bytes = 0

    def grow(self, kept_bytes: int) -> None:
        """So much more is kept; gives the gaps back if that makes it much."""
        self._kept_bytes += kept_bytes
        if self._kept_bytes >= GAPS_BYTES:
            give_back_free_memory()
            self._kept_bytes = 0


class KeptGraph:
    """A layer's passes of all micro-batches, x_btd -> x_btd; taken back first in, first out."""

    def __init__(self, module: nn.Module, gaps: Gaps) -> None:
        """``module`` holds the weights of the forward pass; ``gaps`` are those of the process."""
        self._module = module
        self._gaps = gaps
        self._parameters = list(module.parameters())
        self._passes: list[tuple[Tensor, GradientEdge]] = []
        self._weights: Sequence[Tensor] = self._parameters

    def forward(self, x_btd: Tensor) -> Tensor:
        """Compute a micro-batch; returns its output, apart from the graph."""
        leaf_btd = x_btd.detach().requires_grad_()
        kept = _Kept(self)
        with saved_tensors_hooks(kept.pack, kept.unpack):
            y_btd = self._module(leaf_btd)
        self._gaps.grow(kept.move())
        _let_go(leaf_btd)
        self._passes.append((leaf_btd, get_gradient_edge(y_btd)))
        return y_btd.detach()

    def let_go_of_weights(self) -> None:
        """They are read no more until they are given again."""
        self._weights = ()
        for parameter in self._parameters:
            _let_go(parameter)

    @contextmanager
    def given(self, weights: Sequence[Tensor]) -> Iterator[None]:
        """Backward passes may be taken herein; ``weights`` are those of the forward pass."""
        self._weights = weights
        try:
            yield
        finally:
            self._weights = ()

    def backward(self, gradient_btd: Tensor) -> tuple[Tensor, ...]:
        """The gradients of the next micro-batch's input, and of every parameter."""
        leaf_btd, output = self._passes.pop(0)
        return torch.autograd.grad([output], [leaf_btd, *self._parameters], [gradient_btd])

    def weight_view(self, saved: Tensor) -> _View | None:
        """Where in the weights ``saved`` lies, if it does."""
        for number, weight in enumerate(self._weights):
            bytes_in = saved.data_ptr() - weight.data_ptr()
            if saved.dtype is weight.dtype and 0 <= bytes_in < weight.nbytes:
                offset = bytes_in // weight.element_size()
                return _View(number, True, saved.dtype, offset, saved.size(), saved.stride())
        return None

    def weight(self, number: int) -> Tensor:
        """The weight given for the backward pass."""
        return self._weights[number].detach()


class _Kept:
    """What the graph of one micro-batch has saved."""

    def __init__(self, graph: KeptGraph) -> None:
        self._graph = graph
        self._storages: list[torch.UntypedStorage] = []
        self._numbers: dict[int, int] = {}
        self._moved: Sequence[Tensor] = ()

    def pack(self, saved: Tensor) -> _View:
        """Note where the tensor lies."""
        if (view := self._graph.weight_view(saved)) is not None:
            return view
        storage = saved.untyped_storage()
        number = self._numbers.setdefault(storage.data_ptr(), len(self._storages))
        if number == len(self._storages):
            # Held until all are moved, so that no other tensor comes to lie at the same address.
            self._storages.append(storage)
        offset = int(saved.storage_offset())
        return _View(number, False, saved.dtype, offset, saved.size(), saved.stride())

    def unpack(self, view: _View) -> Tensor:
        """The tensor, in the weights or where it was moved to."""
        if view.of_weight:
            memory = self._graph.weight(view.number)
        else:
            memory = self._moved[view.number].view(view.dtype)
        return memory.as_strided(view.size, view.stride, memory.storage_offset() + view.offset)

    def move(self) -> int:
        """Copy all that was saved to one block; the tensors may go. Returns how many bytes."""
        sizes = [storage.nbytes() for storage in self._storages]
        self._moved = lasting(sizes, self._storages[0].device)
        for piece, storage in zip(self._moved, self._storages, strict=True):
            piece.copy_(torch.empty_like(piece[:0]).set_(storage))
        self._storages.clear()
        return sum(sizes)


def _let_go(tensor: Tensor) -> None:
    """Free a leaf's memory, of which its graph needs the shape alone."""
    tensor.data = tensor.new_empty(()).expand(tensor.shape)
