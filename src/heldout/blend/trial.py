"""What one trial of the search computes: exact scores of a weighting, from the rows that no weighting makes redundant.

A trial asks less than a table of all cases does, and it is asked hundreds of times. Whatever comes out the same under
every weighting is therefore counted once, beforehand. All of it rests on two facts: blending is monotone, also after
rounding (a voxel that no member rates higher than another is not rated higher by the blend), and a blend lies within
one half of the exact weighted mean. Exclusive classes with weights of their own are divided by their sum, which leaves
their order but neither of the two; there less is the same under all weights.
"""

from __future__ import annotations

import itertools

import numpy as np

from heldout.blend.histogram import JointHistogram, errors_of
from heldout.blend.presence import presence_of_levels, presence_voxels
from heldout.blend.records import Weights
from heldout.blend.values import LEVELS, blend_maps
from heldout.metrics.ranking import divide
from heldout.metrics.registry import Metric

_BLOCK = 1 << 18  # rows looked at in one step
_CASES = 64  # whose scores at all thresholds are held at once: they stay in the processor's cache
_PIVOTS = 64  # steps of the search for dominated rows; rows that it leaves cost time, never exactness


class ThresholdTrial:
    """Scores of one class at all thresholds.

    Cases without the class cannot have hits, so a mean over cases of Dice or IoU only asks whether anything is
    predicted there at all: whether the threshold is above the highest blended value, which one of the rows holds that
    no other row dominates.

    Args:
        histogram: Cases, of one class.
        metric: A mean over cases of a score of their voxel counts, equal for all false alarms in a case without the
            class, and nan over such cases alone if they do not count.
    """

    def __init__(self, histogram: JointHistogram, metric: Metric) -> None:
        positive = histogram.sizes[:, 1] > 0
        self._metric = metric
        self._positive = list(histogram.select(positive).parts(_CASES))
        once = np.ones((1, 1))
        self._clean, self._alarm = (float(metric.one_class(np.array([[0.0, fp, 0.0]]), once)[0]) for fp in (0, 1))
        self._counts_negative = not np.isnan(self._alarm)
        self._negatives = int((~positive).sum()) if self._counts_negative else 0
        if self._negatives:
            starts = histogram.case_starts
            rows = [slice(starts[case], starts[case + 1]) for case in np.flatnonzero(~positive)]
            parts = [undominated(histogram.values[:, 0, one]) for one in rows]
            self._highest = np.concatenate(parts, 1)
            self._starts = np.concatenate([[0], np.cumsum([part.shape[1] for part in parts])])[:-1]

    def scores(self, weights: Weights) -> np.ndarray:
        """(256,) scores at every threshold, nan where undefined."""
        positives = sum(part.cases for part in self._positive)
        total = np.zeros(LEVELS)
        for part in self._positive:
            total += part.cases * self._metric.one_class(part.counts_by_threshold(weights), np.ones((1, part.cases)))[0]
        if self._negatives:
            highest = np.maximum.reduceat(blend_maps(self._highest, weights), self._starts)
            alarms = np.flip(np.flip(np.bincount(highest, minlength=LEVELS)).cumsum())
            total += self._alarm * alarms + self._clean * (self._negatives - alarms)
        return divide(total, np.full(LEVELS, float(positives + self._negatives)))


class LabelTrial:
    """Voxel counts where each voxel gets its most probable label.

    Most voxels get one label under every weighting: those for which all members agree by a margin that no rounding
    bridges. A class's blend is off by one half at most, the background, 255 minus all C of them, by C / 2. With weights
    by class the least that any member says of the one label has to be above the most that any says of another one, by
    that margin times the largest sum that they are divided by, C + 1.

    Args:
        histogram: Cases, of all classes.
        by_class: Whether classes have weights of their own.
    """

    def __init__(self, histogram: JointHistogram, by_class: bool = False) -> None:
        rows, labels, groups = len(histogram.voxels), histogram.labels, len(histogram.starts) - 1
        blocks = [histogram.values[..., first : first + _BLOCK] for first in range(0, rows, _BLOCK)]
        winner, decided = (
            np.concatenate(parts) for parts in zip(*(_winner(block, by_class) for block in blocks), strict=True)
        )
        group = np.repeat(np.arange(groups), np.diff(histogram.starts))
        pairs = group[decided] * labels + winner[decided]
        table = np.bincount(pairs, histogram.voxels[decided], groups * labels)
        self._decided = table.reshape(-1, labels, labels)
        self._open = histogram.keep(~decided)

    def counts(self, weights: Weights) -> np.ndarray:
        """(cases, C, 3) [TP, FP, FN]."""
        return errors_of(self._decided + self._open.label_table(weights))


class PresenceTrial:
    """Presence scores of blended maps: means of their k most probable voxels.

    The k-th highest blend is at least the k-th highest of what the least sure member says; voxels about which even
    the surest member says less are never among the k. With weights by class that is not so, and all voxels count.

    Args:
        histogram: Cases, of any number of classes.
        by_class: Whether exclusive classes have weights of their own.
    """

    def __init__(self, histogram: JointHistogram, by_class: bool = False) -> None:
        sizes = histogram.sizes.sum(1)
        wanted = presence_voxels(sizes)
        lowest_level, highest_level = histogram.values.min(0), histogram.values.max(0)
        kept = np.full(len(histogram.voxels), by_class)
        starts = histogram.case_starts
        for case, (first, last) in enumerate(itertools.pairwise([] if by_class else starts)):
            for lowest, highest in zip(lowest_level[:, first:last], highest_level[:, first:last], strict=True):
                levels = np.bincount(lowest, histogram.voxels[first:last], LEVELS)
                reached = np.flip(np.flip(levels).cumsum())
                kept[first:last] |= highest >= np.flatnonzero(reached >= wanted[case])[-1]
        self._top = histogram.keep(kept)
        self._others = (sizes - self._top.sizes.sum(1))[:, None]

    def presence(self, weights: Weights) -> np.ndarray:
        """(cases, C) float32 in 0 ... 1."""
        levels = self._top.levels(weights)
        levels[..., 0] += self._others
        return presence_of_levels(levels)


def _winner(values: np.ndarray, by_class: bool) -> tuple[np.ndarray, np.ndarray]:
    """Label 0 ... C of each row of (members, C, rows) by the first member, and whether every blend gives that one."""
    background = 255 - values.sum(1, keepdims=True, dtype=np.int16)
    every = np.concatenate([np.maximum(background, 0) if by_class else background, values.astype(np.int16)], 1)
    winner = every[0].argmax(0)
    place = np.broadcast_to(winner, (len(every), 1, len(winner)))
    own = np.take_along_axis(every, place, 1)
    margin, needed = own - every, every.shape[1]
    if by_class:
        margin, needed = own.min(0, keepdims=True) - every, needed * needed
    np.put_along_axis(margin, place, np.iinfo(np.int16).max, 1)
    return winner, 2 * margin.min((0, 1)).astype(int) >= needed


def undominated(values: np.ndarray) -> np.ndarray:
    """Columns of a (members, rows) array without most of those that another column reaches in every member.

    The column of the largest sum is dominated by none; what it dominates goes, and so on (Bentley et al. 1990).
    """
    remaining = values[:, np.argsort(-values.sum(0, dtype=int), kind="stable")]
    pivots: list[np.ndarray] = []
    while remaining.shape[1] and len(pivots) < _PIVOTS:
        pivots.append(remaining[:, :1])
        remaining = remaining[:, (remaining > pivots[-1]).any(0)]
    return np.concatenate([*pivots, remaining], 1)
