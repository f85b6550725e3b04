"""Ranking metrics: how well probabilities order the cases, for many case weightings at once.

A weighting gives every case a multiplicity: all ones for the plain score, 0 for the cases of a patient who is left out.
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
        weights: (draws, n) multiplicities, not negative. float32 halves the work, and is exact for small whole
            numbers.

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

    Example:
        >>> import numpy as np
        >>> truth, score = np.array([False, True, True]), np.array([0.4, 0.9, 0.3])
        >>> average_precision(truth, score, np.ones((1, 3))).round(3).tolist()
        [0.833]
    """
    true_positives, predicted = _cumulative(truth, score, weights)
    precision = np.divide(true_positives, predicted, out=np.zeros_like(true_positives), where=predicted > 0)
    area = np.einsum("td,td->d", np.diff(true_positives, axis=0, prepend=0.0), precision)
    one_class = true_positives[-1] >= predicted[-1]
    return np.where(one_class, np.nan, divide(area, true_positives[-1]))


def roc_auc_within_folds(truth: np.ndarray, score: np.ndarray, weights: np.ndarray, folds: np.ndarray) -> np.ndarray:
    """Share of the pairs of a positive and a negative case of one fold that are ordered correctly, ties counting half.

    It is the mean of the folds' areas, weighted by their pairs. Scores of different folds come from different networks
    and shift against each other: the more of a class a fold holds out, the lower its network, trained on the rest,
    scores that class. Pairs across folds make the pooled area too small (Airola et al. 2009; Forman and Scholz 2010).

    Args:
        truth: (n,) bool.
        score: (n,) float, higher is more positive.
        weights: (draws, n) multiplicities.
        folds: (n,) fold of every case.

    Returns:
        (draws,) float64 in 0 ... 1; pooled where no fold holds both kinds of case.

    Example:
        >>> import numpy as np
        >>> truth, score = np.array([False, True, False, True]), np.array([0.1, 0.2, 0.7, 0.8])
        >>> roc_auc_within_folds(truth, score, np.ones((1, 4)), np.array([0, 0, 1, 1])).tolist()
        [1.0]
        >>> roc_auc(truth, score, np.ones((1, 4))).tolist()
        [0.75]
    """
    wins, pairs = np.zeros((2, len(weights)))
    for fold in np.unique(folds):
        held = folds == fold
        y, w = truth[held], weights[:, held]
        count = (w @ y).astype(float) * (w @ ~y)
        wins += np.where(count > 0, np.nan_to_num(roc_auc(y, score[held], w)) * count, 0)
        pairs += count
    return divide(wins, pairs) if pairs.any() else roc_auc(truth, score, weights)


def average_precision_within_folds(
    truth: np.ndarray, score: np.ndarray, weights: np.ndarray, folds: np.ndarray
) -> np.ndarray:
    """Average precision of cases of several folds, without the bias of comparing scores of different networks.

    A fold alone has too few positives: the average precision of few is too high. So the pooled value is moved by the
    difference of :func:`roc_auc_within_folds` from the pooled area, times the slope of average precision over the area
    where scores are normal with equal variance in both classes (Hanley and McNeil 1982; Boyd et al. 2013).

    Args:
        truth: (n,) bool.
        score: (n,) float, higher is more positive.
        weights: (draws, n) multiplicities.
        folds: (n,) fold of every case.

    Returns:
        (draws,) float64 in 0 ... 1, nan where a draw holds one class only.
    """
    pooled, area = average_precision(truth, score, weights), roc_auc(truth, score, weights)
    share = divide(weights @ truth.astype(float), weights.sum(1).astype(float))
    around = np.clip(np.array([area - 0.01, area + 0.01]), 0.01, 0.99)
    lower, upper = _binormal_precision(around, share)
    slope = divide(upper - lower, around[1] - around[0])
    return np.clip(pooled + slope * (roc_auc_within_folds(truth, score, weights, folds) - area), 0, 1)


def _binormal_precision(area: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Average precision of normal scores of equal variance, by area under the ROC curve and share of positives."""
    from scipy.special import ndtr, ndtri

    nodes = np.linspace(-5, 5, 101)  # of a positive's score, about their mean
    density = np.exp(-(nodes**2) / 2)
    recall, false = ndtr(-nodes), ndtr(-nodes - np.sqrt(2) * ndtri(area)[..., None])
    found = share[:, None] * recall
    return (found / (found + (1 - share[:, None]) * false)) @ density / density.sum()


def best_f1(truth: np.ndarray, score: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Highest harmonic mean of precision and recall that any threshold reaches; arguments as :func:`roc_auc`.

    The threshold is chosen on the cases that it scores, and anew in every draw.

    Returns:
        (draws,) float64 in 0 ... 1, nan where a draw holds no positive.

    Example:
        >>> import numpy as np
        >>> best_f1(np.array([False, True, True]), np.array([0.4, 0.9, 0.3]), np.ones((1, 3))).round(3).tolist()
        [0.8]
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
