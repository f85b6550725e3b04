"""Overlap of masks: voxel counts per class, Dice and IoU per case under a stated empty-mask policy, IoU by slice."""

from __future__ import annotations

import numpy as np

from heldout.errors import UserError
from heldout.metrics.ranking import divide


def count_errors(pred: np.ndarray, truth: np.ndarray, classes: int, exclusive: bool) -> np.ndarray:
    """Count true positives, false positives and false negatives of every class.

    Args:
        pred: (M, *S) uint8. One label map 0 ... K where ``exclusive`` or ``classes`` is 1, else K binary channels.
        truth: (M, *S) uint8, as ``pred``.
        classes: Number K of foreground classes.
        exclusive: Classes exclude each other.

    Returns:
        (K, 3) int64 voxel counts: [true positives, false positives, false negatives].

    Raises:
        UserError: the two masks differ in shape, or hold a label that does not exist.

    Example:
        >>> import numpy as np
        >>> pred, truth = np.zeros((2, 1, 4, 4), np.uint8)
        >>> pred[0, :2], truth[0, 1:3] = 1, 1
        >>> count_errors(pred, truth, classes=1, exclusive=True).tolist()
        [[4, 4, 4]]
    """
    channels = 1 if exclusive or classes == 1 else classes
    if pred.shape != truth.shape or pred.shape[0] != channels:
        raise UserError(
            f"a predicted mask of shape {pred.shape} cannot be compared with a true mask of shape {truth.shape}: "
            f"both need {channels} channel(s) and the image's own size"
        )
    values = classes + 1 if channels == 1 else 2
    counts = np.zeros((classes, 3), np.int64)
    for channel in range(channels):
        table = _joint(pred[channel], truth[channel], values)
        diagonal = np.diagonal(table)
        errors = np.stack([diagonal, table.sum(1) - diagonal, table.sum(0) - diagonal], 1)[1:]
        if channels == 1:
            return errors
        counts[channel] = errors[0]
    return counts


def case_dice(counts: np.ndarray, empty: float) -> np.ndarray:
    """Dice coefficient 2 TP / (2 TP + FP + FN) (Dice 1945).

    Args:
        counts: (..., 3) voxel counts [TP, FP, FN].
        empty: Value where prediction and truth are both empty.

    Returns:
        (...) float64 in 0 ... 1.

    Example:
        >>> import numpy as np
        >>> case_dice(np.array([[4, 4, 4], [0, 0, 0]]), empty=1.0).tolist()
        [0.5, 1.0]
    """
    twice = 2.0 * counts[..., 0]
    return _ratio(twice, twice + counts[..., 1] + counts[..., 2], empty)


def case_iou(counts: np.ndarray, empty: float) -> np.ndarray:
    """Intersection over union TP / (TP + FP + FN) (Jaccard 1912); arguments as :func:`case_dice`.

    Example:
        >>> import numpy as np
        >>> case_iou(np.array([[4, 4, 8], [0, 0, 0]]), empty=1.0).tolist()
        [0.25, 1.0]
    """
    return _ratio(counts[..., 0].astype(float), counts.sum(-1).astype(float), empty)


def case_recall(counts: np.ndarray, empty: float) -> np.ndarray:
    """Share TP / (TP + FN) of the true voxels that are found; arguments as :func:`case_dice`.

    Example:
        >>> import numpy as np
        >>> case_recall(np.array([[4, 0, 12]]), empty=1.0).tolist()
        [0.25]
    """
    return _ratio(counts[..., 0].astype(float), (counts[..., 0] + counts[..., 2]).astype(float), empty)


def case_precision(counts: np.ndarray, empty: float) -> np.ndarray:
    """Share TP / (TP + FP) of the predicted voxels that are true; ``empty`` is its value where nothing is predicted.

    Example:
        >>> import numpy as np
        >>> case_precision(np.array([[4, 1, 0]]), empty=1.0).tolist()
        [0.8]
    """
    return _ratio(counts[..., 0].astype(float), (counts[..., 0] + counts[..., 1]).astype(float), empty)


def case_volume_error(counts: np.ndarray, empty: float) -> np.ndarray:
    """Relative volume error |predicted - true| / true, 0 or more; ``empty`` is its value where nothing is true."""
    return _ratio(
        np.abs(counts[..., 1] - counts[..., 2]).astype(float), (counts[..., 0] + counts[..., 2]).astype(float), empty
    )


def mean_of_positives(values: np.ndarray, counts: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Mean over the cases whose true mask is not empty.

    Args:
        values: (n, *extra) score of every case.
        counts: (n, *extra, 3) voxel counts [TP, FP, FN].
        weights: (draws, n) multiplicities of the cases.

    Returns:
        (draws, *extra) float64, nan where a draw holds no positive case.
    """
    positive = (counts[..., 0] + counts[..., 2] > 0).astype(float)
    return divide(np.tensordot(weights, values * positive, 1), np.tensordot(weights, positive, 1))


def mean_of_all(values: np.ndarray, counts: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Mean over all cases; arguments as :func:`mean_of_positives`."""
    return divide(np.tensordot(weights, values, 1), np.tensordot(weights, np.ones(counts.shape[:-1]), 1))


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


def _joint(pred: np.ndarray, truth: np.ndarray, values: int) -> np.ndarray:
    """(values, values) int64 counts of every (predicted, true) pair of labels."""
    highest = max(int(pred.max(initial=0)), int(truth.max(initial=0)))
    if highest >= values:
        raise UserError(f"a mask holds the label {highest}, but labels end at {values - 1}: check the class list")
    pairs = pred.ravel().astype(np.int32) * values + truth.ravel()
    return np.bincount(pairs, minlength=values * values).reshape(values, values)


def _ratio(numerator: np.ndarray, denominator: np.ndarray, empty: float) -> np.ndarray:
    result = np.full(np.shape(numerator), empty, float)
    return np.divide(numerator, denominator, out=result, where=denominator > 0)
