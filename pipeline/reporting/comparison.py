"""Optimizers and arithmetics beside each other: the same model and data, over several seeds."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.reporting.results import Training

STORED_BYTES = {"adamw": 12, "adamw8bit": 6, "adafactor": 2}
"""What each optimizer keeps of a matrix's parameter: the weight and its state."""
REFERENCE = ("adamw", "fp32")


@dataclass(frozen=True)
class Variant:
    """One optimizer and arithmetic: its validation loss in nats per token, by seed."""

    optimizer: str
    precision: str
    learning_rates: list[float]
    losses: Mapping[int, float]

    @property
    def mean(self) -> float:
        """Mean over the seeds."""
        return statistics.fmean(self.losses.values())

    @property
    def spread(self) -> float | None:
        """Standard deviation over the seeds; None for a single one."""
        return statistics.stdev(self.losses.values()) if len(self.losses) > 1 else None


@dataclass(frozen=True)
class Comparison:
    """The variants of one model; the first is what the others are compared with."""

    model: str
    parameters: int
    variants: list[Variant]

    def difference(self, variant: Variant) -> float:
        """How much the mean lies above the reference's, as a fraction of it; lower is better."""
        return variant.mean / self.variants[0].mean - 1

    def by_seed(self, variant: Variant) -> tuple[float, float] | None:
        """Least and largest difference between runs of one seed, which saw the same data."""
        reference = self.variants[0].losses
        common = variant.losses.keys() & reference.keys()
        differences = [variant.losses[seed] / reference[seed] - 1 for seed in common]
        return (min(differences), max(differences)) if differences else None


def compare(trained: list[Training]) -> list[Comparison]:
    """Every model that was trained on the same data with more than one optimizer or arithmetic."""
    groups: dict[tuple[Any, ...], dict[tuple[str, str], list[Training]]] = {}
    for training in trained:
        settings, metrics = training.settings, training.metrics
        same = (
            training.corpus,
            metrics.parameters,
            metrics.model,
            settings.steps,
            settings.sequence_length,
            settings.global_batch,
        )
        kind = (settings.optimizer, metrics.precision)
        if training.validation_loss is None:
            continue
        groups.setdefault(same, {}).setdefault(kind, []).append(training)
    return [
        Comparison(key[2], key[1], [_variant(*kind, kinds[kind]) for kind in _ordered(kinds)])
        for key, kinds in groups.items()
        if len(kinds) > 1
    ]


def _ordered(kinds: Mapping[tuple[str, str], Any]) -> list[tuple[str, str]]:
    return sorted(kinds, key=lambda kind: (kind != REFERENCE, kind))


def _variant(optimizer: str, precision: str, trained: list[Training]) -> Variant:
    """Of several runs of one seed, as with different learning rates, the best is taken."""
    losses: dict[int, float] = {}
    for training in trained:
        seed = training.settings.seed
        loss = training.validation_loss
        losses[seed] = min(math.inf if loss is None else loss, losses.get(seed, math.inf))
    rates = sorted({training.settings.learning_rate for training in trained})
    return Variant(optimizer, precision, rates, losses)
