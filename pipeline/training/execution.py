"""How parameters are held while a model trains: the seam between the loop and the device.

The loop knows only :class:`Execution`. :class:`Resident` holds every parameter on the device,
the ordinary way.

Legend: b sequences, s one more than the tokens of a sequence.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

import torch

from pipeline.models.decoder import Decoder
from pipeline.schema import Precision, TrainConfig
from pipeline.training.optimizer import adamw, set_learning_rate

MOMENTS = ("exp_avg", "exp_avg_sq", "step")


@dataclass(frozen=True)
class StepResult:
    """Mean loss of a step in nats per token, and the norm of its gradient before clipping.

    ``applied`` is false where either was not finite: the parameters are then as they were.
    """

    loss: float
    gradient_norm: float
    applied: bool


class Execution(Protocol):
    """A way of holding parameters and optimizer state."""

    name: str

    def step(self, tokens_bs: torch.Tensor, learning_rate: float) -> StepResult:
        """Learn one global batch of shape (global_batch, sequence_length + 1)."""
        ...

    def loss(self, batches: Iterable[torch.Tensor]) -> float:
        """Mean loss in nats per token over batches of shape (any, sequence_length + 1)."""
        ...

    def state(self) -> dict[str, torch.Tensor]:
        """Every tensor that a checkpoint must hold, by name."""
        ...

    def restore(self, state: dict[str, torch.Tensor]) -> None:
        """Take up a checkpoint's tensors; raise KeyError where one is missing."""
        ...

    def decoder(self) -> Decoder:
        """The model with its current parameters, for export."""
        ...


class Resident:
    """All parameters, gradients and optimizer state on the device."""

    name = "resident"

    def __init__(self, decoder: Decoder, train: TrainConfig, device: torch.device) -> None:
        self._decoder = decoder.to(device)
        self._train = train
        self._device = device
        self._optimizer = adamw(self._decoder.named_parameters(), train)

    def step(self, tokens_bs: torch.Tensor, learning_rate: float) -> StepResult:
        """Accumulate the gradient over the micro-batches, clip it, update once."""
        self._optimizer.zero_grad(set_to_none=True)
        micro_batches = tokens_bs.split(self._train.micro_batch)
        loss = torch.zeros((), device=self._device)
        for tokens in micro_batches:
            micro_loss = self._micro_batch_loss(tokens) / len(micro_batches)
            micro_loss.backward()
            loss += micro_loss.detach()
        limit = self._train.gradient_clip or float("inf")
        norm = torch.nn.utils.clip_grad_norm_(self._decoder.parameters(), limit)
        applied = bool(torch.isfinite(loss) and torch.isfinite(norm))
        if applied:
            set_learning_rate(self._optimizer, learning_rate)
            self._optimizer.step()
        return StepResult(loss.item(), norm.item(), applied)

    def _micro_batch_loss(self, tokens_bs: torch.Tensor) -> torch.Tensor:
        tokens_bs = tokens_bs.to(self._device)
        bf16 = self._train.precision is Precision.bf16
        with torch.autocast(self._device.type, torch.bfloat16, enabled=bf16):
            return self._decoder.loss(tokens_bs[:, :-1], tokens_bs[:, 1:])

    @torch.no_grad()
    def loss(self, batches: Iterable[torch.Tensor]) -> float:
        """Mean over all tokens, each batch weighted by its sequences."""
        total, sequences = 0.0, 0
        for tokens in batches:
            total += self._micro_batch_loss(tokens).item() * len(tokens)
            sequences += len(tokens)
        return total / sequences

    def state(self) -> dict[str, torch.Tensor]:
        """Parameters as ``parameter/NAME``, AdamW's moments as ``exp_avg/NAME`` and so on."""
        state = {}
        for name, parameter in self._decoder.named_parameters():
            state[f"parameter/{name}"] = parameter.detach()
            moments = self._optimizer.state.get(parameter, {})
            state |= {f"{key}/{name}": moments[key] for key in MOMENTS if key in moments}
        return state

    @torch.no_grad()
    def restore(self, state: dict[str, torch.Tensor]) -> None:
        """Copy the parameters in place and replace the optimizer's state."""
        for name, parameter in self._decoder.named_parameters():
            parameter.copy_(state[f"parameter/{name}"])
            self._optimizer.state[parameter] = {
                key: state[f"{key}/{name}"].to(self._device) for key in MOMENTS
            }

    def decoder(self) -> Decoder:
        """The decoder itself: its parameters are the current ones."""
        return self._decoder
