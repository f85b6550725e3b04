"""How member predictions become one: the arithmetic that tuning, testing and shipping share.

Weights are whole thousandths, so that blending maps is exact integer arithmetic: what was tuned on tables of distinct
voxels comes out the same on full maps, on any machine.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from heldout.blend.records import WHOLE, Weights

if TYPE_CHECKING:
    from heldout.predict.prediction import Prediction

LEVELS = 256
SMALLEST = 1e-6  # distance of a probability from 0 and 1 where its logit is taken


def to_thousandths(shares: Sequence[float] | np.ndarray) -> tuple[int, ...]:
    """Round non-negative shares to whole thousandths that sum to 1000, by the largest remainders."""
    exact = np.asarray(shares, float) / np.sum(shares) * WHOLE
    whole = np.floor(exact).astype(int)
    order = np.argsort(whole - exact, kind="stable")
    whole[order[: WHOLE - whole.sum()]] += 1
    return tuple(int(value) for value in whole)


def map_of(prediction: Prediction) -> np.ndarray:
    """The map (K, *spatial) uint8 that every prediction of a segmentation has."""
    assert prediction.map is not None, "predictions of a segmentation have maps"
    return prediction.map


def blend_maps(maps: Sequence[np.ndarray] | np.ndarray, weights: Weights) -> np.ndarray:
    """Weighted mean of uint8 probabilities, halves rounded up.

    With rows of their own, each class is the weighted mean of that class. Of exclusive classes, whose first row is that
    of the background (what is missing to 255), the means of background and classes are then divided by their sum, so
    that they are probabilities again: ``p[c] = sum(w[c, m] p[m, c]) / sum(w[k, m] p[m, k])``, the second sum over all
    members and labels. Equal rows give what one row gives. Where every label has the sum 0 (no member that counts for
    a label gives it anything), the background has the probability 1.

    Args:
        maps: One uint8 array per member, all of one shape; (K, ...) where classes have rows of their own.
        weights: Thousandths of the members, summing to 1000: (members,) or (1, members) for all classes alike,
            (K, members) for K classes, or (1 + K, members) for K exclusive classes after their background.

    Returns:
        uint8 array of that shape.

    Example:
        >>> first, second = np.uint8([[200], [40]]), np.uint8([[100], [140]])
        >>> blend_maps([first, second], (500, 500)).ravel().tolist()
        [150, 90]
        >>> blend_maps([first, second], [(1000, 0), (0, 1000)]).ravel().tolist()
        [200, 140]
        >>> blend_maps([first, second], [(1000, 0), (1000, 0), (0, 1000)]).ravel().tolist()
        [144, 101]
    """
    rows = np.atleast_2d(np.asarray(weights, np.int32))
    if (rows == rows[0]).all():
        return _mean(maps, rows[0])
    if len(rows) == len(maps[0]):
        return np.stack([_mean([values[k] for values in maps], row) for k, row in enumerate(rows)])
    total = np.zeros((len(rows), *maps[0].shape[1:]), np.int32)
    for values, of_member in zip(maps, rows.T, strict=True):
        total[0] += of_member[0] * np.maximum(255 - values.sum(0, dtype=np.int32), 0)  # rounding may lift the sum
        for label, weight in enumerate(of_member[1:], start=1):
            if weight:
                total[label] += np.multiply(values[label - 1], weight, dtype=np.int32)
    whole = np.maximum(total.sum(0), 1)
    blended = (2 * 255 * total[1:] + whole) // (2 * whole)
    return np.minimum(blended, 255).astype(np.uint8)


def _mean(maps: Sequence[np.ndarray] | np.ndarray, weights: np.ndarray) -> np.ndarray:
    total = np.full(maps[0].shape, WHOLE // 2, np.int32)
    for values, weight in zip(maps, weights, strict=True):
        if weight:
            total += np.multiply(values, np.int32(weight), dtype=np.int32)
    total //= WHOLE
    return total.astype(np.uint8)


def blend_scores(scores: Sequence[np.ndarray] | np.ndarray, weights: Sequence[int]) -> np.ndarray:
    """Weighted mean of case probabilities, one array per member, as float64."""
    total = np.zeros(np.shape(scores[0]))
    for values, weight in zip(scores, weights, strict=True):
        total += np.asarray(values, float) * weight
    return total / WHOLE


def labels_of(scores: np.ndarray, thresholds: Sequence[int], exclusive: bool) -> np.ndarray:
    """Predicted labels (n, K) bool of case probabilities (n, K).

    Args:
        scores: Probabilities.
        thresholds: Smallest level 0 ... 255 that counts as a class, as for maps. Of several exclusive classes, which
            are then grades in their order, the smallest :func:`grade_levels` of each of them. Empty, the most probable
            class is taken.
        exclusive: The classes exclude each other.
    """
    classes = scores.shape[1]
    if not len(thresholds):
        return np.arange(classes) == scores.argmax(1)[:, None]
    if exclusive and classes > 1:
        reached = grade_levels(scores)[:, None] >= np.asarray(thresholds)[1:]
        return np.arange(classes) == reached.sum(1)[:, None]
    return np.rint(255 * scores) >= np.asarray(thresholds)


def grade_levels(scores: np.ndarray) -> np.ndarray:
    """(n,) expected grade of probabilities (n, K) of ordered classes, on a scale of 0 ... 255."""
    grade = scores @ np.arange(scores.shape[1]) / scores.sum(1)
    return np.rint(255 * grade / (scores.shape[1] - 1))


def middle_cuts(classes: int) -> tuple[int, ...]:
    """Thresholds of ordered classes for :func:`labels_of` that round the expected grade."""
    return (0, *(round(255 * (grade - 0.5) / (classes - 1)) for grade in range(1, classes)))


def inside(scores: np.ndarray) -> np.ndarray:
    """Probabilities kept off 0 and 1, so that they have a logit."""
    return np.clip(np.asarray(scores, float), SMALLEST, 1 - SMALLEST)


def logit(scores: np.ndarray) -> np.ndarray:
    """Logits of probabilities."""
    kept = inside(scores)
    return np.log(kept / (1 - kept))


def sigmoid(values: np.ndarray) -> np.ndarray:
    """Probabilities of logits."""
    return np.exp(-np.logaddexp(0, -values))
