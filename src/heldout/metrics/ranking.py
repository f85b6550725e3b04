"""Scores of how well probabilities order the cases, for many case weightings at once.

A weighting gives every case a multiplicity: all ones for the plain score, a patient's number of draws in a bootstrap.
The cases are sorted once; each weighting then costs a few passes.
"""

from __future__ import annotations

import numpy as np


def roc_auc(truth: np.ndarray, score: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Area under the ROC curve: the chance that a positive case scores above a negative one, ties counting half.

    Mann and Whitney's statistic (Hanley and McNeil 1982).

    Args:
        truth: (n,) bool.
        score: (n,) float, higher is more positive.
        weights: (draws, n) multiplicities, not negative.

    Returns:
        (draws,) float64 in 0 ... 1, nan where a draw holds one class only.
    """
    order = np.argsort(score[~truth], kind="stable")
    negative_scores = score[~truth][order]
    below = np.zeros((len(order) + 1, len(weights)))
    np.cumsum(weights[:, ~truth].T[order], axis=0, out=below[1:])
    positive = weights[:, truth].T.astype(float)
    lower = np.searchsorted(negative_scores, score[truth], "left")
    upper = np.searchsorted(negative_scores, score[truth], "right")
    wins = np.einsum("pd,pd->d", positive, below[lower])
    wins += np.einsum("pd,pd->d", positive, below[upper])
    return divide(0.5 * wins, positive.sum(0) * below[-1])


def average_precision(truth: np.ndarray, score: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Area under the precision-recall curve as a step function, tied scores being one step.

    The sum over thresholds of (recall gained) x precision, as scikit-learn's ``average_precision_score``; arguments
    as :func:`roc_auc`.

    Returns:
        (draws,) float64 in 0 ... 1, nan where a draw holds one class only.
    """
    order = np.argsort(-score, kind="stable")
    last_of_tie = np.append(np.flatnonzero(np.diff(score[order])), len(order) - 1)
    sorted_weights = weights[:, order].T.astype(float)
    found = np.cumsum(sorted_weights * truth[order][:, None], axis=0)[last_of_tie]
    called = np.cumsum(sorted_weights, axis=0)[last_of_tie]
    precision = np.divide(found, called, out=np.zeros_like(found), where=called > 0)
    area = np.einsum("td,td->d", np.diff(found, axis=0, prepend=0.0), precision)
    one_class = found[-1] >= called[-1]
    return np.where(one_class, np.nan, divide(area, found[-1]))


def divide(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """Quotient, nan where the denominator is zero: a score without support is undefined, not bad."""
    return np.divide(numerator, denominator, out=np.full(np.shape(numerator), np.nan), where=denominator > 0)
