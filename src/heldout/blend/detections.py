"""Blends of heat maps, scored by the detections at their peaks.

What detections a weighting gives shows only on full maps, so each trial blends those anew. A case is held compressed,
cut to the box around everything that any member could put into a detection.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from heldout.blend.maps import Work, map_work, mean_map
from heldout.blend.mask_objective import MaskObjective
from heldout.blend.members import Member
from heldout.blend.objective import DerivedObjective, Tunable
from heldout.blend.records import BlendSettings, Weights
from heldout.blend.thresholds import best_thresholds, refuse_undefined
from heldout.blend.values import LEVELS, blend_maps
from heldout.data.parallel import map_cases
from heldout.data.sources import Source
from heldout.metrics.ignored import hide
from heldout.metrics.masks import OF_DETECTIONS
from heldout.metrics.metric import Metric
from heldout.metrics.registry import get_metric
from heldout.metrics.tables import Columns, columns_of
from heldout.predict.details import detections_text, true_objects
from heldout.predict.peaks import find_detections
from heldout.tasks.finder import Finder


@dataclass(frozen=True)
class HeatCase:
    """A case's maps.

    Attributes:
        maps: (members, K, *box) uint8, packed.
        start: First voxel of the box along each axis.
        steps: Steps along the axes in mm, (D, D).
        objects: Text of its true objects.
    """

    maps: bytes
    start: tuple[int, ...]
    steps: np.ndarray
    objects: str


@dataclass(frozen=True)
class DetectionObjective(DerivedObjective):
    """Detections; attributes as :class:`heldout.blend.objective.Objective`.

    Attributes:
        base: The segmentation, whose tables these complete.
        finder: How detections are found.
        cases: The maps of the cases.
        members_kept: Numbers of the members in the maps.
    """

    base: MaskObjective
    finder: Finder
    cases: tuple[HeatCase, ...]
    members_kept: tuple[int, ...]

    @property
    def separable(self) -> bool:
        """Whether the score is a mean over classes that do not depend on each other."""
        return self._of_masks and self.base.separable

    def alone(self, place: int) -> Tunable | None:
        """One class of masks; detections of one class are not found alone."""
        return self.base.alone(place) if self._of_masks else None

    @property
    def _of_masks(self) -> bool:
        return get_metric(self.metric).uses not in OF_DETECTIONS

    def tune(self, weights: Weights) -> tuple[float, BlendSettings]:
        """Score of a weighting with its best thresholds, and those."""
        metric = get_metric(self.metric)
        if self._of_masks:
            return self.base.tune(weights)
        settings = self.base.untuned(weights)
        columns = columns_of(self.table(settings), self.classes)
        if metric.thresholded and settings.thresholds:
            levels = [np.arange(1, LEVELS)] * len(self.classes)
            cuts = best_thresholds(metric, lambda cuts: _value(metric, columns, cuts), levels, settings.thresholds)
            settings, columns = replace(settings, thresholds=cuts), keep(columns, cuts)
        return refuse_undefined(metric.value(columns), metric, self.classes), settings

    def fitted(self) -> None:
        """Weights of maps are searched."""

    def table(self, settings: BlendSettings) -> pd.DataFrame:
        """The cases with what a segmentation has, and the columns ``detections`` and ``objects``."""
        found = self.texts(self.found(settings))
        return self.base.table(settings).assign(detections=found, objects=[case.objects for case in self.cases])

    def found(self, settings: BlendSettings) -> list[np.ndarray]:
        """Detections of every case in voxels, as :func:`heldout.predict.peaks.find_detections` gives them."""
        return [self._found(case, settings) for case in self.cases]

    def texts(self, found: Sequence[np.ndarray]) -> list[str]:
        """The text of every case's detections, in mm where its file has a voxel size."""
        return [detections_text(rows, case.steps) for rows, case in zip(found, self.cases, strict=True)]

    def select(self, chosen: np.ndarray) -> DetectionObjective:
        """The objective of the chosen cases."""
        cases = tuple(one for one, wanted in zip(self.cases, chosen, strict=True) if wanted)
        return replace(self, base=self.base.select(chosen), cases=cases)

    def keep(self, members: Sequence[int]) -> DetectionObjective:
        """The objective of some members."""
        kept = tuple(self.members_kept[member] for member in members)
        return replace(self, base=self.base.keep(members), members_kept=kept)

    def _found(self, case: HeatCase, settings: BlendSettings) -> np.ndarray:
        import blosc2

        maps = np.asarray(blosc2.unpack_array2(case.maps))
        blended = blend_maps(maps[list(self.members_kept)], settings.rows)
        found = find_detections(self.finder, blended, settings.thresholds)
        found[:, 3:] += np.array([*case.start, *case.start])
        return found


def detection_objective(members: Sequence[Member], base: MaskObjective, *, progress: bool) -> DetectionObjective:
    """Gather the heat maps of members.

    Args:
        members: Of which the first says how detections are found.
        base: The same members as segmentations.
        progress: Show a progress bar.
    """
    first = members[0]
    assert first.config.finder is not None, "members that detect"
    finder, source = first.config.finder, first.dataset.source
    cases = map_cases(_pack, (source, finder), map_work(members), "Reading heat maps", progress=progress)
    return DetectionObjective(base, finder, tuple(cases), tuple(range(len(members))))


def keep(columns: Columns, thresholds: Sequence[int]) -> Columns:
    """The cases with the detections kept that reach the thresholds of their classes."""
    assert columns.detections is not None, "tables of detections have them"
    cuts, found = np.array(thresholds), np.empty(len(columns.detections), object)
    for place, rows in enumerate(columns.detections):
        found[place] = rows
        if len(rows):
            kept = np.rint(255 * rows[:, 1]) >= cuts[rows[:, 0].astype(int)]
            found[place] = np.concatenate([rows[:, :2], kept[:, None], rows[:, 3:]], 1)
    return replace(columns, detections=found)


def _value(metric: Metric, columns: Columns, thresholds: Sequence[int]) -> float:
    return metric.value(keep(columns, thresholds))


def _pack(source: Source, finder: Finder, work: list[Work]) -> list[HeatCase]:
    import blosc2

    packed = []
    for row, member_files in work:
        truth = source.read_mask(row)
        maps = np.stack([hide(mean_map(row["case_id"], paths), truth) for paths in member_files])
        lowest = max(1, (round(255 * finder.min_score) + 1) // 2)
        places = np.nonzero((maps >= lowest).any((0, 1)))
        box = [slice(int(axis.min()), int(axis.max()) + 1) if len(axis) else slice(0, 1) for axis in places]
        cut = np.ascontiguousarray(maps[:, :, *box])
        start = tuple(one.start for one in box)
        objects, steps = true_objects(source, row, truth, finder)
        packed.append(HeatCase(blosc2.pack_array2(cut), start, steps, objects))
    return packed
