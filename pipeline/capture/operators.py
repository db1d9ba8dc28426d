"""Places the operators of PyTorch: what kind of work each is, on how many elements."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pipeline.capture.values import Value
from wse.graph import OperatorKind

# Where the two factors of a product are among its arguments.
_FACTORS = {
    "aten.mm": (0, 1),
    "aten.addmm": (1, 2),
    "aten.bmm": (0, 1),
    "aten.baddbmm": (1, 2),
    "aten._grouped_mm": (0, 1),
}
# Allocate and write nothing.
_UNWRITTEN = {"aten.empty", "aten.empty_like", "aten.empty_strided", "aten.new_empty"}
_NAMES = {
    OperatorKind.softmax: "_softmax _safe_softmax _softmax_backward_data",
    OperatorKind.normalization: """
        native_layer_norm native_layer_norm_backward _fused_rms_norm _fused_rms_norm_backward
        native_group_norm native_group_norm_backward native_batch_norm native_batch_norm_backward
        rsqrt""",
    OperatorKind.activation: """
        gelu gelu_backward silu silu_backward relu threshold_backward tanh tanh_backward sigmoid
        sigmoid_backward erf elu elu_backward leaky_relu leaky_relu_backward hardswish
        hardswish_backward mish mish_backward softplus softplus_backward log_sigmoid_forward
        log_sigmoid_backward""",
    OperatorKind.embedding: "embedding embedding_dense_backward",
    OperatorKind.cross_entropy: """
        _log_softmax _log_softmax_backward_data nll_loss_forward nll_loss_backward""",
    # Copies, constants, look-ups by index, sorting and dropout; whatever works element by
    # element, or reduces, says so itself.
    OperatorKind.elementwise: """
        clone copy _to_copy cat stack repeat constant_pad_nd roll flip
        arange ones zeros full ones_like zeros_like full_like new_ones new_zeros new_full
        scalar_tensor fill zero tril triu eye
        index index_select index_put index_add _unsafe_index _unsafe_index_put gather scatter
        scatter_add masked_scatter masked_fill slice_backward select_backward slice_scatter
        select_scatter floor_divide cumsum cumprod sort topk histc bincount
        native_dropout native_dropout_backward bernoulli rand rand_like randn randn_like uniform
        normal""",
}
_KINDS = {f"aten.{name}": kind for kind, names in _NAMES.items() for name in names.split()}


@dataclass(frozen=True)
class Product:
    """``count`` products of (rows, inner) with (inner, columns); see :class:`wse.graph.Operator`.

    ``weighted`` if a factor is a weight, of as many ``parameters``, a bias that is added
    included; ``constant`` if neither factor has learned anything.
    """

    count: int
    rows: int
    inner: int
    columns: int
    parameters: int
    weighted: bool
    constant: bool

    @property
    def volume(self) -> int:
        """Multiply-adds of all its products."""
        return self.count * self.rows * self.inner * self.columns


def is_unwritten(operator: str) -> bool:
    """Whether an operator only allocates."""
    return operator in _UNWRITTEN


def kind_of(operator: str, tags: Sequence[torch.Tag]) -> OperatorKind:
    """The kind of an operator that is no product; ``unknown`` if it cannot be placed."""
    name = operator.removesuffix("_")  # in place or not is the same work
    if name in _KINDS:
        return _KINDS[name]
    if torch.Tag.pointwise in tags or torch.Tag.reduction in tags:
        return OperatorKind.elementwise
    return OperatorKind.unknown


def elements_of(
    operator: str, tags: Sequence[torch.Tag], inputs: Sequence[Tensor], outputs: Sequence[Tensor]
) -> int:
    """Elements that an operator goes through: what it writes or, reducing, what it reads."""
    if operator == "aten.embedding_dense_backward":
        return inputs[0].numel()
    if operator == "aten.nll_loss_forward":
        return inputs[1].numel()
    tensors = [*outputs, *inputs] if torch.Tag.reduction in tags else outputs
    return max(tensor.numel() for tensor in tensors)


def product_of(operator: str, arguments: Sequence[Any], values: Sequence[Value]) -> Product | None:
    """The product that an operator is, from its arguments and their values; None if it is none."""
    if operator not in _FACTORS:
        return None
    left, right = (arguments[position] for position in _FACTORS[operator])
    left_value, right_value = (values[position] for position in _FACTORS[operator])
    count, columns = 1, right.shape[-1]
    rows, inner = left.shape[-2:]
    if left.dim() == 3:
        count = left.shape[0]
    weight = _weight(left_value, right_value)
    parameters = 0
    if weight is not None:
        factor = left if weight is left_value else right
        if count > 1 and factor.stride(0) == 0:  # one matrix, expanded over the batch
            count, rows, columns = _folded(factor is right, count, rows, columns)
            factor = factor[0]
        if factor is left:
            rows, columns = columns, rows
        parameters = min(factor.numel(), sum(elements for _, elements in weight.roots))
        if _FACTORS[operator] == (1, 2) and values[0].weight:
            parameters += math.prod(arguments[0].shape)
    constant = not (left_value.learned or right_value.learned)
    return Product(count, rows, inner, columns, parameters, weight is not None, constant)


def _weight(left: Value, right: Value) -> Value | None:
    """The factor that is a weight, a parameter itself before what is made of several things."""
    weights = [value for value in (right, left) if value.weight]
    return next((value for value in weights if value.born == 0), next(iter(weights), None))


def _folded(right: bool, count: int, rows: int, columns: int) -> tuple[int, int, int]:
    return (1, count * rows, columns) if right else (1, rows, count * columns)
