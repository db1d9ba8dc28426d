"""What is known of every tensor of a step without its values: what it is made of.

A tensor is known by its storage, so that a view is what it is a view of. Three questions are
answered: is it a weight (made of parameters and nothing else), does it hide the tokens that
follow a token, and is it a matrix of attention scores.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

_TRIANGLES = {"aten.tril", "aten.triu"}
_ZEROS = {"aten.zeros", "aten.zeros_like", "aten.new_zeros"}
_ORDERS = {"aten.le", "aten.lt", "aten.ge", "aten.gt"}


@dataclass(eq=False)
class Scores:
    """The products of queries with keys, (..., rows, columns), up to the products with values.

    ``masked_causally`` once a mask that hides later tokens has joined them, ``masked`` once a
    mask has whose pattern cannot be told, ``normalized`` once they went through a softmax.
    """

    elements: int
    rows: int
    columns: int
    masked_causally: bool = False
    masked: bool = False
    normalized: bool = False

    @property
    def visible(self) -> float:
        """The share of the matrix that is needed: half of a square under a causal mask."""
        return 0.5 if self.masked_causally and self.rows == self.columns else 1.0


@dataclass(eq=False)
class Value:
    """A storage of a step.

    ``elements`` is its size and ``born`` the tick of the operator that wrote it first, 0 for
    what was there before. ``learned``: made of parameters; ``data``: made of the inputs.
    ``roots`` are the parameters that a weight is made of, by name and elements. ``positions``:
    made of constants that the step itself creates, such as the numbers of the positions;
    ``zero``: of nothing but zeros.
    """

    storage: torch.UntypedStorage
    elements: int
    born: int = 0
    learned: bool = False
    data: bool = False
    positions: bool = False
    zero: bool = False
    causal: bool = False
    roots: frozenset[tuple[str, int]] = frozenset()
    scores: Scores | None = None

    @property
    def weight(self) -> bool:
        """Whether it is made of parameters and of no input."""
        return self.learned and not self.data


class Values:
    """The values of one step; each storage is kept, so that its address names it for good."""

    def __init__(self) -> None:
        self._by_storage: dict[int, Value] = {}

    def of(self, tensor: Tensor, tick: int = 0) -> Value:
        """The value that ``tensor`` is or is a view of; a new one is born at ``tick``."""
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key not in self._by_storage:
            elements = storage.nbytes() // tensor.element_size()
            self._by_storage[key] = Value(storage, elements, tick)
        return self._by_storage[key]

    def parameter(self, tensor: Tensor, name: str) -> None:
        """Know ``tensor`` as the parameter ``name``."""
        value = self.of(tensor)
        value.learned = True
        value.roots |= {(name, tensor.numel())}

    def given(self, tensor: Tensor, data: bool = True, causal: bool = False) -> None:
        """Know ``tensor`` as an input, or as a buffer if it is no ``data``."""
        value = self.of(tensor)
        value.data = data
        value.causal = causal

    def derive(
        self, operator: str, inputs: Sequence[Tensor], outputs: Sequence[Tensor], tick: int
    ) -> None:
        """Know ``outputs`` as what ``operator`` made of ``inputs``."""
        sources = [self.of(tensor) for tensor in inputs]
        learned = any(source.learned for source in sources)
        data = any(source.data for source in sources)
        roots = frozenset[tuple[str, int]]()
        if learned and not data:
            roots = roots.union(*(source.roots for source in sources))
        for tensor in outputs:
            value = self.of(tensor, tick)
            value.learned |= learned
            value.data |= data
            value.roots = value.roots | roots if value.weight else frozenset()
            value.positions = all(source.positions for source in sources)
            value.zero = operator in _ZEROS
            value.causal |= _hides_what_follows(operator, sources, inputs, tensor)

    def mask(self, inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> None:
        """Follow scores through an operator, and note what joins them as a mask."""
        scores = next((value.scores for value in map(self.of, inputs) if value.scores), None)
        if scores is None:
            return
        self._join(scores, inputs)
        for tensor in outputs:
            if tensor.numel() == scores.elements:
                self.of(tensor).scores = scores

    def _join(self, scores: Scores, inputs: Sequence[Tensor]) -> None:
        """Note what the other tensors of an operator on scores do to them as masks."""
        for tensor in inputs:
            value = self.of(tensor)
            if value.scores is scores:
                continue
            if value.causal:
                scores.masked_causally = True
            elif tensor.dim() > 1 and min(tensor.shape[-2:]) > 1:
                scores.masked |= not (value.learned or value.zero)


def _hides_what_follows(
    operator: str, sources: Sequence[Value], inputs: Sequence[Tensor], output: Tensor
) -> bool:
    """Whether the output is, or holds, a mask under which a token sees those before it alone.

    That is a triangle, positions along one axis compared with positions along another, and what
    was made of such a mask.
    """
    if operator in _TRIANGLES or any(source.causal for source in sources):
        return True
    return (
        operator in _ORDERS
        and len(inputs) == 2
        and all(source.positions for source in sources)
        and output.numel() > max(tensor.numel() for tensor in inputs)
    )


def is_causal_mask(tensor: Tensor) -> bool:
    """Whether the values of a mask, (..., tokens, tokens), hide exactly what follows a token."""
    if tensor.is_meta or tensor.dim() < 2 or tensor.shape[-1] != tensor.shape[-2]:
        return False
    size = tensor.shape[-1]
    square = tensor.reshape(-1, size, size)[0]
    later = torch.ones(size, size, dtype=torch.bool, device=square.device).triu(1)
    if size < 2 or tensor.numel() != size * size:
        return False
    above, below = square[later], square[~later]
    return bool((above == above[0]).all() and (below == below[0]).all() and above[0] != below[0])
