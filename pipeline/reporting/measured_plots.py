"""Panels of what was measured: losses, bits per byte, and the law that is read from them."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import accumulate

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from pipeline.reporting import humane
from pipeline.reporting.canvas import (
    FAINT,
    INK,
    colour,
    count_axis,
    entitle,
    loss_axis,
    tokens_axis,
)
from pipeline.reporting.records import RecordCard
from pipeline.reporting.results import History, Training
from pipeline.reporting.scaling import CONFIDENCE, ScalingLaw

SMOOTHING = 0.02  # reach of the smoothed loss, as a fraction of the steps


def loss_curves(axes: Axes, histories: Mapping[str, History]) -> None:
    """Training loss, faint and smoothed, and validation loss as markers, against tokens.

    ``histories`` go by the label of their curve.
    """
    for index, (label, history) in enumerate(histories.items()):
        ink = colour(index)
        axes.plot(history.tokens, history.losses, color=ink, alpha=0.2, linewidth=0.7)
        axes.plot(history.tokens, smoothed(history.losses), color=ink, linewidth=1.6, label=label)
        tokens, losses = history.validation_tokens, history.validation_losses
        axes.plot(tokens, losses, "o", color=ink, markerfacecolor="white", markersize=5)
    axes.plot([], [], "o", color=FAINT, markerfacecolor="white", markersize=5, label="validation")
    tokens_axis(axes, "tokens seen")
    axes.set_ylabel("loss, nats per token")
    axes.legend()
    entitle(axes, "Loss while training", "measured")


def smoothed(losses: np.ndarray) -> np.ndarray:
    """Exponential moving average that weighs the first losses fairly (bias-corrected)."""
    decay = np.exp(-1 / max(SMOOTHING * len(losses), 1.0))
    weights = 1 - decay ** np.arange(1, len(losses) + 1)
    sums = accumulate(losses, lambda before, loss: decay * before + (1 - decay) * loss, initial=0.0)
    return np.array([*sums][1:]) / weights


def scaling_law(axes: Axes, law: ScalingLaw, reach: float) -> None:
    """The measured losses, the law through them, and its extrapolation to ``reach`` parameters."""
    within = np.geomspace(law.sizes.min(), law.sizes.max(), 50)
    beyond = np.geomspace(law.sizes.max(), reach, 100)
    everywhere = np.concatenate([within, beyond])
    axes.fill_between(
        everywhere,
        *law.band(everywhere),
        color=colour(1),
        alpha=0.15,
        linewidth=0,
        label=f"{100 * CONFIDENCE:.0f} % prediction interval",
    )
    axes.plot(within, law.loss(within), color=INK, linewidth=1.4, label="fit")
    axes.plot(beyond, law.loss(beyond), color=colour(1), linestyle="--", label="extrapolated")
    axes.plot(law.sizes, law.losses, "o", color=INK, label="measured")
    count_axis(axes, "x", "parameters")
    loss_axis(axes, "y", "validation loss, nats per token")
    axes.legend(loc="lower left")
    entitle(axes, "Scaling law", "measured", "extrapolated")


def bits_per_byte(axes: Axes, trained: list[Training]) -> None:
    """Bits per byte of each evaluated model: comparable across tokenizers; lower is better."""
    evaluated = [(i, t, t.evaluation) for i, t in enumerate(trained) if t.evaluation]
    for index, training, evaluation in evaluated:
        bars = axes.barh(training.run, evaluation.bits_per_byte, color=colour(index), height=0.6)
        axes.bar_label(bars, fmt="%.3f", padding=4)
    axes.invert_yaxis()
    axes.grid(axis="y", visible=False)
    axes.margins(x=0.12)
    axes.set_xlabel("bits per byte of validation text (lower is better)")
    entitle(axes, "How well each model predicts text", "measured")


def record_losses(axes: Axes, cards: list[RecordCard]) -> None:
    """The training loss of each step of each record run."""
    for index, card in enumerate(cards):
        steps = range(1, len(card.losses) + 1)
        label = f"{card.model} ({humane.count(card.parameters)})"
        axes.plot(steps, card.losses, "o-", color=colour(index), markersize=4, label=label)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("step")
    axes.set_ylabel("loss, nats per token")
    axes.legend()
    entitle(axes, "Loss of the record runs", "measured")
