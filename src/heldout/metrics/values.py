"""Scores of numbers, for many case weightings at once.

Each takes (n,) true and predicted numbers and (draws, n) multiplicities, and returns (draws,) scores.
"""

from __future__ import annotations

import numpy as np

from heldout.metrics.calibration import weighted_mean
from heldout.metrics.ranking import divide


def mean_absolute_error(target: np.ndarray, value: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Mean absolute error, in the target's unit.

    Example:
        >>> import numpy as np
        >>> mean_absolute_error(np.array([10.0, 20.0]), np.array([12.0, 16.0]), np.ones((1, 2))).tolist()
        [3.0]
    """
    return weighted_mean(np.abs(target - value), weights)


def root_mean_squared_error(target: np.ndarray, value: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Root of the mean squared error, in the target's unit."""
    return np.sqrt(weighted_mean((target - value) ** 2, weights))


def r2(target: np.ndarray, value: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Coefficient of determination: 1 of a perfect prediction, 0 of the mean; nan where all targets are equal."""
    centered = target - target.mean()  # of all cases: the variance is then a small difference of small numbers
    error = weighted_mean((target - value) ** 2, weights)
    variance = weighted_mean(centered**2, weights) - weighted_mean(centered, weights) ** 2
    return 1 - divide(error, np.where(variance > 1e-12 * np.square(centered).max(initial=0), variance, 0.0))
