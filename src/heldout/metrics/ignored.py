"""Voxels that a true mask leaves open: without loss and without score."""

from __future__ import annotations

import numpy as np

IGNORED = 255  # of a true mask, whatever value the files have for it


def hide(values: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Make ignored voxels background: nothing is true there and nothing predicted, so that no score counts them.

    Args:
        values: Mask (M, *S), map (K, *S), or the truth itself.
        truth: True mask (M, *S) or (1, *S), with 255 where it is ignored.

    Returns:
        Array of the type of ``values``; ``values`` itself where nothing is ignored.

    Example:
        >>> import numpy as np
        >>> truth = np.array([[0, 1, 255]], np.uint8)
        >>> hide(np.array([[1, 1, 1]], np.uint8), truth).tolist(), hide(truth, truth).tolist()
        ([[1, 1, 0]], [[0, 1, 0]])
    """
    ignored = truth == IGNORED
    return np.where(ignored, np.zeros((), values.dtype), values) if ignored.any() else values
