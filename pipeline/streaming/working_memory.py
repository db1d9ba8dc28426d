"""What a step takes besides the parameters' own memory, phase by phase, in bytes by named term.

The sizes are those of the tensors that :mod:`pipeline.streaming.parts` makes; they were compared
with the resident memory of each kind of visit, for the three families in bf16 and fp32.

Shapes: n tokens of a micro-batch, N of a step, d hidden, f feed-forward, v vocabulary.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from pipeline import machine
from pipeline.choices import Keep, Optimizer, Precision
from pipeline.models.families import TRAITS
from pipeline.models.loss import CHUNK_TOKENS
from pipeline.models.products import BLOCK_ELEMENTS
from pipeline.schema import ModelConfig, TrainConfig
from pipeline.streaming.layout import (
    EMBEDDING,
    HEAD,
    PartLayout,
    gradients_are_fp32,
    layer_name,
)

Terms = dict[str, int]

BASE_BYTES = 780 * 10**6
"""Python, torch, numba with the updates being compiled, mlflow and matplotlib: measured, the peak
of a run of a model of a million parameters; 200 MB less without mlflow."""

FP32_BYTES = 4


@dataclass(frozen=True)
class WorkingMemory:
    """The terms of each phase of a run, the parameters' store and the base process left out."""

    model: ModelConfig
    train: TrainConfig
    layouts: dict[str, PartLayout]
    kept_layers: int = 0
    spilled_layers: int = 0

    def phases(self) -> dict[str, Terms]:
        """Phase -> what is there at once."""
        return {
            "fill": self._fill(),
            "forward": self._boundary(outputs=2) | self._kept() | self._graph(),
            "head": self._boundary(outputs=2) | self._kept() | self._head(),
            "layers": self._boundary(outputs=2) | self._kept() | self._graph() | self._layer(),
            "embedding": self._embedding(),
            "export": self._export(),
        }

    def largest(self) -> Terms:
        """The terms of the phase that takes most."""
        return max(self.phases().values(), key=lambda terms: sum(terms.values()))

    @property
    def boundary_bytes(self) -> int:
        """A step's activations, or their gradients, at one boundary of two parts: N d in fp32."""
        return self._step_tokens * self.model.hidden * FP32_BYTES

    @property
    def carried_bytes(self) -> int:
        """A tied matrix's gradient from the head, kept until the embedding's visit."""
        if not TRAITS[self.model.family].tied_head:
            return 0
        return self.model.vocabulary * self.model.hidden * self._gradient_width

    @property
    def kept_graph_bytes(self) -> int:
        """What a layer's forward pass saves for its backward pass, of all tokens of a step."""
        return self._step_tokens * self._graph_values

    @property
    def _step_tokens(self) -> int:
        return self.train.global_batch * self.train.sequence_length

    @property
    def _tokens(self) -> int:
        return self.train.micro_batch * self.train.sequence_length

    @property
    def _several(self) -> bool:
        return self.train.micro_batch < self.train.global_batch

    @property
    def _bytes(self) -> int:
        """Of an element in the type of the products."""
        return 2 if self.train.precision is Precision.bf16 else FP32_BYTES

    @property
    def _gradient_width(self) -> int:
        """Bytes of an element of a part's gradient, once it is summed."""
        return FP32_BYTES if gradients_are_fp32(self.train) else self._bytes

    @property
    def _graph_values(self) -> int:
        """Bytes per token: normed inputs, q, k, v, attention, both sides of the activation; sums.

        Rotated queries and keys are copies. Attention of bf16 that is taken in fp32 is twice as
        large, which rotary layers have room for: they are parallel and keep one sum.
        """
        d, f = self.model.hidden, self.model.feed_forward
        copies = 2 * d if TRAITS[self.model.family].rotary else 0
        if not copies and self.train.precision is Precision.bf16:
            copies = 4 * d
        return (7 * d + copies + 2 * f) * self._bytes + 2 * d * FP32_BYTES

    def _boundary(self, outputs: int) -> Terms:
        layers = self.model.layers - self.spilled_layers
        return {
            "inputs of the layers": layers * self.boundary_bytes,
            "at the boundary": outputs * self.boundary_bytes,
        }

    def _kept(self) -> Terms:
        return {"kept activations": self.kept_layers * self.kept_graph_bytes}

    def _graph(self) -> Terms:
        d, f = self.model.hidden, self.model.feed_forward
        passing = f * self._bytes + 2 * d * FP32_BYTES
        return {
            "activations of a micro-batch": self._tokens * (self._graph_values + passing),
            "products taken in fp32": self._widened_bytes(f + 4 * d),
        }

    def _widened_bytes(self, values: int) -> int:
        """What a processor without bf16 instructions makes fp32, given the values of a token.

        Both sides of a product, attention, and a block of the matrix: planned for everywhere.
        """
        if self.train.precision is Precision.fp32:
            return 0
        return (self._tokens * values + BLOCK_ELEMENTS) * FP32_BYTES

    def _gradient_bytes(self, parameters: int) -> int:
        """Of one part: as computed, or summed in fp32 beside that of this and the last one."""
        return parameters * (FP32_BYTES + 2 * self._bytes if self._several else self._bytes)

    def _layer(self) -> Terms:
        parameters = self.layouts[layer_name(0)].parameters
        return {
            "gradients": self._gradient_bytes(parameters),
            "weights in fp32": self._computed_bytes(parameters),
            "a matrix laid out for its product": self._largest_matrix_bytes(),
            "gradient of the tied matrix": self.carried_bytes,
        }

    def _largest_matrix_bytes(self) -> int:
        """What a product makes of its matrix; seen with matrices of 300 MB, not explained."""
        specs = self.layouts[layer_name(0)].planes["weights"]
        return max(math.prod(spec.shape) for spec in specs) * self._bytes

    def _computed_bytes(self, parameters: int) -> int:
        """Weights of 2 bytes are made fp32 where products are."""
        fp32 = self.train.precision is Precision.fp32
        narrow = self.train.optimizer is Optimizer.adafactor
        return parameters * FP32_BYTES if fp32 and narrow else 0

    def _head(self) -> Terms:
        matrix = self.model.vocabulary * self.model.hidden
        length = min(self._tokens, CHUNK_TOKENS)
        logits = length * self.model.vocabulary * logit_bytes(self.train)
        summed = self._several or self._tokens > CHUNK_TOKENS
        before = matrix * (FP32_BYTES + (self._bytes if self._several else 0)) if summed else 0
        # The gradient comes when most of what it is computed from has gone.
        after = matrix * self._bytes + 2 * length * self.model.vocabulary * self._bytes
        return {
            "logits and gradient of the head": before + max(logits, after),
            "weights in fp32": self._computed_bytes(matrix),
            "products taken in fp32": self._widened_bytes(self.model.hidden),
        }

    def _embedding(self) -> Terms:
        gradients = self.layouts[EMBEDDING].parameters * self._gradient_width
        return {"gradients": gradients, "at the boundary": 4 * self.boundary_bytes}

    def _fill(self) -> Terms:
        """A tensor in fp32 for each thread, and two halves beside it where a master is split."""
        each = 2 * FP32_BYTES if self._split else FP32_BYTES
        # Read from a directory, tensors come one at a time, beside the form it has them in.
        cores = 1 if self.model.weights else machine.usable_cores()
        each += FP32_BYTES if self.model.weights else 0
        most = 0
        for part in (EMBEDDING, layer_name(0), HEAD):
            specs = self.layouts[part].planes["weights"]
            sizes = sorted((spec.nbytes // spec.dtype.itemsize for spec in specs), reverse=True)
            most = max(most, sum(sizes[:cores]))
        return {"first weights": most * each}

    def _export(self) -> Terms:
        """Masters of a part joined to fp32, and a tensor as a Hugging Face file has it."""
        if self.train.keep is not Keep.model:
            return {}
        each = 2 if self.train.optimizer is Optimizer.adafactor else FP32_BYTES
        part = max(self.layouts.values(), key=lambda layout: layout.parameters)
        joined = FP32_BYTES if self._split else 0
        largest = max(spec.nbytes // spec.dtype.itemsize for spec in part.planes["weights"])
        return {"weights to be written": part.parameters * joined + largest * each}

    @property
    def _split(self) -> bool:
        """Whether the fp32 master is kept in two halves."""
        return self.train.optimizer is not Optimizer.adafactor and self._bytes == 2


def logit_bytes(train: TrainConfig) -> int:
    """Of a logit as computed and in fp32, its softmax, and the gradients of these."""
    return 16 if train.precision is Precision.bf16 else 20
