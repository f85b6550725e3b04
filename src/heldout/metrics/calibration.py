"""Scores of how far probabilities can be taken at their word, for many case weightings at once.

All are weighted means over the cases, so that a bootstrap is one matrix product.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from heldout.metrics.ranking import divide

CALIBRATION_BINS = 15
_SMALLEST = 1e-7  # a float32 probability of exactly 0 or 1 costs 16.1 nats when wrong, not infinity


def log_loss(truth: np.ndarray, score: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Mean negative log-likelihood of a binary label in nats.

    Args:
        truth: (n,) bool.
        score: (n,) probability.
        weights: (draws, n) multiplicities.

    Returns:
        (draws,) float64.
    """
    return weighted_mean(-np.log(np.clip(np.where(truth, score, 1 - score), _SMALLEST, 1.0)), weights)


def brier(truth: np.ndarray, score: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Mean squared distance between probability and label (Brier 1950); arguments as :func:`log_loss`.

    Example:
        >>> import numpy as np
        >>> brier(np.array([False, True]), np.array([0.2, 0.9]), np.ones((1, 2))).round(3).tolist()
        [0.025]
    """
    return weighted_mean((score - truth) ** 2, weights)


def expected_calibration_error(truth: np.ndarray, score: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Mean distance between stated and observed frequency over 15 equal bins of the probability (Naeini 2015).

    Arguments as :func:`log_loss`. Bins are weighted by their cases; the error of an empty bin is zero.

    Example:
        >>> import numpy as np
        >>> truth, score = np.array([False, True, True, True]), np.array([0.5, 0.5, 0.9, 0.9])
        >>> expected_calibration_error(truth, score, np.ones((1, 4))).round(3).tolist()
        [0.05]
    """
    gap = np.zeros((len(score), CALIBRATION_BINS))
    gap[np.arange(len(score)), _bins(score)] = score - truth
    return divide(np.abs(weights @ gap).sum(1), weights.sum(1))


def maximum_calibration_error(truth: np.ndarray, score: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Largest distance between stated and observed frequency over the bins that hold a case (Naeini 2015).

    Arguments as :func:`log_loss`; nan where all weights are zero.
    """
    bins = _bins(score)
    gap, size = np.zeros((2, len(score), CALIBRATION_BINS))
    gap[np.arange(len(score)), bins] = score - truth
    size[np.arange(len(score)), bins] = 1
    distance = np.abs(divide(weights @ gap, weights @ size))
    empty = np.isnan(distance)
    return np.where(empty.all(1), np.nan, np.where(empty, 0, distance).max(1))


@dataclass(frozen=True, eq=False)
class Reliability:
    """What a reliability diagram shows: one entry per bin of the probability that holds a case.

    Attributes:
        stated: Mean probability of the bin's cases.
        observed: Share of them that are positive.
        cases: Their number.
    """

    stated: np.ndarray
    observed: np.ndarray
    cases: np.ndarray


def reliability_curve(truth: np.ndarray, score: np.ndarray) -> Reliability:
    """Stated and observed frequency in the bins of :func:`expected_calibration_error` (DeGroot and Fienberg 1983).

    Args:
        truth: (n,) bool.
        score: (n,) probability.
    """
    bins = _bins(score)
    cases = np.bincount(bins, minlength=CALIBRATION_BINS)
    held = cases > 0
    stated, observed = (np.bincount(bins, values, CALIBRATION_BINS)[held] / cases[held] for values in (score, truth))
    return Reliability(stated, observed, cases[held])


def weighted_mean(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """(draws,) means of (n,) values under (draws, n) weights, nan where all weights are zero."""
    return divide(weights @ values, weights.sum(1).astype(float))


def _bins(score: np.ndarray) -> np.ndarray:
    return np.minimum((score * CALIBRATION_BINS).astype(int), CALIBRATION_BINS - 1)
