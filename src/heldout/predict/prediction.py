"""One network's answer for one case, and how answers are averaged. Free of torch, so that reading them stays fast."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from heldout.metrics.ignored import hide
from heldout.metrics.masks import presence_count

HALF = 128  # the smallest stored value that means a probability of 0.5 or more


@dataclass(frozen=True, eq=False)
class Prediction:
    """Probabilities of one case.

    Attributes:
        case_id: The case.
        scores: (K,) float32 in 0 ... 1: probability of each class; of a segmentation, :func:`presence`, or what the
            network's second head says; of a regression, its numbers.
        map: (K, *spatial) uint8 on the grid of the case's own file, ``round(255 p)``; None for classification.
        mask: (M, *spatial) uint8 as it is shipped; None where it is the map at one half.
        detections: (m, 3 + 2 D) as they are shipped and scored; None where they are those of the map.
    """

    case_id: str
    scores: np.ndarray
    map: np.ndarray | None = None
    mask: np.ndarray | None = None
    detections: np.ndarray | None = None


def mean_predictions(predictions: Sequence[Prediction]) -> Prediction:
    """Average predictions of one case: the one way in which folds and seeds of a member are put together.

    Maps are averaged as the stored integers and rounded (half to even), so that averaging what was stored and averaging
    what was just predicted give the same. Scores are averaged as they are.

    Raises:
        ValueError: no predictions, or predictions of several cases.
    """
    if len({prediction.case_id for prediction in predictions}) != 1:
        raise ValueError(f"predictions of one case wanted, not of {[p.case_id for p in predictions]}")
    first = predictions[0]
    if len(predictions) == 1:
        return first
    # float64, so that the order of the members cannot move the last bit of what is stored
    every_score = np.stack([prediction.scores for prediction in predictions])
    scores: np.ndarray = every_score.mean(axis=0, dtype=np.float64).astype(np.float32)
    if first.map is None:
        return Prediction(first.case_id, scores)
    total: np.ndarray = np.zeros(first.map.shape, np.float32)
    for prediction in predictions:
        assert prediction.map is not None, "all predictions of a case have a map, or none has"
        total += prediction.map
    return Prediction(first.case_id, scores, np.rint(total / np.float32(len(predictions))).astype(np.uint8))


def presence(probability: np.ndarray) -> np.ndarray:
    """How surely each class occurs in a case: the mean of its most probable voxels.

    Args:
        probability: Map (K, *spatial) uint8.

    Returns:
        (K,) float32 in 0 ... 1: the mean of the highest 0.1 % of voxels, at least ten of them, over 255.

    Example:
        >>> map_ = np.zeros((1, 10, 10), np.uint8)
        >>> map_[0, :5, 0] = 255
        >>> presence(map_).tolist()
        [0.5]
    """
    count = probability[0].size
    wanted = presence_count(count)
    levels = np.arange(256)[::-1]
    scores = []
    for channel in probability:
        histogram = np.bincount(channel.ravel(), minlength=256)[::-1]
        # from the highest level down, each level gives what it has until enough voxels are counted
        before = np.cumsum(histogram) - histogram
        taken = np.clip(wanted - before, 0, histogram)
        scores.append((taken * levels).sum() / (255 * wanted))
    return np.array(scores, np.float32)


def score_known(prediction: Prediction, truth: np.ndarray, *, two_heads: bool = False) -> Prediction:
    """The prediction with the presence scores of the voxels that the truth does not ignore; its map stays whole.

    Args:
        prediction: Of a segmentation.
        truth: True mask (M, *spatial), with 255 where it is ignored.
        two_heads: The scores are those of a second head, which stay too.
    """
    assert prediction.map is not None, "predictions of a segmentation have maps"
    known = hide(prediction.map, truth)
    return prediction if two_heads or known is prediction.map else replace(prediction, scores=presence(known))


def to_mask(probability: np.ndarray, thresholds: Sequence[int] | None, exclusive: bool) -> np.ndarray:
    """Decide every voxel of a map.

    Args:
        probability: Map (K, *spatial) uint8.
        thresholds: (K,) smallest values that count as the class; None is 128, a probability of one half. Several
            exclusive classes have none: there the most probable of background and classes wins.
        exclusive: Classes exclude each other.

    Returns:
        (M, *spatial) uint8: a label map 0 ... K for one class or exclusive classes, else K binary channels.

    Example:
        >>> to_mask(np.array([[0, 100, 128, 255]], np.uint8), None, exclusive=True).tolist()
        [[0, 0, 1, 1]]
    """
    classes = len(probability)
    if exclusive and classes > 1:
        # rounding may lift the sum of the classes above 255; among equals the background wins, then the first class
        background = 255 - probability.sum(axis=0, dtype=np.int16)
        best = probability.max(axis=0)
        return np.where(best > background, probability.argmax(axis=0) + 1, 0).astype(np.uint8)[None]
    limits = np.asarray([HALF] * classes if thresholds is None else thresholds)
    if limits.shape != (classes,):
        raise ValueError(f"{limits.size} thresholds for {classes} classes")
    return (probability >= limits.reshape(-1, *[1] * (probability.ndim - 1))).astype(np.uint8)
