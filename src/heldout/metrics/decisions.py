"""Scores of predicted labels, for many case weightings at once.

Each takes (n,) bool true labels, (n,) bool predicted labels and (draws, n) multiplicities, and returns (draws,) scores
in 0 ... 1, nan where the cases that the score is about are missing.
"""

from __future__ import annotations

import numpy as np

from heldout.metrics.ranking import divide


def accuracy(truth: np.ndarray, predicted: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Share of correct labels.

    Example:
        >>> import numpy as np
        >>> truth, predicted = np.array([True, True, False]), np.array([True, False, False])
        >>> accuracy(truth, predicted, np.ones((1, 3))).round(3).tolist()
        [0.667]
    """
    return _share(truth == predicted, np.ones_like(truth), weights)


def sensitivity(truth: np.ndarray, predicted: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Share of the positive cases that are predicted positive: recall.

    Example:
        >>> import numpy as np
        >>> truth, predicted = np.array([True, True, False]), np.array([True, False, False])
        >>> sensitivity(truth, predicted, np.ones((1, 3))).round(3).tolist()
        [0.5]
    """
    return _share(predicted, truth, weights)


def specificity(truth: np.ndarray, predicted: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Share of the negative cases that are predicted negative.

    Example:
        >>> import numpy as np
        >>> truth, predicted = np.array([True, True, False]), np.array([True, False, False])
        >>> specificity(truth, predicted, np.ones((1, 3))).round(3).tolist()
        [1.0]
    """
    return _share(~predicted, ~truth, weights)


def balanced_accuracy(truth: np.ndarray, predicted: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Mean of sensitivity and specificity.

    Example:
        >>> import numpy as np
        >>> truth, predicted = np.array([True, True, False]), np.array([True, False, False])
        >>> balanced_accuracy(truth, predicted, np.ones((1, 3))).round(3).tolist()
        [0.75]
    """
    return (sensitivity(truth, predicted, weights) + specificity(truth, predicted, weights)) / 2


def f1(truth: np.ndarray, predicted: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Harmonic mean of precision and recall; nan without a positive case, where it is undefined.

    Example:
        >>> import numpy as np
        >>> truth, predicted = np.array([True, True, False]), np.array([True, False, False])
        >>> f1(truth, predicted, np.ones((1, 3))).round(3).tolist()
        [0.667]
    """
    hits = weights @ (truth & predicted).astype(float)
    positives = weights @ truth.astype(float)
    score = divide(2 * hits, positives + weights @ predicted.astype(float))
    return np.where(positives > 0, score, np.nan)


def _share(good: np.ndarray, among: np.ndarray, weights: np.ndarray) -> np.ndarray:
    return divide(weights @ (good & among).astype(float), weights @ among.astype(float))
