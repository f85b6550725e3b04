"""From a heat map to detections: its peaks, each with a score, and a point or a box."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from heldout.predict.prediction import HALF

if TYPE_CHECKING:
    from heldout.tasks.finder import Finder


def find_detections(finder: Finder, heat: np.ndarray, thresholds: Sequence[int] | None = None) -> np.ndarray:
    """Detections of a case.

    A peak is a connected region of a class's map that has half of its own highest value or more everywhere, and nothing
    higher. That value is its score. Two maxima without a valley of half their height between them are one peak.

    Args:
        finder: How peaks become points or boxes.
        heat: Map (K, *S) uint8.
        thresholds: (K,) smallest values of detections that are kept; None is one half.

    Returns:
        (m, 3 + 2 D) rows of class, score 0 ... 1, whether it is kept, and the corners of the box in voxels, from the
        edge of the first one; the surest first.

    Example:
        >>> from heldout.tasks.finder import Finder
        >>> heat = np.zeros((1, 6, 6), np.uint8)
        >>> heat[0, 1:3, 2:5] = 204
        >>> find_detections(Finder(objects="boxes"), heat).tolist()
        [[0.0, 0.8, 1.0, 1.0, 2.0, 3.0, 5.0]]
    """
    found = []
    for number, channel in enumerate(heat):
        for level, corners in _peaks(finder, channel):
            found.append([number, level / 255, 0.0, *corners])
    return judge(np.array(found, float).reshape(-1, 3 + 2 * (heat.ndim - 1)), thresholds, len(heat))


def judge(rows: np.ndarray, thresholds: Sequence[int] | None, classes: int) -> np.ndarray:
    """Detections, the surest first, with whether their scores reach the thresholds.

    Args:
        rows: (m, 3 + 2 D) as :func:`find_detections` returns them, in any order.
        thresholds: (K,) smallest values of detections that are kept; None or empty is one half.
        classes: Number K of classes.
    """
    cuts = np.asarray(thresholds or [HALF] * classes)
    rows = rows[np.argsort(-rows[:, 1], kind="stable")]
    kept = np.rint(255 * rows[:, 1]) >= cuts[rows[:, 0].astype(int)]
    return np.concatenate([rows[:, :2], kept[:, None], rows[:, 3:]], 1)


def _peaks(finder: Finder, heat: np.ndarray) -> list[tuple[int, np.ndarray]]:
    """Level and corners (2 D,) of the peaks of one class, the highest first."""
    from scipy.ndimage import center_of_mass, label, maximum, maximum_filter

    lowest = max(1, round(255 * finder.min_score))
    around = np.nonzero(heat >= (lowest + 1) // 2)
    if not len(around[0]):
        return []
    first = np.array([axis.min() for axis in around])
    part = heat[tuple(slice(axis.min(), axis.max() + 1) for axis in around)]
    touching = np.ones((3,) * heat.ndim)
    open_ = np.where(part == maximum_filter(part, 3), part, 0)  # local maxima that no peak explains yet
    found: list[tuple[int, np.ndarray]] = []
    while (level := int(open_.max())) >= lowest and len(found) < finder.most:
        regions, _ = label(part >= (level + 1) // 2, touching)
        numbers = np.unique(regions[open_ == level])
        own = numbers[maximum(part, regions, numbers) == level]
        open_[np.isin(regions, numbers)] = 0
        for number in own:
            where = np.nonzero(regions == number)
            low, high = (np.array([end(axis) for axis in where]) for end in (np.min, np.max))
            middle, half = (low + high + 1) / 2, (high + 1 - low) / 2 * finder.box_scale
            if finder.objects == "points":
                middle, half = np.array(center_of_mass(part, regions, number)) + 0.5, np.zeros(part.ndim)
            found.append((level, np.concatenate([first + middle - half, first + middle + half])))
    return found[: finder.most]
