"""Objects to detect, as rows of a class and the corners of a box, and what masks say of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from heldout.metrics.ignored import IGNORED

Named = tuple[int, Sequence[float], Sequence[float]]  # class, low and high corner in voxels


def object_rows(found: Iterable[Named], axes: int) -> np.ndarray:
    """(n, 1 + 2 axes) rows of class, low and high corner."""
    rows = [[float(number), *low, *high] for number, low, high in found]
    return np.array(rows, float).reshape(-1, 1 + 2 * axes)


def mask_objects(mask: np.ndarray, classes: int) -> np.ndarray:
    """Boxes around the connected regions of every class, diagonal neighbors included.

    Args:
        mask: (M, *spatial) uint8: a label map 0 ... K, or K binary channels; 255 belongs to nothing.
        classes: Number K of classes.

    Example:
        >>> mask_objects(np.array([[[1, 0, 0], [1, 0, 2]]], np.uint8), 2).tolist()
        [[0.0, 0.0, 0.0, 2.0, 1.0], [1.0, 1.0, 2.0, 2.0, 3.0]]
    """
    from scipy.ndimage import find_objects, label

    axes = mask.ndim - 1
    channels = mask if len(mask) == classes > 1 else [mask[0] == number for number in range(1, classes + 1)]
    found: list[Named] = []
    for number, channel in enumerate(channels):
        regions, _ = label((channel > 0) & (channel != IGNORED), np.ones((3,) * axes))
        for place in find_objects(regions):
            found.append((number, [one.start for one in place], [one.stop for one in place]))
    return object_rows(found, axes)
