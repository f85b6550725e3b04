"""Scores of calibrated probabilities, for many case weightings at once.

All are matrix products of the weights, so that many weightings cost little more than one.
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
        truth: (n,) bool true labels.
        score: (n,) probabilities in 0 ... 1.
        weights: (draws, n) multiplicities of the cases.

    Returns:
        (draws,) float64 of at least 0, nan where all weights are zero.

    Example:
        >>> import numpy as np
        >>> log_loss(np.array([False, True]), np.array([0.2, 0.9]), np.ones((1, 2))).round(3).tolist()
        [0.164]
    """
    return weighted_mean(-np.log(np.clip(np.where(truth, score, 1 - score), _SMALLEST, 1.0)), weights)


def brier(truth: np.ndarray, score: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Mean squared distance between probability and label (Brier 1950).

    Arguments and result as :func:`log_loss`, in 0 ... 1.

    Example:
        >>> import numpy as np
        >>> brier(np.array([False, True]), np.array([0.2, 0.9]), np.ones((1, 2))).round(3).tolist()
        [0.025]
    """
    return weighted_mean((score - truth) ** 2, weights)


def expected_calibration_error(truth: np.ndarray, score: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Debiased mean distance of stated and observed frequency over 15 equal bins of the probability (Naeini 2015).

    The few cases of a bin never show exactly the stated frequency, so that the plain error of a perfect network is far
    from zero. What the noise adds to a bin's distance is subtracted: the excess of a folded normal mean over the
    distance that is left of the squared one without the noise (Kumar, Liang and Ma 2019). Bins are weighted by their
    cases; the error of an empty bin is zero. Arguments and result as :func:`log_loss`, in 0 ... 1.

    Example:
        >>> import numpy as np
        >>> truth, score = np.tile([False, True, True, True], 10_000), np.tile([0.5, 0.5, 0.9, 0.9], 10_000)
        >>> expected_calibration_error(truth, score, np.ones((1, 40_000))).round(2).tolist()
        [0.05]
    """
    gap, stated, positive = np.zeros((3, len(score), CALIBRATION_BINS))
    place = np.arange(len(score)), _bins(score)
    gap[place], stated[place], positive[place] = score - truth, score, truth
    size = weights @ (np.arange(CALIBRATION_BINS) == _bins(score)[:, None]).astype(float)
    held = np.maximum(size, 1e-12)
    distance = np.abs(weights @ gap) / held
    rate = (weights @ stated + weights @ positive) / (2 * held)
    debiased = np.maximum(distance - _excess(distance, np.sqrt(rate * (1 - rate) / held)), -1)
    return np.maximum(divide((debiased * size).sum(1), size.sum(1)), 0)


def _excess(distance: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """How much normal noise adds to the mean of an absolute value, at the value that the noise leaves."""
    from scipy.special import ndtr

    left = np.sqrt(np.maximum(distance**2 - noise**2, 0))
    ratio = np.divide(left, noise, out=np.full_like(left, np.inf), where=noise > 0)
    folded = noise * np.sqrt(2 / np.pi) * np.exp(-(ratio**2) / 2)
    return folded - 2 * left * ndtr(-ratio)


def maximum_calibration_error(truth: np.ndarray, score: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Largest distance between stated and observed frequency over the bins that hold a case (Naeini 2015).

    Arguments and result as :func:`log_loss`, in 0 ... 1. It is not debiased.

    Example:
        >>> import numpy as np
        >>> truth, score = np.array([False, True, True]), np.array([0.2, 0.9, 0.9])
        >>> maximum_calibration_error(truth, score, np.ones((1, 3))).round(2).tolist()
        [0.2]
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
        stated: (bins,) mean probability of the bin's cases.
        observed: (bins,) fraction of them that are positive.
        cases: (bins,) their number.
    """

    stated: np.ndarray
    observed: np.ndarray
    cases: np.ndarray


def reliability_curve(truth: np.ndarray, score: np.ndarray) -> Reliability:
    """Stated and observed frequency in the bins of :func:`expected_calibration_error` (DeGroot and Fienberg 1983).

    Args:
        truth: (n,) bool true labels.
        score: (n,) probabilities in 0 ... 1.

    Returns:
        The diagram, bins in the order of the probability; without a bin where there is no case.

    Example:
        >>> import numpy as np
        >>> curve = reliability_curve(np.array([False, True, True]), np.array([0.2, 0.8, 0.8]))
        >>> curve.stated.round(2).tolist(), curve.observed.tolist(), curve.cases.tolist()
        ([0.2, 0.8], [0.0, 1.0], [1, 2])
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
