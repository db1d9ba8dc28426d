"""The scaling law: validation loss against parameters, and how far it can be trusted.

The law is L(N) = E + a N^-b, with L in nats per token and N parameters (the form of Kaplan et
al. 2020, arXiv 2001.08361, and of Hoffmann et al. 2022, arXiv 2203.15556). The irreducible loss
E is fitted where there are enough sizes to tell it apart, and is 0 otherwise. Least squares on
log L; its uncertainty is the prediction interval of that regression, Student's t with the
degrees of freedom that are left, linearized about the fit.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit

from pipeline.reporting.results import Training

CONFIDENCE = 0.95
SIZES_FOR_A_FIT = 3
SIZES_FOR_IRREDUCIBLE_LOSS = 6  # three fitted numbers want as many degrees of freedom left


@dataclass(frozen=True)
class ScalingLaw:
    """A fitted law; ``sizes`` and ``losses`` are the points it was fitted to.

    ``theta`` is (log a', b[, E]) with a' the reducible loss at ``centre`` parameters, and
    ``spread`` the covariance of ``theta`` over the variance of a point, both of log L.
    """

    sizes: np.ndarray
    losses: np.ndarray
    centre: float
    theta: np.ndarray
    spread: np.ndarray
    residual: float

    @property
    def exponent(self) -> float:
        """The exponent b."""
        return float(self.theta[1])

    @property
    def factor(self) -> float:
        """The factor a: the reducible loss, in nats, that one parameter would give."""
        return float(np.exp(self.theta[0] + self.theta[1] * np.log(self.centre)))

    @property
    def irreducible(self) -> float:
        """The loss E, in nats, that no size goes below; 0 where it is not fitted."""
        return float(self.theta[2]) if len(self.theta) > 2 else 0.0

    @property
    def freedom(self) -> int:
        """Degrees of freedom: sizes less fitted numbers."""
        return len(self.sizes) - len(self.theta)

    def loss(self, sizes: np.ndarray) -> np.ndarray:
        """The law at ``sizes`` parameters, nats per token."""
        return np.exp(_log_loss(self.theta, np.log(sizes / self.centre)))

    def band(self, sizes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Lower and upper end of the interval for one more model of each of ``sizes``."""
        x = np.log(sizes / self.centre)
        slopes = _slopes(self.theta, x)
        leverage = np.einsum("np,pq,nq->n", slopes, self.spread, slopes)
        quantile = stdtrit(self.freedom, (1 + CONFIDENCE) / 2)
        reach = quantile * self.residual * np.sqrt(1 + leverage)
        middle = _log_loss(self.theta, x)
        return np.exp(middle - reach), np.exp(middle + reach)


def comparable(trained: list[Training]) -> list[Training]:
    """The runs that one law may join, the smallest first.

    Losses compare only on the same tokens: of several corpora the one with the most sizes is
    taken, and of several runs of one size the best.
    """
    best: dict[tuple[str, int], Training] = {}
    for training in trained:
        key = (training.corpus, training.metrics.parameters)
        if training.evaluation and (key not in best or _loss_of(training) < _loss_of(best[key])):
            best[key] = training
    sizes = Counter(corpus for corpus, _ in best)
    if not sizes:
        return []
    [(corpus, _)] = sizes.most_common(1)
    return [best[key] for key in sorted(best) if key[0] == corpus]


def fit_trained(points: list[Training]) -> ScalingLaw | None:
    """Fit the law to what :func:`comparable` returned."""
    sizes = np.array([training.metrics.parameters for training in points], dtype=float)
    return fit_scaling_law(sizes, np.array([_loss_of(training) for training in points]))


def fit_scaling_law(sizes: np.ndarray, losses: np.ndarray) -> ScalingLaw | None:
    """Fit the law to distinct ``sizes``; ``None`` with fewer than ``SIZES_FOR_A_FIT``."""
    if len(sizes) < SIZES_FOR_A_FIT:
        return None
    centre = float(np.exp(np.mean(np.log(sizes))))
    x, y = np.log(sizes / centre), np.log(losses)
    slope, intercept = np.polyfit(x, y, 1)
    theta = np.array([intercept, -slope])
    if len(sizes) >= SIZES_FOR_IRREDUCIBLE_LOSS:
        theta = _with_irreducible_loss(x, y, theta)
    slopes = _slopes(theta, x)
    errors = y - _log_loss(theta, x)
    residual = float(np.sqrt(errors @ errors / (len(x) - len(theta))))
    spread = np.linalg.pinv(slopes.T @ slopes)
    return ScalingLaw(sizes, losses, centre, theta, spread, residual)


def _loss_of(training: Training) -> float:
    """Validation loss over the whole split, nats per token."""
    return training.evaluation.validation_loss if training.evaluation else np.inf


def _with_irreducible_loss(x: np.ndarray, y: np.ndarray, line: np.ndarray) -> np.ndarray:
    """Fit E too, starting from a straight line.

    An E that comes out as 0 stays one of the fitted numbers: that it could have been larger is
    part of the band.
    """
    from scipy.optimize import least_squares  # a second to load, and only a report fits a law

    lowest = float(np.exp(y.min()))
    start = np.array([line[0] - np.log(2), 2 * line[1], lowest / 2])
    fitted = least_squares(
        lambda theta: _log_loss(theta, x) - y,
        start,
        jac=lambda theta: _slopes(theta, x),
        bounds=([-np.inf, -np.inf, 0.0], [np.inf, np.inf, lowest]),
        x_scale="jac",
    )
    return fitted.x


def _log_loss(theta: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Log of the law, ``x`` being log(N / centre)."""
    reducible = np.exp(theta[0] - theta[1] * x)
    return np.log(reducible + (theta[2] if len(theta) > 2 else 0.0))


def _slopes(theta: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Derivatives of ``_log_loss`` by each of ``theta``: (points, fitted numbers)."""
    reducible = np.exp(theta[0] - theta[1] * x)
    total = reducible + (theta[2] if len(theta) > 2 else 0.0)
    columns = [reducible / total, -x * reducible / total, 1 / total]
    return np.stack(columns[: len(theta)], axis=1)
