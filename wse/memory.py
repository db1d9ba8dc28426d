"""What lies in the SRAM of a PE at the fullest moment of a training step.

Activations are fp16. The forward pass keeps the input of every ``interval``-th block and drops
the rest; the backward pass computes it again, which costs a second forward pass:

- ``interval`` 1 keeps every block's input. A block is computed again while its weights are there
  for its backward pass, so weights stream in twice per micro-batch.
- Above 1, a group of ``interval`` blocks is first run forward again from its one kept input,
  now keeping the inputs of its blocks, for which its weights stream in a third time. Memory is
  smallest near ``interval`` = sqrt(blocks).

Weights and gradients pass through and are never kept. Attention is computed a row of its matrix
at a time, LayerNorm's output again where it is needed. The policy is an assumption, held
against published micro-batches by ``python -m wse.calibrate``.
"""

from __future__ import annotations

import math

from wse.graph import Graph, is_sequential
from wse.hardware import Wafer
from wse.mapping import Layout

ACTIVATION_BYTES = 2  # fp16

# A parameter's fp32 value and gradient, and Adam's two fp32 moments.
STORE_BYTES_PER_PARAMETER = 16


def intervals(graph: Graph) -> tuple[int, ...]:
    """The recomputation policies that a plan chooses from, that with fewer weight passes first."""
    return tuple(sorted({1, round(math.sqrt(graph.shape.layers))}))


def bytes_per_token(graph: Graph, layout: Layout, interval: int) -> int:
    """Bytes of activations on a PE for each token that it holds, at the fullest moment.

    That is the backward pass of a block while all kept inputs are still there, or the head, when
    the logits (which turn into their gradient in place) stand beside the kept inputs.
    """
    hidden = layout.slices(graph.shape.hidden)
    kept = -(-graph.shape.layers // interval)
    in_block = (kept + interval - 1 + block_vectors(graph)) * hidden
    in_head = (kept + 2) * hidden + layout.slices(graph.head.outputs)
    return ACTIVATION_BYTES * max(in_block, in_head)


def block_vectors(graph: Graph) -> int:
    """Vectors of hidden size that a block's backward pass holds for a token beside its input.

    Query, key, value and the attention's output; the residual between attention and
    feed-forward, if the block is sequential; the feed-forward before and after its GELU; the
    gradients of the block's output and of the widest tensor within.
    """
    wide = -(-graph.shape.feed_forward // graph.shape.hidden)
    residual = 1 if is_sequential(graph.shape) else 0
    return 4 + residual + 2 * wide + 1 + max(wide, 3)


def activation_bytes(
    wafer: Wafer, graph: Graph, layout: Layout, interval: int, sequences: int
) -> int:
    """SRAM of the whole wafer that a micro-batch of ``sequences`` takes, idle slots included."""
    tokens_per_pe = layout.tokens_per_pe(sequences * graph.shape.sequence_length)
    return bytes_per_token(graph, layout, interval) * tokens_per_pe * wafer.usable_pes


def largest_micro_batch(wafer: Wafer, graph: Graph, layout: Layout, interval: int) -> int:
    """Sequences whose activations fit beside the code; 0 if not even one sequence does."""
    free_bytes_per_pe = wafer.sram_bytes_per_pe - wafer.code_bytes_per_pe
    tokens_per_pe = free_bytes_per_pe // bytes_per_token(graph, layout, interval)
    return tokens_per_pe * layout.token_pes // graph.shape.sequence_length
