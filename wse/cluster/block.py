"""Seconds of one transformer block, and of the vocabulary, for one micro-batch on one GPU.

A kernel takes as long as its arithmetic or its traffic with memory. Traffic is counted in
bytes per element, 16-bit tensors and 8-bit dropout masks, one kernel per named operator.
"""

from __future__ import annotations

from dataclasses import dataclass

from wse.cluster.communication import gather_seconds
from wse.cluster.eras import Era
from wse.cluster.hardware import Cluster
from wse.cluster.products import KERNEL_SECONDS, Machine, pass_seconds, product_seconds
from wse.transformer import Shape

# Bytes that an operator moves for an element, forward and backward.
NORM_BYTES = (4, 10)  # in, out; gradient and input twice (for the weight's too), gradient out
RESIDUAL_BYTES = (6, 6)  # two in, one out; the gradients of both paths are added
DROPOUT_BYTES = (1, 5)  # the mask, as dropout is fused with the residual; gradient, mask, gradient
ACTIVATION_BYTES = (4, 6)  # in, out; gradient, input, gradient
BIAS_BYTES = (0, 2)  # added by the product; its gradient reads the output's
SOFTMAX_BYTES = (4, 6)  # in, out; gradient, output, gradient
SCORE_DROPOUT_BYTES = (5, 5)  # in, mask, out; gradient, mask, gradient
HEAD_LAYOUT_BYTES = (4, 4)  # without flash attention: heads are moved next to each other
JOIN_BYTES = (0, 12)  # with it: the gradients of query, key and value become one tensor
# A logit and its loss in fp32, forward and backward: cast (6), maximum (4), exponential and
# sum (8), gradient (8), cast (4).
LOSS_BYTES = 30
GRADIENT_SUM_BYTES = 8  # a weight's gradient is read and written in fp32

# FlashAttention (arXiv 2205.14135, 2307.08691): scores are computed in squares of so many tokens,
# those on the diagonal whole; backward, scores again and four gradients for the forward's two
# products. A score's maximum, sum and scaling cost about another exponential.
FLASH_TILE = 128
FLASH_PRODUCTS = (1.0, 2.5)
EXPONENTIALS_PER_SCORE = 2


@dataclass(frozen=True)
class Work:
    """Seconds of a GPU by cause."""

    matrix_products: float = 0.0
    attention: float = 0.0
    vector_operators: float = 0.0
    tensor_communication: float = 0.0

    @property
    def seconds(self) -> float:
        """The sum of all causes."""
        return (
            self.matrix_products
            + self.attention
            + self.vector_operators
            + self.tensor_communication
        )

    def __add__(self, other: Work) -> Work:
        return Work(
            self.matrix_products + other.matrix_products,
            self.attention + other.attention,
            self.vector_operators + other.vector_operators,
            self.tensor_communication + other.tensor_communication,
        )

    def __mul__(self, count: float) -> Work:
        return Work(
            self.matrix_products * count,
            self.attention * count,
            self.vector_operators * count,
            self.tensor_communication * count,
        )


@dataclass(frozen=True)
class Passes:
    """A block forward and backward, what is computed again of attention alone, and the vocabulary.

    ``head`` is the product with the vocabulary and the loss, forward and backward.
    """

    forward: Work
    backward: Work
    attention_again: Work
    head: Work


@dataclass(frozen=True)
class Slice:
    """What one GPU of a tensor group holds of a micro-batch."""

    shape: Shape
    micro_batch: int
    tensor_parallel: int
    norm_shards: int

    @property
    def tokens(self) -> int:
        """Tokens of the micro-batch."""
        return self.micro_batch * self.shape.sequence_length

    @property
    def head_batches(self) -> int:
        """Squares of scores on this GPU, one for every sequence and head."""
        return self.micro_batch * self.shape.heads // self.tensor_parallel


def passes(part: Slice, cluster: Cluster, gpu: Machine, era: Era) -> Passes:
    """Seconds of ``part``'s block and vocabulary."""
    traffic = Work(tensor_communication=_tensor_traffic(part, cluster, era))
    forward, backward = (
        Work(
            matrix_products=_block_products(part, gpu, direction),
            attention=_attention(part, gpu, era, direction),
            vector_operators=_vectors(part, gpu, era, direction),
        )
        + traffic
        for direction in (0, 1)
    )
    again = Work(attention=_attention(part, gpu, era, 0))
    return Passes(forward, backward, again, _head(part, gpu))


