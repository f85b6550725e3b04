"""Scores of predicted labels, for many case weightings at once."""

from __future__ import annotations

import numpy as np

from heldout.metrics.ranking import divide


def accuracy(truth: np.ndarray, predicted: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Fraction of correct labels.

    Args:
        truth: (n,) bool true labels.
        predicted: (n,) bool predicted labels.
        weights: (draws, n) multiplicities of the cases.

    Returns:
        (draws,) float64 in 0 ... 1, nan where all weights are zero.

    Example:
        >>> import numpy as np
        >>> truth, predicted = np.array([True, True, False]), np.array([True, False, False])
        >>> accuracy(truth, predicted, np.ones((1, 3))).round(3).tolist()
        [0.667]
    """
    return _share(truth == predicted, np.ones_like(truth), weights)


def sensitivity(truth: np.ndarray, predicted: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Fraction of the positive cases that are predicted positive: recall.

    Arguments and result as :func:`accuracy`, nan without a positive case.

    Example:
        >>> import numpy as np
        >>> truth, predicted = np.array([True, True, False]), np.array([True, False, False])
        >>> sensitivity(truth, predicted, np.ones((1, 3))).round(3).tolist()
        [0.5]
    """
    return _share(predicted, truth, weights)


def specificity(truth: np.ndarray, predicted: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Fraction of the negative cases that are predicted negative.

    Arguments and result as :func:`accuracy`, nan without a negative case.

    Example:
        >>> import numpy as np
        >>> truth, predicted = np.array([True, True, False]), np.array([True, False, False])
        >>> specificity(truth, predicted, np.ones((1, 3))).round(3).tolist()
        [1.0]
    """
    return _share(~predicted, ~truth, weights)


def balanced_accuracy(truth: np.ndarray, predicted: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Mean of sensitivity and specificity.

    Arguments and result as :func:`accuracy`, nan where either is.

    Example:
        >>> import numpy as np
        >>> truth, predicted = np.array([True, True, False]), np.array([True, False, False])
        >>> balanced_accuracy(truth, predicted, np.ones((1, 3))).round(3).tolist()
        [0.75]
    """
    return (sensitivity(truth, predicted, weights) + specificity(truth, predicted, weights)) / 2


def f1(truth: np.ndarray, predicted: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Harmonic mean of precision and recall.

    Arguments and result as :func:`accuracy`, nan without a positive case.

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


def kappa(truth: np.ndarray, predicted: np.ndarray, weights: np.ndarray, *, quadratic: bool = False) -> np.ndarray:
    """Cohen's kappa: agreement beyond chance, 1 where all agree and 0 where chance does as well (Cohen 1960).

    Args:
        truth: (n, K) bool one-hot labels, or (n,) bool of one class.
        predicted: Predicted labels of the same shape.
        weights: (draws, n) multiplicities.
        quadratic: Weigh a disagreement by the square of its distance in grades (Cohen 1968).

    Returns:
        (draws,) float64 of at most 1, nan where all labels and predictions are of one class.

    Example:
        >>> import numpy as np
        >>> grades = np.eye(3, dtype=bool)
        >>> kappa(grades[[0, 1, 2, 2]], grades[[0, 1, 2, 0]], np.ones((1, 4)), quadratic=True).round(3).tolist()
        [0.385]
    """
    if truth.ndim == 1:
        truth, predicted = np.stack([~truth, truth], 1), np.stack([~predicted, predicted], 1)
    classes = truth.shape[1]
    pairs = (truth[:, :, None] & predicted[:, None, :]).reshape(len(truth), -1).astype(float)
    found = (weights @ pairs).reshape(-1, classes, classes)
    distance = np.abs(np.arange(classes)[:, None] - np.arange(classes)).astype(float)
    cost = distance**2 if quadratic else (distance > 0).astype(float)
    expected = found.sum(2)[:, :, None] * found.sum(1)[:, None, :]
    return 1 - divide((cost * found).sum((1, 2)) * found.sum((1, 2)), (cost * expected).sum((1, 2)))


def probabilistic_f1(truth: np.ndarray, score: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """F1 with probabilities in the place of predicted labels (Yacouby and Axman 2020), as in RSNA 2022.

    Args:
        truth: (n,) bool.
        score: (n,) probability.
        weights: (draws, n) multiplicities.

    Returns:
        (draws,) float64 in 0 ... 1, nan without a positive case.

    Example:
        >>> import numpy as np
        >>> truth, score = np.array([True, True, False]), np.array([0.9, 0.5, 0.2])
        >>> probabilistic_f1(truth, score, np.ones((1, 3))).round(3).tolist()
        [0.778]
    """
    positives = weights @ truth.astype(float)
    value = divide(2 * (weights @ (truth * score)), positives + weights @ score)
    return np.where(positives > 0, value, np.nan)
