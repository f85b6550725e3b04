"""Segmentations as tables of their distinct voxels: everything a blend's scores depend on, and far fewer rows.

A voxel matters only through what the members say about it and what is true of it. Probabilities are uint8, so a case
has few distinct tuples (member values, truth); with their counts they give exactly the scores of the full maps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from heldout.blend.records import Weights
from heldout.blend.values import LEVELS, blend_maps
from heldout.predict.prediction import to_mask

_BLOCK = 1 << 16  # rows blended at once: temporary arrays stay at a few megabytes, however many cases there are


@dataclass(frozen=True)
class JointHistogram:
    """Distinct voxels of several cases, in the order of the cases and, within a case, of the true label.

    Attributes:
        values: (members, C, rows) uint8 probabilities of C classes that are thresholded together.
        voxels: (rows,) uint16: how often the tuple occurs; one that occurs more often takes several rows.
        starts: (cases * (C + 1) + 1,) int64: first row of each label 0 ... C of each case.
    """

    values: np.ndarray
    voxels: np.ndarray
    starts: np.ndarray

    @property
    def labels(self) -> int:
        """Number of true labels, background included."""
        return self.values.shape[1] + 1

    @property
    def cases(self) -> int:
        """Number of cases."""
        return (len(self.starts) - 1) // self.labels

    @property
    def case_starts(self) -> np.ndarray:
        """(cases + 1,) first row of each case."""
        return self.starts[:: self.labels]

    @property
    def truth(self) -> np.ndarray:
        """(rows,) true label of every row."""
        return np.repeat(np.arange(len(self.starts) - 1) % self.labels, np.diff(self.starts))

    @property
    def sizes(self) -> np.ndarray:
        """(cases, C + 1) float64: voxels of every true label."""
        sizes = np.zeros(len(self.starts) - 1)
        for first, last in self._blocks():  # adding up in int64 makes a copy of what is added
            starts, rows = self.starts[first:last], slice(self.starts[first], self.starts[last])
            filled = np.flatnonzero(np.diff(self.starts[first : last + 1]))
            if len(filled):
                added = np.add.reduceat(self.voxels[rows], starts[filled] - starts[0], dtype=np.int64)
                sizes[first + filled] = added
        return sizes.reshape(-1, self.labels)

    @property
    def nbytes(self) -> int:
        """Bytes of the arrays."""
        return self.values.nbytes + self.voxels.nbytes + self.starts.nbytes

    def select(self, chosen: np.ndarray) -> JointHistogram:
        """The histogram of the cases that a (cases,) bool array chooses."""
        sizes = np.diff(self.starts).reshape(-1, self.labels)
        rows = np.repeat(chosen, sizes.sum(1))
        starts = np.concatenate([[0], np.cumsum(sizes[chosen])])
        return JointHistogram(self.values[..., rows], self.voxels[rows], starts)

    def parts(self, cases: int) -> Iterator[JointHistogram]:
        """The histogram in pieces of so many cases; they share its memory."""
        for first in range(0, self.cases, cases):
            starts = self.starts[first * self.labels : (first + cases) * self.labels + 1]
            rows = slice(starts[0], starts[-1])
            yield JointHistogram(self.values[..., rows], self.voxels[rows], starts - starts[0])

    def keep(self, rows: np.ndarray) -> JointHistogram:
        """The histogram of the rows that a (rows,) bool array chooses, of all cases."""
        kept = np.concatenate([[0], np.cumsum(rows)])
        return JointHistogram(self.values[..., rows], self.voxels[rows], kept[self.starts])

    def of_class(self, number: int) -> JointHistogram:
        """The histogram of one of several classes, whose true labels are 0 and 1."""
        truth = self.truth == number + 1
        case = np.repeat(np.arange(self.cases), np.diff(self.case_starts))
        order = np.argsort(2 * case + truth, kind="stable")
        starts = np.concatenate([[0], np.cumsum(np.bincount(2 * case + truth, minlength=2 * self.cases))])
        return JointHistogram(self.values[:, number : number + 1, order], self.voxels[order], starts)

    def counts_by_threshold(self, weights: Weights) -> np.ndarray:
        """Voxel counts at all 256 thresholds of one class.

        Returns:
            (cases, 256, 3) float64 whole numbers [TP, FP, FN]; a voxel is predicted at or above the threshold.
        """
        [voxels] = self._tabulate(weights, LEVELS, 1, lambda blended: blended)
        reached = np.flip(np.flip(voxels, 1).cumsum(1), 1).reshape(self.cases, 2, LEVELS)
        counts = np.empty((self.cases, LEVELS, 3))
        counts[..., 0], counts[..., 1] = reached[:, 1], reached[:, 0]
        np.subtract(reached[:, 1, :1], reached[:, 1], out=counts[..., 2])
        return counts

    def label_table(self, weights: Weights) -> np.ndarray:
        """(cases, C + 1, C + 1) voxels of every (true, most probable) pair of labels."""
        winner = lambda blended: to_mask(blended, None, exclusive=True)  # noqa: E731 - one expression
        return self._tabulate(weights, self.labels, 1, winner).reshape(-1, self.labels, self.labels)

    def counts_by_label(self, weights: Weights) -> np.ndarray:
        """(cases, C, 3) float64 whole numbers [TP, FP, FN] where each voxel gets its most probable label."""
        return errors_of(self.label_table(weights))

    def levels(self, weights: Weights) -> np.ndarray:
        """(cases, C, 256) float64: number of voxels at each blended probability."""
        found = self._tabulate(weights, LEVELS, self.values.shape[1], lambda blended: blended)
        return np.stack([voxels.reshape(-1, self.labels, LEVELS).sum(1) for voxels in found], 1)

    def _tabulate(
        self, weights: Weights, categories: int, channels: int, categorize: Callable[[np.ndarray], np.ndarray]
    ) -> np.ndarray:
        """(channels, cases * (C + 1), categories) voxels whose blend falls into each category.

        Args:
            weights: Of the members.
            categories: Their number.
            channels: Number of categories that a voxel is given.
            categorize: From a blend (C, rows) to categories (channels, rows).
        """
        table = np.empty((channels, len(self.starts) - 1, categories))
        for first, last in self._blocks():
            rows = slice(self.starts[first], self.starts[last])
            sizes = np.diff(self.starts[first : last + 1])
            groups = np.repeat(np.arange(last - first) * categories, sizes)
            for channel, chosen in enumerate(categorize(blend_maps(self.values[..., rows], weights))):
                found = np.bincount(groups + chosen, self.voxels[rows], (last - first) * categories)
                table[channel, first:last] = found.reshape(-1, categories)
        return table

    def _blocks(self) -> Iterator[tuple[int, int]]:
        """Neighboring groups of rows that are worked on at once: first and behind the last."""
        first, groups = 0, len(self.starts) - 1
        while first < groups:
            last = int(np.searchsorted(self.starts, self.starts[first] + _BLOCK, "right")) - 1
            last = min(max(last, first + 1), groups)
            yield first, last
            first = last


def errors_of(table: np.ndarray) -> np.ndarray:
    """(cases, C, 3) [TP, FP, FN] from (cases, C + 1, C + 1) voxels of every (true, predicted) pair of labels."""
    hits = np.diagonal(table, axis1=1, axis2=2)
    return np.stack([hits, table.sum(1) - hits, table.sum(2) - hits], 2)[:, 1:]


def join(cases: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> JointHistogram:
    """Histogram of several cases from their :func:`heldout.blend.distinct.distinct_voxels`."""
    values, voxels, sizes = zip(*cases, strict=True)
    starts = np.concatenate([[0], np.cumsum(np.concatenate(sizes))])
    return JointHistogram(np.concatenate(values, -1), np.concatenate(voxels), starts)
