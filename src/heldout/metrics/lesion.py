"""Lesions as things to be found: connected components of masks, and which of them meet.

Voxels that touch by a face, an edge or a corner belong to one lesion: 26-connectivity in volumes, 8 in images, as in
ISLES 2022 (de la Rosa et al., arXiv:2403.19425) and MSSEG (Commowick et al., Scientific Reports 8, 2018).
"""

from __future__ import annotations

import numpy as np

LESION_COLUMNS = ("lesions", "found", "regions", "false")


def count_lesions(pred: np.ndarray, truth: np.ndarray, share: float = 0.0) -> np.ndarray:
    """Count the lesions of one class, and those that prediction and truth have in common.

    Args:
        pred: Predicted mask (*S) bool.
        truth: True mask (*S) bool.
        share: A true lesion counts as found when at least this share of its voxels is predicted, and a predicted
            region as false when less than this share of its voxels is true; 0 asks for a single voxel in both.

    Returns:
        (4,) int64, in the order of :data:`LESION_COLUMNS`: true lesions, those found, predicted regions, those false.

    Example:
        >>> import numpy as np
        >>> truth, pred = np.zeros((2, 8, 8), bool)
        >>> truth[1, 1], truth[5, 5], pred[1, 1:3], pred[7, 0] = True, True, True, True
        >>> dict(zip(LESION_COLUMNS, count_lesions(pred, truth).tolist()))
        {'lesions': 2, 'found': 1, 'regions': 2, 'false': 1}
    """
    from scipy.ndimage import label

    box = bounding_box(pred | truth)
    pred, truth = pred[box], truth[box]
    touching = np.ones((3,) * pred.ndim, bool)
    found = []
    for mask, other in ((truth, pred), (pred, truth)):
        labels, count = label(mask, structure=touching)
        sizes = np.bincount(labels.ravel(), minlength=count + 1)[1:]
        covered = np.bincount(labels[other], minlength=count + 1)[1:]
        found += [count, int((covered >= np.maximum(share * sizes, 1)).sum())]
    lesions, hit, regions, true_regions = found
    return np.array([lesions, hit, regions, regions - true_regions], np.int64)


def bounding_box(mask: np.ndarray) -> tuple[slice, ...]:
    """Smallest box (one slice per axis) that holds all true voxels; empty where there are none."""
    box = []
    for axis in range(mask.ndim):
        others = tuple(other for other in range(mask.ndim) if other != axis)
        line = np.flatnonzero(mask.any(others))
        box.append(slice(int(line[0]), int(line[-1]) + 1) if len(line) else slice(0, 0))
    return tuple(box)


def class_masks(mask: np.ndarray, classes: int) -> list[np.ndarray]:
    """Masks (*S) bool of every class, of a label map (1, *S) or of binary channels (K, *S)."""
    if len(mask) == classes and classes > 1:
        return [channel > 0 for channel in mask]
    return [mask[0] == value for value in range(1, classes + 1)]
