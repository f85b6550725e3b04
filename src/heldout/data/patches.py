"""Patches of an array. Training and prediction both use these, so that a network predicts what it was trained on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def center(size: Sequence[int], patch: Sequence[int]) -> tuple[int, ...]:
    """First voxel on each axis of the patch in the middle; negative where the case is smaller than the patch."""
    return tuple(-((wanted - length) // 2) for length, wanted in zip(size, patch, strict=True))


def cut_patch(array: np.ndarray, start: Sequence[int], patch: Sequence[int]) -> np.ndarray:
    """Copy a patch of (C, *S), reading nothing else; what lies outside the case is 0.

    Example:
        >>> import numpy as np
        >>> cut_patch(np.arange(1, 10).reshape(1, 3, 3), (1, 1), (3, 3))[0].tolist()
        [[5, 6, 0], [8, 9, 0], [0, 0, 0]]
    """
    inside, target = [slice(None)], [slice(None)]
    for first, wanted, length in zip(start, patch, array.shape[1:], strict=True):
        low, high = max(first, 0), min(first + wanted, length)
        inside.append(slice(low, high))
        target.append(slice(low - first, high - first))
    if all(part.stop - part.start == wanted for part, wanted in zip(target[1:], patch, strict=True)):
        return np.array(array[tuple(inside)])
    result = np.zeros((len(array), *patch), array.dtype)
    result[tuple(target)] = array[tuple(inside)]
    return result


def window_starts(size: int, window: int, overlap: float) -> list[int]:
    """First voxels of the windows that cover an axis; the last one ends where the axis does.

    Example:
        >>> window_starts(100, 64, 0.5)
        [0, 32, 36]
    """
    step = max(int(window * (1 - overlap)), 1)
    last = size - window
    return [min(number * step, last) for number in range(-(-last // step) + 1)]
