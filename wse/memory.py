"""What lies in the SRAM of a PE at the fullest moment of a training step.

Activations are fp16. A :class:`Policy` says what the forward pass keeps of every block, and what
is computed again, for which the block's forward runs twice:

- ``keep_all`` keeps all that the backward pass needs: nothing is computed again.
- ``keep_inputs`` keeps every block's input; a block is computed again while its weights are
  there for its backward pass.
- ``groups`` keeps the input of every ``interval``-th block; a group is run forward again from
  there, for which its weights stream in once more. Memory is smallest near the square root of
  the blocks.
- ``offload`` sends every block's input to the parameter store and fetches it for the backward
  pass; two are on the wafer at a time (release 2.0).

Attention is computed a row of its matrix at a time, LayerNorm's output again where it is
needed. Two layers' weights, in fp16, are on the wafer: the one at work and the next. All of
this is an assumption, held against published micro-batches by ``python -m wse.validation``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from wse.graph import Graph, Layer, LayerKind
from wse.hardware import Wafer
from wse.mapping import Layout

ACTIVATION_BYTES = 2  # fp16
WEIGHT_BYTES = 2  # fp16, on the wafer
WEIGHT_BUFFERS = 2

# A parameter's fp32 value and gradient, and Adam's two fp32 moments.
STORE_BYTES_PER_PARAMETER = 16


@dataclass(frozen=True)
class Policy:
    """What is kept of the forward pass. ``interval`` 0 keeps all, 1 every block's input.

    ``in_parts``: a sequential block is computed again in two parts, so that only the larger
    one's activations are there at a time.
    """

    name: str
    interval: int
    in_parts: bool = False
    offload: bool = False


def policies(graph: Graph, release: str) -> tuple[Policy, ...]:
    """The policies of a software release, by what its published micro-batches support.

    R1.6 and R1.7.1 have one each. What release 2.0 and later choose from is an assumption; that
    it can off-load activations is published.
    """
    interval = max(1, round(math.sqrt(graph.blocks)))
    groups = Policy("groups", interval, in_parts=True)
    inputs = Policy("keep_inputs", 1)
    if release.startswith("R1.6"):
        return (groups,)
    if release.startswith("R1.7"):
        return (inputs,)
    if release.startswith("R1."):
        return (inputs, groups)
    return (Policy("keep_all", 0), inputs, groups, Policy("offload", 1, offload=True))


@dataclass(frozen=True)
class SramUse:
    """Bytes of one PE at the fullest moment; ``moment`` says which that is."""

    code: int
    weight_buffers: int
    kept_activations: int
    working_set: int
    moment: str

    @property
    def total(self) -> int:
        """Bytes of the PE in all."""
        return self.code + self.weight_buffers + self.kept_activations + self.working_set


def sram_use(wafer: Wafer, graph: Graph, layout: Layout, policy: Policy, sequences: int) -> SramUse:
    """SRAM of a PE with a micro-batch of ``sequences``, idle slots included."""
    tokens = layout.tokens_per_pe(sequences * graph.sequence_length)
    kept, moments = _features_per_token(graph, layout, policy)
    moment = max(moments, key=lambda name: moments[name])
    held = math.ceil(ACTIVATION_BYTES * (kept + moments[moment]) * tokens)
    always = math.ceil(ACTIVATION_BYTES * kept * tokens)
    return SramUse(
        code=wafer.code_bytes_per_pe,
        weight_buffers=weight_buffer_bytes(wafer, graph),
        kept_activations=always,
        working_set=held - always,
        moment=moment,
    )


def largest_micro_batch(wafer: Wafer, graph: Graph, layout: Layout, policy: Policy) -> int:
    """Sequences that fit beside code and weights; 0 if not even one does."""
    free = wafer.sram_bytes_per_pe - wafer.code_bytes_per_pe - weight_buffer_bytes(wafer, graph)
    kept, moments = _features_per_token(graph, layout, policy)
    tokens = math.floor(free / (ACTIVATION_BYTES * (kept + max(moments.values()))))
    return max(0, tokens) * layout.token_pes // graph.sequence_length


def weight_buffer_bytes(wafer: Wafer, graph: Graph) -> int:
    """Bytes of a PE for the largest layer's weights, twice."""
    largest = max(layer.parameters for layer in graph.layers)
    return math.ceil(WEIGHT_BUFFERS * WEIGHT_BYTES * largest / wafer.usable_pes)


def _features_per_token(
    graph: Graph, layout: Layout, policy: Policy
) -> tuple[float, dict[str, float]]:
    """Features of a token that a PE keeps all the time, and those of each moment beside them.

    The moments: the backward pass of a block while all that was kept is still there, and the
    head, whose logits turn into their gradient in place.
    """
    blocks = [layer for layer in graph.layers if layer.kind is LayerKind.block]
    largest = max(blocks, key=lambda layer: layer.saved_elements)
    moments = {
        layer.name: 2 * _held(graph, layout, layer.input_elements)
        + layout.slices(-(-layer.widest_elements // graph.sequence_length))
        for layer in graph.layers
        if layer.kind is LayerKind.head
    }
    if policy.interval == 0:
        kept = sum(_held(graph, layout, block.saved_elements) * block.count for block in blocks)
        return kept, moments | {"block": _gradients(graph, layout, largest)}
    boundary = _held(graph, layout, largest.input_elements)
    kept_inputs = 2 if policy.offload else -(-graph.blocks // policy.interval)
    again = largest.saved_elements - largest.input_elements
    if policy.in_parts and largest.part_elements is not None:
        again = largest.part_elements
    in_block = (policy.interval - 1) * boundary + _held(graph, layout, again)
    moments["block"] = in_block + _gradients(graph, layout, largest)
    return kept_inputs * boundary, moments


def _gradients(graph: Graph, layout: Layout, block: Layer) -> float:
    """The gradients of the block's output and of its widest tensor."""
    return _held(graph, layout, block.input_elements + block.widest_elements)


def _held(graph: Graph, layout: Layout, elements: int) -> float:
    """Features of a token that a PE holds of tensors of ``elements``, dealt out as the hidden."""
    return layout.slices(graph.hidden) * elements / (graph.sequence_length * graph.hidden)
