"""How long a machine computes at a visit to a part, from the rates measured on it.

A visit is a sum: products by their shapes, attention, passes over memory by their elements, and
the calls of operations. What transfers add is the forecast's (:mod:`pipeline.streaming.forecast`).

Shapes: n tokens of a micro-batch, t of a sequence, d hidden, f feed-forward, v vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.machine_speed.speed import MachineSpeed, Orientation
from pipeline.models.families import TRAITS
from pipeline.models.loss import CHUNK_TOKENS
from pipeline.schema import ModelConfig, TrainConfig
from pipeline.streaming.layout import EMBEDDING, HEAD, PartLayout, gradients_are_fp32
from pipeline.streaming.working_memory import logit_bytes

# Calls of PyTorch in one layer, counted with its profiler.
FORWARD_OPERATIONS, BACKWARD_OPERATIONS, UPDATE_OPERATIONS = 60, 110, 12

FRESH_BLOCK_BYTES = 32 * 2**20
"""The C library gives larger blocks back to the system and takes them anew: mallopt(3)."""


@dataclass(frozen=True)
class ComputeCost:
    """Seconds that the main thread computes, by kind of visit."""

    model: ModelConfig
    train: TrainConfig
    speed: MachineSpeed
    layouts: dict[str, PartLayout]

    def forward(self, part: str) -> float:
        """Of all micro-batches through a part; the head's belongs to its backward pass."""
        if part == EMBEDDING:
            return self._micro_batches * self._passes({"add": 2 * self.model.hidden})
        return self._micro_batches * self._layer_forward()

    def backward(self, part: str, kept: bool) -> float:
        """Of all micro-batches back through a part, computed again unless ``kept``."""
        if part == EMBEDDING:
            return self._embedding_backward()
        if part == HEAD:
            return self._head()
        again = 0.0 if kept else self._layer_forward()
        each = again + self._layer_backward()
        return self._micro_batches * each + self._gradient_passes(self.layouts[part].parameters)

    def update(self, part: str) -> float:
        """Of the optimizer on all of a part's parameters."""
        layout = self.layouts[part]
        rule = f"{self.train.optimizer.value}/{self._precision}"
        operations = UPDATE_OPERATIONS * len(layout.planes["weights"])
        elements = layout.parameters * self.speed.update_nanoseconds[rule] / 1e9
        return elements + operations * self.speed.operation_seconds

    @property
    def _precision(self) -> str:
        return self.train.precision.value

    @property
    def _micro_batches(self) -> int:
        return self.train.global_batch // self.train.micro_batch

    @property
    def _tokens(self) -> int:
        return self.train.micro_batch * self.train.sequence_length

    def _products(self, orientation: Orientation, tokens: int) -> float:
        d, f = self.model.hidden, self.model.feed_forward
        return sum(
            self.speed.product_seconds(self._precision, orientation, tokens, outputs, inputs)
            for outputs, inputs in ((3 * d, d), (d, d), (f, d), (d, f))
        )

    def _passes(self, per_token: dict[str, float]) -> float:
        """Seconds of passes over a micro-batch, given the elements that a token has in each."""
        rates = self.speed.pass_nanoseconds
        return 1e-9 * self._tokens * sum(n * rates[name] for name, n in per_token.items())

    def _layer_forward(self) -> float:
        d, f = self.model.hidden, self.model.feed_forward
        traits = TRAITS[self.model.family]
        rotated = 4.0 * d if traits.rotary else 0.0
        passes = self._passes(
            {
                "layer_norm": traits.layer_norms * d,
                # Normalised values to the type of the products, and sums with the residual.
                f"cast_{self._precision}": 2.0 * d + rotated,
                "add": 2.0 * d,
                f"gelu_{self._precision}": f,
            }
        )
        products = self._products("forward", self._tokens)
        calls = FORWARD_OPERATIONS * self.speed.operation_seconds
        return products + self._attention(backward=False) + passes + calls

    def _layer_backward(self) -> float:
        d, f = self.model.hidden, self.model.feed_forward
        traits = TRAITS[self.model.family]
        rotated = 4.0 * d if traits.rotary else 0.0
        passes = self._passes(
            {
                "layer_norm_backward": traits.layer_norms * d,
                # Gradients to and from the type of the products; of q, k and v into one.
                f"cast_{self._precision}": 7.0 * d + rotated,
                "add": (1.0 + traits.layer_norms) * d,
                f"gelu_backward_{self._precision}": f,
                f"column_sum_{self._precision}": 5.0 * d + f,  # of the biases
            }
        )
        products = sum(
            self._products(orientation, self._tokens)
            for orientation in ("input_gradient", "weight_gradient")
        )
        calls = BACKWARD_OPERATIONS * self.speed.operation_seconds
        return products + self._attention(backward=True) + passes + calls

    def _attention(self, backward: bool) -> float:
        length = self.train.sequence_length
        return self.train.micro_batch * self.speed.attention_seconds(
            self._precision, length, self.model.hidden, self.model.heads, backward
        )

    def _gradient_passes(self, parameters: int) -> float:
        """The sum over micro-batches in fp32, and the gradients' norm."""
        rates = self.speed.pass_nanoseconds
        summed = self._micro_batches if self._micro_batches > 1 else 0
        return 1e-9 * parameters * (summed * rates["add"] + self.speed.norm_nanoseconds)

    def _head(self) -> float:
        d, vocabulary = self.model.hidden, self.model.vocabulary
        matrix = vocabulary * d
        rates = self.speed.pass_nanoseconds
        chunks = -(-self._tokens // CHUNK_TOKENS)
        length = min(self._tokens, CHUNK_TOKENS)
        orientations: tuple[Orientation, ...] = ("forward", "input_gradient", "weight_gradient")
        products = sum(
            self.speed.product_seconds(self._precision, orientation, length, vocabulary, d)
            for orientation in orientations
        )
        # Gradients of several chunks are summed in fp32 and given in the weights' type.
        sums = 0.0 if chunks == 1 else matrix * (chunks + 1) * rates["add"]
        each = (
            products * self._tokens / length
            + self._passes(
                {
                    f"logit_{self._precision}": vocabulary,
                    "layer_norm": d,
                    "layer_norm_backward": d,
                    f"cast_{self._precision}": 2.0 * d,
                }
            )
            + 1e-9 * (sums + self._fresh_logits(length))
            + FORWARD_OPERATIONS * self.speed.operation_seconds
        )
        return self._micro_batches * each + self._gradient_passes(matrix)

    def _fresh_logits(self, chunk_tokens: int) -> float:
        """Nanoseconds for the memory of all logits, of which a chunk's exist at a time."""
        if chunk_tokens * self.model.vocabulary * 4 < FRESH_BLOCK_BYTES:
            return 0.0
        logits = self._tokens * self.model.vocabulary
        return self.speed.pass_nanoseconds["fresh"] * logits * logit_bytes(self.train)

    def _embedding_backward(self) -> float:
        """A tied matrix adds the rows of its tokens to the head's gradient, others to zeros."""
        rates = self.speed.pass_nanoseconds
        matrix = self.layouts[EMBEDDING].parameters
        width = 4 if gradients_are_fp32(self.train) else 2
        zeros = 0 if TRAITS[self.model.family].tied_head else matrix * width
        rows = 4.0 * self.model.hidden * self._tokens * self._micro_batches * rates["add"]
        return 1e-9 * (zeros * rates["fresh"] + rows + matrix * self.speed.norm_nanoseconds)
