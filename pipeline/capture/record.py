"""Records the operators of a step as PyTorch dispatches them, forward and backward.

Nothing is computed: every tensor is on the meta device and has a shape alone. An operator of
the backward pass is tied to the operator of the forward pass that it differentiates, by the
number that autograd gives to both, and with it to the module that ran it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from pipeline.capture.operators import Product, elements_of, is_unwritten, kind_of, product_of
from pipeline.capture.step import Call, Place, Record, belongs_to_attention, differentiate
from pipeline.capture.values import Scores, Value, Values
from wse.graph import OperatorKind

_ATTENTION = F.scaled_dot_product_attention


class Recorder(TorchDispatchMode):
    """Records what runs while it is entered.

    ``saved`` holds what autograd keeps for the backward pass, and ``uses`` the ticks at which
    each parameter is used, with whether it was in a product. ``failed`` names the first operator
    that raised.
    """

    def __init__(self, module: nn.Module, values: Values) -> None:
        super().__init__()
        self.values = values
        self.records: list[Record] = []
        self.calls: list[Call] = []
        self.saved: list[tuple[int, Value]] = []
        self.uses: dict[str, list[tuple[int, bool]]] = {}
        self.failed: str | None = None
        self.tick = 0
        self._module = module
        self._stack = [Call("", module, 0)]
        self._places: dict[int, Place] = {}
        self._last = Place(self._stack[0], 0, False)
        self._backward = False
        self._fused_since: int | None = None

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Record operators, calls of modules and what autograd keeps."""
        with ExitStack() as stack:
            for name, module in self._module.named_modules():
                if name:
                    self._watch(stack, name, module)
            stack.enter_context(patch.object(F, "scaled_dot_product_attention", self._attention))
            stack.enter_context(
                torch.autograd.graph.saved_tensors_hooks(self._pack, lambda tensor: tensor)
            )
            stack.enter_context(self)
            yield

    def turn_back(self) -> None:
        """What is recorded from here on is the backward pass."""
        self._backward = True

    def _watch(self, stack: ExitStack, name: str, module: nn.Module) -> None:
        def enter(module: nn.Module, args: Any, kwargs: Any) -> None:
            tensors = _tensors((args, kwargs))
            self.tick += 1
            call = Call(name, module, self.tick, inputs=[self.values.of(one) for one in tensors])
            call.input_shape = tuple(tensors[0].shape) if tensors else ()
            self.calls.append(call)
            self._stack.append(call)

        def leave(module: nn.Module, args: Any, output: Any) -> None:
            call = self._stack.pop()
            self.tick += 1
            call.stop = self.tick
            call.outputs = [self.values.of(one) for one in _tensors(output)]

        for handle in (
            module.register_forward_pre_hook(enter, with_kwargs=True),
            module.register_forward_hook(leave),
        ):
            stack.callback(handle.remove)

    def _attention(self, *args: Any, **kwargs: Any) -> Tensor:
        """Attention as one kernel: it keeps its factors, what takes its result keeps that."""
        since, self._fused_since = self._fused_since, self.tick
        try:
            gathered = _ATTENTION(*args, **kwargs)
        finally:
            self._fused_since = since
        for tensor in _tensors((args, kwargs))[:3]:
            self._keep(tensor)
        return gathered

    def _pack(self, tensor: Tensor) -> Tensor:
        if not self._backward and self._fused_since is None:
            self._keep(tensor)
        return tensor

    def _keep(self, tensor: Tensor) -> None:
        self.saved.append((self.tick, self.values.of(tensor, self.tick)))

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        """Run an operator and record it."""
        operator = func._schema.name.replace("::", ".")
        try:
            result = func(*args, **(kwargs or {}))
        except Exception:
            self.failed = self.failed or operator
            raise
        self._note(operator, func, args, _tensors((args, kwargs)), _tensors(result))
        return result

    def _note(
        self,
        operator: str,
        func: Any,
        args: Sequence[Any],
        inputs: list[Tensor],
        outputs: list[Tensor],
    ) -> None:
        self.tick += 1
        running = torch._C._current_autograd_node()
        backward = self._backward or running is not None
        place = self._differentiated(running) if backward else self._here()
        before = [self.values.of(tensor) for tensor in inputs]
        after = [self.values.of(tensor, self.tick) for tensor in outputs]
        if not outputs or _is_view(func, before, after):
            return
        product = product_of(operator, args, before)
        scores = next((value.scores for value in before if value.scores), None)
        self.values.derive(operator, inputs, outputs, self.tick)
        record = Record(
            operator,
            self._kind(operator, func.tags, product),
            place,
            backward,
            elements_of(operator, func.tags, inputs, outputs),
            max(tensor.numel() for tensor in outputs),
            product,
            scores=scores,
        )
        if backward:
            differentiate(record)
        else:
            self._advance(record, before, inputs, outputs)
        if is_unwritten(operator) or (place.fused and not belongs_to_attention(record)):
            return
        self.records.append(record)
        # Of what has no gradient of its own, the products of a custom function alone matter.
        if not backward and (place is self._last or product is not None):
            self._last.records.append(record)

    def _kind(
        self, operator: str, tags: Sequence[torch.Tag], product: Product | None
    ) -> OperatorKind:
        if product is None:
            return kind_of(operator, tags)
        if product.weighted:
            return OperatorKind.linear
        return OperatorKind.elementwise if product.constant else OperatorKind.attention

    def _advance(
        self, record: Record, before: list[Value], inputs: list[Tensor], outputs: list[Tensor]
    ) -> None:
        """What an operator of the forward pass does to scores, and which parameters it uses."""
        after = [self.values.of(tensor) for tensor in outputs]
        if record.product is None:
            self.values.mask(inputs, outputs)
        elif record.kind is OperatorKind.attention and record.scores is None:
            product = record.product
            record.scores = Scores(outputs[0].numel(), product.rows, product.columns)
            record.makes_scores = True
            after[0].scores = record.scores
        if record.kind is OperatorKind.softmax and record.scores is not None:
            record.scores.normalized = True
        if record.place.fused or any(value.weight for value in after):
            record.widest = 0
        in_product = record.kind is OperatorKind.linear
        for name, _ in frozenset[tuple[str, int]]().union(*(value.roots for value in before)):
            self.uses.setdefault(name, []).append((self.tick, in_product))

    def _here(self) -> Place:
        """Where the forward pass is; what is differentiated together shares its records."""
        place = Place(self._stack[-1], self.tick, self._fused_since is not None)
        number = torch.autograd._get_sequence_nr() - 1
        self._last = self._places.setdefault(number, place)
        return place

    def _differentiated(self, running: Any) -> Place:
        """Where the forward pass was when it ran what is differentiated now."""
        if running is not None:
            self._last = self._places.get(running._sequence_nr(), self._last)
        return self._last


def _is_view(func: Any, inputs: Sequence[Value], outputs: Sequence[Value]) -> bool:
    """Whether an operator only looks at its inputs in another way."""
    if torch.Tag.inplace_view in func.tags:
        return True
    return not func._schema.is_mutable and all(output in inputs for output in outputs)


def _tensors(tree: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]
