"""Where along an axis a segmentation is good: IoU slice by slice."""

from __future__ import annotations

import numpy as np


def iou_by_depth(pred: np.ndarray, truth: np.ndarray, axis: int = -1) -> tuple[np.ndarray, np.ndarray]:
    """IoU of every slice across an axis.

    Args:
        pred: Predicted mask (*S) bool of one class.
        truth: True mask (*S) bool.
        axis: The axis that the slices are numbered along; the last one of a volume in RAS runs from feet to head.

    Returns:
        (n,) positions, from 0 for the first slice to 1 for the last; (n,) IoU, nan where both masks are empty.

    Example:
        >>> import numpy as np
        >>> truth = np.zeros((4, 4, 3), bool)
        >>> truth[:2, :2, :2] = True
        >>> depth, iou = iou_by_depth(truth, truth)
        >>> depth.tolist(), iou.tolist()
        ([0.0, 0.5, 1.0], [1.0, 1.0, nan])
    """
    pred, truth = (np.moveaxis(np.asarray(mask, bool), axis, 0) for mask in (pred, truth))
    both, either = ((one.reshape(len(one), -1).sum(1)) for one in (pred & truth, pred | truth))
    iou = np.divide(both, either, out=np.full(len(pred), np.nan), where=either > 0)
    return np.linspace(0, 1, len(pred)) if len(pred) > 1 else np.zeros(1), iou


def mean_by_depth(
    profiles: list[tuple[np.ndarray, np.ndarray]], bins: int = 20
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Put profiles of cases with different numbers of slices together.

    Args:
        profiles: What :func:`iou_by_depth` gives for every case.
        bins: Number of equal parts of the depth.

    Returns:
        (bins,) middles of the parts, (bins,) mean IoU of the slices in each, nan without any, and (bins,) their number.
    """
    depth, iou = (np.concatenate([np.empty(0), *parts]) for parts in zip(*profiles, strict=True))
    known = np.isfinite(iou)
    part = np.minimum((depth[known] * bins).astype(int), bins - 1)
    count = np.bincount(part, minlength=bins)
    total = np.bincount(part, iou[known], bins)
    mean = np.divide(total, count, out=np.full(bins, np.nan), where=count > 0)
    return (np.arange(bins) + 0.5) / bins, mean, count
