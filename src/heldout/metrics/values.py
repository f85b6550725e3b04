"""Scores of numbers, for many case weightings at once."""

from __future__ import annotations

import numpy as np

from heldout.metrics.calibration import weighted_mean
from heldout.metrics.ranking import divide


def mean_absolute_error(target: np.ndarray, value: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Mean absolute error.

    Args:
        target: (n,) true numbers.
        value: (n,) predicted numbers.
        weights: (draws, n) multiplicities of the cases.

    Returns:
        (draws,) float64 in the target's unit, nan where all weights are zero.

    Example:
        >>> import numpy as np
        >>> mean_absolute_error(np.array([10.0, 20.0]), np.array([12.0, 16.0]), np.ones((1, 2))).tolist()
        [3.0]
    """
    return weighted_mean(np.abs(target - value), weights)


def root_mean_squared_error(target: np.ndarray, value: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Root of the mean squared error; arguments and result as :func:`mean_absolute_error`.

    Example:
        >>> import numpy as np
        >>> root_mean_squared_error(np.array([10.0, 20.0]), np.array([12.0, 16.0]), np.ones((1, 2))).round(2).tolist()
        [3.16]
    """
    return np.sqrt(weighted_mean((target - value) ** 2, weights))


def r2(target: np.ndarray, value: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Coefficient of determination: 1 of a perfect prediction, 0 of the mean.

    Arguments as :func:`mean_absolute_error`.

    Returns:
        (draws,) float64 of at most 1, nan where all targets are equal.

    Example:
        >>> import numpy as np
        >>> r2(np.array([10.0, 20.0]), np.array([12.0, 16.0]), np.ones((1, 2))).round(2).tolist()
        [0.6]
    """
    centered = target - target.mean()  # of all cases: the variance is then a small difference of small numbers
    error = weighted_mean((target - value) ** 2, weights)
    variance = weighted_mean(centered**2, weights) - weighted_mean(centered, weights) ** 2
    return 1 - divide(error, np.where(variance > 1e-12 * np.square(centered).max(initial=0), variance, 0.0))
