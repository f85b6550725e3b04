"""Segmentations as tables of their distinct voxels: everything a blend's scores depend on, and far fewer rows.

A voxel matters only through what the members say about it and what is true of it. Probabilities are uint8, so a case
has few distinct tuples (member values, truth); with their counts they give exactly the scores of the full maps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from heldout.blend.values import LEVELS, blend_maps
from heldout.predict.prediction import PRESENCE_LEAST, PRESENCE_SHARE, to_mask


@dataclass(frozen=True)
class JointHistogram:
    """Distinct voxels of several cases, in the order of the cases.

    Attributes:
        values: (members, C, rows) uint8 probabilities of C classes that are judged together.
        truth: (rows,) uint8: label 0 ... C.
        voxels: (rows,) float64: how often the tuple occurs in its case.
        starts: (cases + 1,) int64: first row of each case.
    """

    values: np.ndarray
    truth: np.ndarray
    voxels: np.ndarray
    starts: np.ndarray

    def __post_init__(self) -> None:
        """Prepare the part of every row's bin that no weight changes."""
        case = np.repeat(np.arange(self.cases, dtype=np.int32), np.diff(self.starts))
        object.__setattr__(self, "_group", case * (self.values.shape[1] + 1) + self.truth)

    @property
    def cases(self) -> int:
        """Number of cases."""
        return len(self.starts) - 1

    def select(self, chosen: np.ndarray) -> JointHistogram:
        """The histogram of the cases that a (cases,) bool array chooses."""
        sizes = np.diff(self.starts)
        rows = np.repeat(chosen, sizes)
        starts = np.concatenate([[0], np.cumsum(sizes[chosen])])
        return JointHistogram(self.values[..., rows], self.truth[rows], self.voxels[rows], starts)

    def blended(self, weights: Sequence[int]) -> np.ndarray:
        """(C, rows) uint8 blend of the members."""
        return blend_maps(self.values, weights)

    def counts_by_threshold(self, weights: Sequence[int]) -> np.ndarray:
        """Voxel counts at all 256 thresholds of one class.

        Returns:
            (cases, 256, 3) float64 whole numbers [TP, FP, FN]; a voxel is predicted at or above the threshold.
        """
        bins = np.multiply(self._group, LEVELS, dtype=np.intp)
        bins += self.blended(weights)[0]
        size = self.cases * 2 * LEVELS
        voxels = np.bincount(bins, self.voxels, size).reshape(self.cases, 2, LEVELS)
        reached = np.flip(np.flip(voxels, 2).cumsum(2), 2)
        hits, extra = reached[:, 1], reached[:, 0]
        return np.stack([hits, extra, hits[:, :1] - hits], 2)

    def counts_by_label(self, weights: Sequence[int]) -> np.ndarray:
        """(cases, C, 3) float64 whole numbers [TP, FP, FN] where each voxel gets its most probable label."""
        labels = self.values.shape[1] + 1
        bins = np.multiply(self._group, labels, dtype=np.intp)
        bins += to_mask(self.blended(weights), None, exclusive=True)[0]
        table = np.bincount(bins, self.voxels, self.cases * labels**2).reshape(self.cases, labels, labels)
        hits = np.diagonal(table, axis1=1, axis2=2)
        return np.stack([hits, table.sum(1) - hits, table.sum(2) - hits], 2)[:, 1:]

    def levels(self, weights: Sequence[int]) -> np.ndarray:
        """(cases, C, 256) float64: number of voxels at each blended probability."""
        case = self._group // (self.values.shape[1] + 1)
        found = [
            np.bincount(np.multiply(case, LEVELS, dtype=np.intp) + values, self.voxels, self.cases * LEVELS)
            for values in self.blended(weights)
        ]
        return np.stack([voxels.reshape(self.cases, LEVELS) for voxels in found], 1)


def distinct_voxels(maps: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Reduce one case to its distinct voxels.

    Args:
        maps: (members, C, *S) uint8.
        truth: (*S) uint8 label.

    Returns:
        (members, C, rows) uint8 values, (rows,) uint8 truth and (rows,) float64 counts.
    """
    members, classes = maps.shape[:2]
    columns = maps.reshape(members * classes, -1)
    label = truth.ravel()
    # Most voxels are nothing to anyone: they are counted, not sorted.
    seen = columns.any(0)
    unseen = np.bincount(label[~seen], minlength=classes + 1)
    rows, counts = _distinct(np.concatenate([columns[:, seen], label[None, seen]]))
    empty = np.zeros((len(rows), np.count_nonzero(unseen)), np.uint8)
    empty[-1] = np.flatnonzero(unseen)
    rows = np.concatenate([empty, rows], 1)
    counts = np.concatenate([unseen[unseen > 0], counts]).astype(float)
    return rows[:-1].reshape(members, classes, -1), rows[-1], counts


def join(cases: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> JointHistogram:
    """Histogram of several cases from their :func:`distinct_voxels`."""
    values, truth, voxels = zip(*cases, strict=True)
    starts = np.concatenate([[0], np.cumsum([len(part) for part in truth])])
    return JointHistogram(np.concatenate(values, -1), np.concatenate(truth), np.concatenate(voxels), starts)


def presence_of_levels(levels: np.ndarray) -> np.ndarray:
    """Presence scores from numbers of voxels at each probability: equal to those of the maps.

    Args:
        levels: (..., 256) float64.

    Returns:
        (...) float32 in 0 ... 1, as :func:`heldout.predict.prediction.presence` of a map.
    """
    size = levels.sum(-1, keepdims=True)
    wanted = np.minimum(np.maximum(PRESENCE_LEAST, np.rint(PRESENCE_SHARE * size)), size)
    from_top = np.minimum(np.flip(levels, -1).cumsum(-1), wanted)
    total = np.diff(from_top, axis=-1, prepend=0.0) @ np.arange(LEVELS - 1, -1, -1.0)
    return (total / (wanted[..., 0] * 255)).astype(np.float32)


def _distinct(columns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distinct columns of a (c, n) uint8 array, (c, rows), and how often each occurs, (rows,).

    Up to eight bytes are sorted as one number; of longer columns the beginnings are numbered first, which is exact
    for any length.
    """
    keys = _pack(columns[:8])
    if len(columns) <= 8:
        keys.sort()
        last = np.flatnonzero(np.append(keys[1:] != keys[:-1], True)[: len(keys)])
        shifts = (8 * np.arange(len(columns) - 1, -1, -1)).astype(keys.dtype)
        return (keys[last] >> shifts[:, None]).astype(np.uint8), np.diff(last, prepend=-1)
    for first in range(8, len(columns), 4):
        numbers = np.unique(keys, return_inverse=True)[1]
        keys = numbers.astype(np.uint64) << np.uint64(32) | _pack(columns[first : first + 4])
    _, first, counts = np.unique(keys, return_index=True, return_counts=True)
    return columns[:, first], counts


def _pack(columns: np.ndarray) -> np.ndarray:
    """(n,) numbers whose bytes are the up to eight rows of a (c, n) uint8 array."""
    width = np.uint32 if len(columns) <= 4 else np.uint64
    keys = np.zeros(columns.shape[1], width)
    for column in columns:
        keys <<= width(8)
        keys |= column
    return keys
