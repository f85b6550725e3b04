"""Ranking metrics: how well probabilities order the cases, for many case weightings at once.

A weighting gives every case a multiplicity: all ones for the plain score, a patient's number of draws in a bootstrap.
The cases are sorted once; each weighting then costs a few passes.
"""

from __future__ import annotations

import numpy as np

_EXACT = 64  # steps whose pairs are counted in float32 before they are added up in float64


def roc_auc(truth: np.ndarray, score: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Area under the ROC curve: the chance that a positive case scores above a negative one, ties counting half.

    Mann and Whitney's statistic (Hanley and McNeil 1982). What the negatives between one positive score and the next
    weigh is one sparse product for all draws; from there on only the positive scores are walked through.

    Args:
        truth: (n,) bool.
        score: (n,) float, higher is more positive.
        weights: (draws, n) multiplicities, not negative. float32 halves the work, and is exact for a bootstrap's small
            whole numbers.

    Returns:
        (draws,) float64 in 0 ... 1, nan where a draw holds one class only.

    Example:
        >>> import numpy as np
        >>> truth, score = np.array([False, True, True]), np.array([0.2, 0.1, 0.9])
        >>> roc_auc(truth, score, np.ones((1, 3))).tolist()
        [0.5]
    """
    if 2 * np.count_nonzero(truth) > len(truth):  # the fewer are walked through
        return 1 - roc_auc(~truth, score, weights)
    steps, place = np.unique(score[truth], return_inverse=True)
    # A negative counts half from the first positive score that is not below it, and wholly from the first above it.
    first, last = (np.searchsorted(steps, score[~truth], side) for side in ("left", "right"))
    both = np.concatenate([np.flatnonzero(~truth)] * 2)
    beaten = _sum_by_group(np.concatenate([first, last]), len(steps) + 1, weights, both) / 2
    positive = _sum_by_group(place, len(steps), weights, np.flatnonzero(truth))
    for step in range(1, len(beaten)):  # in place, a row that fits the cache at a time: faster than a cumulative sum
        beaten[step] += beaten[step - 1]
    wins = np.zeros(len(weights))
    for part in range(0, len(steps), _EXACT):
        rows = slice(part, min(part + _EXACT, len(steps)))
        wins += np.einsum("sd,sd->d", beaten[rows], positive[rows])
    return divide(wins, positive.sum(0, dtype=float) * beaten[-1])


def average_precision(truth: np.ndarray, score: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Area under the precision-recall curve as a step function, tied scores being one step.

    The sum over thresholds of (recall gained) x precision, as scikit-learn's ``average_precision_score``; arguments
    as :func:`roc_auc`.

    Returns:
        (draws,) float64 in 0 ... 1, nan where a draw holds one class only.
    """
    true_positives, predicted = _cumulative(truth, score, weights)
    precision = np.divide(true_positives, predicted, out=np.zeros_like(true_positives), where=predicted > 0)
    area = np.einsum("td,td->d", np.diff(true_positives, axis=0, prepend=0.0), precision)
    one_class = true_positives[-1] >= predicted[-1]
    return np.where(one_class, np.nan, divide(area, true_positives[-1]))


def best_f1(truth: np.ndarray, score: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Highest harmonic mean of precision and recall that any threshold reaches; arguments as :func:`roc_auc`.

    The threshold is chosen on the cases that it scores, and anew in every draw.

    Returns:
        (draws,) float64 in 0 ... 1, nan where a draw holds no positive.
    """
    true_positives, predicted = _cumulative(truth, score, weights)
    return np.where(true_positives[-1] > 0, divide(2 * true_positives, true_positives[-1] + predicted).max(0), np.nan)


def divide(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """Quotient, nan where the denominator is zero: a score without support is undefined, not bad."""
    return np.divide(numerator, denominator, out=np.full(np.shape(numerator), np.nan), where=denominator > 0)


def _cumulative(truth: np.ndarray, score: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(thresholds, draws) weight of the positives, and of all cases, from each score upwards, the highest first."""
    order = np.argsort(-score, kind="stable")
    last_of_tie = np.append(np.flatnonzero(np.diff(score[order])), len(order) - 1)
    sorted_weights = weights[:, order].T.astype(float)
    true_positives = np.cumsum(sorted_weights * truth[order][:, None], axis=0)[last_of_tie]
    return true_positives, np.cumsum(sorted_weights, axis=0)[last_of_tie]


def _sum_by_group(group: np.ndarray, groups: int, weights: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """(groups, draws) sums of the ``chosen`` columns of (draws, n) weights, each column going to its group."""
    if len(weights) == 1:
        return np.bincount(group, weights[0, chosen], groups)[:, None]
    from scipy.sparse import csr_array

    table = csr_array((np.ones(len(group), weights.dtype), (group, chosen)), shape=(groups, weights.shape[1]))
    return table @ weights.T
