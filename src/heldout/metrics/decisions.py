"""Scores of yes-or-no calls, for many case weightings at once.

Each takes (n,) bool truth and calls and (draws, n) multiplicities, and gives (draws,) scores in 0 ... 1, nan where
the cases that the score is about are missing.
"""

from __future__ import annotations

import numpy as np

from heldout.metrics.ranking import divide


def accuracy(truth: np.ndarray, called: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Share of right calls."""
    return _share(truth == called, np.ones_like(truth), weights)


def sensitivity(truth: np.ndarray, called: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Share of the positive cases that are called: recall."""
    return _share(called, truth, weights)


def specificity(truth: np.ndarray, called: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Share of the negative cases that are not called."""
    return _share(~called, ~truth, weights)


def balanced_accuracy(truth: np.ndarray, called: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Mean of sensitivity and specificity."""
    return (sensitivity(truth, called, weights) + specificity(truth, called, weights)) / 2


def f1(truth: np.ndarray, called: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Harmonic mean of precision and recall; nan without a positive case, where it says nothing."""
    hits = weights @ (truth & called).astype(float)
    positives = weights @ truth.astype(float)
    score = divide(2 * hits, positives + weights @ called.astype(float))
    return np.where(positives > 0, score, np.nan)


def _share(good: np.ndarray, among: np.ndarray, weights: np.ndarray) -> np.ndarray:
    return divide(weights @ (good & among).astype(float), weights @ among.astype(float))
