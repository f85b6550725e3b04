"""The second stage, for what no single voxel shows: hysteresis, smallest component, filled holes.

Components are found once per case and level and kept as a short table; whatever is then tried on the table gives
exactly the voxel counts of the full masks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from heldout.blend.records import Spatial
from heldout.metrics.registry import Metric
from heldout.predict.prediction import to_mask

MILLION = 1_000_000
LOWS = 12  # levels at which components may begin, up to the threshold
HIGHS = 12  # levels that a component's peak may have to reach
MIN_SIZES = (0, 3, 10, 30, 100, 300, 1000, 3000, 10_000)  # millionths of a case's voxels


@dataclass(frozen=True)
class Components:
    """Components of one case at several levels.

    Attributes:
        level: (n,) index of the level that a component belongs to.
        peak: (n,) highest value in it.
        size: (n,) its voxels.
        hits: (n,) those that are truly of the class.
        truth: Voxels of the class.
        voxels: Voxels of the case.
    """

    level: np.ndarray
    peak: np.ndarray
    size: np.ndarray
    hits: np.ndarray
    truth: int
    voxels: int


def spatial_mask(
    blended: np.ndarray, thresholds: Sequence[int] | None, spatial: Sequence[Spatial], exclusive: bool
) -> np.ndarray:
    """Mask of a case after the second stage.

    Args:
        blended: Map (K, *S) uint8.
        thresholds: (K,) thresholds; None where classes are exclusive.
        spatial: Settings of every class; empty leaves the mask as the thresholds make it.
        exclusive: Classes exclude each other.

    Returns:
        (M, *S) uint8, as :func:`heldout.predict.prediction.to_mask`. Of exclusive classes a filled hole takes
        background only.
    """
    if not spatial:
        return to_mask(blended, thresholds, exclusive)
    values, _ = class_values(blended, exclusive)
    masks = [apply_spatial(one, settings) for one, settings in zip(values, spatial, strict=True)]
    if not (exclusive and len(blended) > 1):
        return np.stack(masks).astype(np.uint8)
    labels = np.zeros(blended.shape[1:], np.uint8)
    for number, (mask, one) in enumerate(zip(masks, values, strict=True), start=1):
        labels[mask & ((labels == 0) | (one > 0))] = number
    return labels[None]


def class_values(blended: np.ndarray, exclusive: bool) -> tuple[np.ndarray, bool]:
    """(K, *S) uint8 maps of single classes, and whether they are exclusive: then a map is 255 where its class wins."""
    if not (exclusive and len(blended) > 1):
        return blended, False
    labels = to_mask(blended, None, True)[0]
    numbers = np.arange(1, len(blended) + 1).reshape(-1, *[1] * labels.ndim)
    return np.where(labels == numbers, 255, 0).astype(np.uint8), True


def apply_spatial(values: np.ndarray, spatial: Spatial) -> np.ndarray:
    """Mask of one class, (*S) bool, from its map (*S) uint8."""
    labels, peak, size = _label(values, spatial.low)
    keep = (peak >= spatial.high) & (size * MILLION >= spatial.min_size * values.size)
    keep[0] = False
    mask = keep[labels]
    return fill_holes(mask) if spatial.fill else mask


def fill_holes(mask: np.ndarray) -> np.ndarray:
    """Mask (*S) bool with its enclosed holes; of a volume in 3D."""
    from scipy.ndimage import binary_fill_holes

    return binary_fill_holes(mask) if mask.any() else mask


def find_components(values: np.ndarray, truth: np.ndarray, lows: Sequence[int]) -> Components:
    """Components of a map at several levels.

    Args:
        values: (*S) uint8.
        truth: (*S) bool.
        lows: The levels.
    """
    parts = []
    for index, low in enumerate(lows):
        labels, peak, size = _label(values, low)
        hits = np.bincount(labels[truth], minlength=len(size))
        parts.append(np.stack([np.full(len(size), index), peak, size, hits])[:, 1:])
    level, peak, size, hits = np.concatenate(parts, axis=1)
    return Components(level, peak, size, hits, int(truth.sum()), values.size)


def tune_spatial(
    cases: Sequence[Components], lows: Sequence[int], threshold: int, metric: Metric
) -> tuple[float, Spatial]:
    """Best settings on some cases; ``low = high = threshold``, which changes nothing, unless others score better.

    Args:
        cases: Components of every case at the levels ``lows``.
        lows: As :func:`candidate_lows` gives them for ``threshold``, which comes first.
        threshold: What the first stage found best.
        metric: A score of voxel counts.

    Returns:
        The score, nan where undefined, and the settings; ``fill`` is left out, for it needs the full masks.
    """
    sign = 1 if metric.higher_is_better else -1
    once = np.ones((1, len(cases)))
    best, found = -np.inf, Spatial(threshold, threshold)
    for index, low in enumerate(lows):
        highs = candidate_highs(low, threshold)
        trials = [Spatial(low, high, min_size) for high in highs for min_size in MIN_SIZES]
        scores = sign * metric.one_class(count_components(cases, index, trials), once)[0]
        if np.nanmax(scores, initial=-np.inf) > best + 1e-12:
            first = int(np.nanargmax(scores))
            best, found = float(scores[first]), trials[first]
    return (sign * best if np.isfinite(best) else float("nan")), found


def candidate_lows(threshold: int) -> list[int]:
    """Levels to begin components at: the threshold itself first, then evenly down to a tenth of it."""
    spread = np.linspace(threshold, max(1, threshold // 10), LOWS).round().astype(int)
    return list(dict.fromkeys(int(low) for low in spread))


def candidate_highs(low: int, threshold: int) -> list[int]:
    """Levels that a component's peak may have to reach: from ``low`` to the top, the threshold among them."""
    spread = np.linspace(low, 250, HIGHS).round().astype(int)
    return sorted({low, *(int(high) for high in spread if high >= low), max(low, threshold)})


def count_components(cases: Sequence[Components], index: int, trials: Sequence[Spatial]) -> np.ndarray:
    """(cases, trials, 3) float64 voxels [TP, FP, FN]."""
    high = np.array([trial.high for trial in trials])[:, None]
    min_size = np.array([trial.min_size for trial in trials])[:, None]
    counts = np.zeros((len(cases), len(trials), 3))
    for number, case in enumerate(cases):
        here = case.level == index
        size, hits = case.size[here], case.hits[here]
        keep = (case.peak[here] >= high) & (size * MILLION >= min_size * case.voxels)
        counts[number, :, 0] = keep @ hits
        counts[number, :, 1] = keep @ (size - hits)
        counts[number, :, 2] = case.truth - counts[number, :, 0]
    return counts


def _label(values: np.ndarray, low: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Component of every voxel (0 is none), and each component's peak and size; diagonal neighbors belong together."""
    from scipy.ndimage import label

    labels, count = label(values >= low, np.ones((3,) * values.ndim))
    inside = labels > 0
    peak = np.zeros(count + 1, np.int64)
    np.maximum.at(peak, labels[inside], values[inside])
    return labels, peak, np.bincount(labels.ravel(), minlength=count + 1)