def _tensor_traffic(part: Slice, cluster: Cluster, era: Era) -> float:
    """Two all-reduces of the hidden states a pass, or as many gathers and reductions."""
    group = part.tensor_parallel
    buffer_bytes = 2.0 * part.tokens * part.shape.hidden
    one = gather_seconds(cluster, group, min(group, cluster.gpus_per_node), buffer_bytes)
    return 4 * one * (1 - era.tensor_communication_hidden)


def _block_products(part: Slice, gpu: Machine, direction: int) -> float:
    """Projections and feed-forward: (outputs, inputs) of each matrix on this GPU."""
    hidden, group = part.shape.hidden, part.tensor_parallel
    inner = part.shape.feed_forward // group
    matrices = (
        (3 * hidden // group, hidden),
        (hidden, hidden // group),
        (inner, hidden),
        (hidden, inner),
    )
    make = _backward_products if direction else _forward_product
    return sum(make(part.tokens, outputs, inputs, gpu) for outputs, inputs in matrices)


def _forward_product(tokens: int, outputs: int, inputs: int, gpu: Machine) -> float:
    return product_seconds(gpu, tokens, outputs, inputs)


def _backward_products(tokens: int, outputs: int, inputs: int, gpu: Machine) -> float:
    """The gradients of the input and of the weight."""
    inputs_gradient = product_seconds(gpu, tokens, inputs, outputs)
    return inputs_gradient + product_seconds(
        gpu, inputs, outputs, tokens, output_bytes=GRADIENT_SUM_BYTES
    )


def _attention(part: Slice, gpu: Machine, era: Era, direction: int) -> float:
    if era.flash_attention:
        return _flash_attention(part, gpu, direction)
    length, batches = part.shape.sequence_length, part.head_batches
    width = part.shape.hidden // part.shape.heads
    scores = product_seconds(gpu, length, length, width, batches)
    mixed = product_seconds(gpu, length, width, length, batches)
    score_bytes = SOFTMAX_BYTES[direction] + (SCORE_DROPOUT_BYTES[direction] if era.dropout else 0)
    softmax = pass_seconds(gpu, score_bytes * batches * length * length)
    moved = HEAD_LAYOUT_BYTES[direction] * part.tokens * part.shape.hidden / part.tensor_parallel
    return (1 + direction) * (scores + mixed) + softmax + pass_seconds(gpu, moved)


def _flash_attention(part: Slice, gpu: Machine, direction: int) -> float:
    """Products and exponentials of the scores that are not masked, one after the other."""
    length = part.shape.sequence_length
    masked = part.shape.family != "bert"
    attended = (length + min(FLASH_TILE, length)) / 2 if masked else length
    rows = part.head_batches * length
    width = part.shape.hidden // part.shape.heads
    flops = 4.0 * width * FLASH_PRODUCTS[direction] * rows * (attended + gpu.startup_depth)
    exponentials = EXPONENTIALS_PER_SCORE * rows * attended
    seconds = flops / gpu.matrix_flops_per_second + exponentials / gpu.exponentials_per_second
    return seconds / gpu.kernel_share + KERNEL_SECONDS


def _vectors(part: Slice, gpu: Machine, era: Era, direction: int) -> float:
    """Two LayerNorms, two residuals with their dropout, the activation, biases and joins."""
    shape, group = part.shape, part.tensor_parallel
    hidden = part.tokens * shape.hidden / part.norm_shards
    inner = part.tokens * shape.feed_forward / group
    outputs = part.tokens * (5 * shape.hidden + shape.feed_forward) / group
    residual = RESIDUAL_BYTES[direction] + (DROPOUT_BYTES[direction] if era.dropout else 0)
    join = JOIN_BYTES[direction] if era.flash_attention else 0
    return (
        2 * pass_seconds(gpu, NORM_BYTES[direction] * hidden)
        + 2 * pass_seconds(gpu, residual * hidden)
        + pass_seconds(gpu, ACTIVATION_BYTES[direction] * inner)
        + pass_seconds(gpu, BIAS_BYTES[direction] * outputs)
        + pass_seconds(gpu, join * part.tokens * shape.hidden / group)
    )


def _head(part: Slice, gpu: Machine) -> Work:
    """Logits, the loss, and their gradients; an encoder has none of them."""
    if part.shape.family == "bert":
        return Work()
    rows = -(-part.shape.vocabulary // part.tensor_parallel)
    products = _forward_product(part.tokens, rows, part.shape.hidden, gpu)
    products += _backward_products(part.tokens, rows, part.shape.hidden, gpu)
    loss = pass_seconds(gpu, float(LOSS_BYTES) * part.tokens * rows)
    return Work(matrix_products=products, vector_operators=loss)
