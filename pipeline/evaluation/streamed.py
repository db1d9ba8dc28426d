"""The loss of a model that memory does not hold: its parts pass by, one after the other.

While a part is there, all sequences of a group pass it; their activations at its boundary are all
that is kept. The next part is read meanwhile.

Shapes: b sequences of a batch, t tokens, s = t + 1, d hidden, v vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor, nn
from torch.func import functional_call

from pipeline.evaluation.arithmetic import computed, multiplied_as, products
from pipeline.models.decoder import Head
from pipeline.models.huggingface import Checkpoint
from pipeline.streaming.layout import (
    EMBEDDING,
    HEAD,
    TIED,
    head_is_tied,
    layer_name,
    part_names,
    part_template,
)

Seen = Callable[[str, int], None]
"""Is told of each batch that passed a part: the part's name, and the batch's tokens."""


class _HeadLoss(nn.Module):
    """The head as a module that gives the loss."""

    def __init__(self, head: nn.Module) -> None:
        super().__init__()
        assert isinstance(head, Head)
        self.head = head

    def forward(self, x_btd: Tensor, targets_bt: Tensor, tied_vd: Tensor | None) -> Tensor:
        """Mean cross-entropy in nats."""
        return self.head.loss(x_btd, targets_bt, tied_vd)


def streamed_loss(
    checkpoint: Checkpoint,
    batches: Iterable[Tensor],
    group_tokens: int,
    device: torch.device,
    seen: Seen = lambda part, tokens: None,
) -> float:
    """Mean loss in nats over all targets of batches of shape (any, s): as the whole model gives it.

    The parts are read once for every ``group_tokens``, or for one batch if that has more.
    """
    total, count = 0.0, 0
    for group in groups(batches, group_tokens):
        for loss, targets in _pass(checkpoint, group, device, seen):
            total += loss * targets
            count += targets
    return total / count


def groups(batches: Iterable[Tensor], group_tokens: int) -> Iterator[list[Tensor]]:
    """Batches of shape (any, s) in lists of at most ``group_tokens`` inputs, or of one batch."""
    group: list[Tensor] = []
    room = group_tokens
    for tokens_bs in batches:
        size = tokens_bs[:, 1:].numel()
        if group and size > room:
            yield group
            group, room = [], group_tokens
        group.append(tokens_bs)
        room -= size
    if group:
        yield group


@torch.no_grad()
def _pass(
    checkpoint: Checkpoint, group: list[Tensor], device: torch.device, seen: Seen
) -> list[tuple[float, int]]:
    """Mean loss and number of targets of each batch, after one reading of all parts."""
    dtype = multiplied_as(checkpoint.matrix_dtype)
    modules = {name: part_template(checkpoint.model, name) for name in (EMBEDDING, layer_name(0))}
    modules[HEAD] = _HeadLoss(part_template(checkpoint.model, HEAD))
    states = [tokens_bs[:, :-1] for tokens_bs in group]  # tokens_bt, then x_btd, then the loss
    for part, weights in _read_ahead(checkpoint, dtype, device):
        module = modules.get(part, modules[layer_name(0)])
        tied_vd = weights.pop(TIED) if part == HEAD and head_is_tied(checkpoint.model) else None
        own = {_name_within(part, name): weight for name, weight in weights.items()}
        for number, tokens_bs in enumerate(group):
            targets_bt = tokens_bs[:, 1:].to(device)
            further = (targets_bt, tied_vd) if part == HEAD else ()
            with products(dtype, device):
                state = functional_call(module, own, (states[number].to(device), *further))
            states[number] = state.cpu()
            seen(part, targets_bt.numel())
        del weights, own, tied_vd  # their memory is the next part's
    return [
        (loss.item(), tokens_bs[:, 1:].numel())
        for loss, tokens_bs in zip(states, group, strict=True)
    ]


def _name_within(part: str, name: str) -> str:
    """A parameter's name in the module of its part; the head is a part of :class:`_HeadLoss`."""
    return name if part == HEAD else name.removeprefix(f"{part}.")


def _read_ahead(
    checkpoint: Checkpoint, dtype: torch.dtype, device: torch.device
) -> Iterator[tuple[str, dict[str, Tensor]]]:
    """Every part as it is computed with, the next one read while one is used.

    A part has to be let go of before the next is asked for: two are in memory, not three.
    """
    parts = part_names(checkpoint.model)
    with ThreadPoolExecutor(max_workers=1) as reader:
        upcoming = reader.submit(_weights, checkpoint, parts[0], dtype, device)
        for part, following in zip(parts, [*parts[1:], None], strict=True):
            weights = upcoming.result()
            if following is not None:
                upcoming = reader.submit(_weights, checkpoint, following, dtype, device)
            yield part, weights
            del weights


def _weights(
    checkpoint: Checkpoint, part: str, dtype: torch.dtype, device: torch.device
) -> dict[str, Tensor]:
    """A part's parameters, and the embedding's matrix for a tied head."""
    names = list(checkpoint.parameters[part])
    if part == HEAD and head_is_tied(checkpoint.model):
        names.append(TIED)
    return {name: computed(checkpoint.read_parameter(name), dtype, device) for name in names}
