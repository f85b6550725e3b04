"""Tuning which components of masks stay, on full out-of-fold maps, which are read case by case and never kept."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from heldout.blend.maps import Work, mean_map
from heldout.blend.records import BlendSettings, Spatial, Weights
from heldout.blend.spatial import (
    Components,
    candidate_lows,
    class_values,
    find_components,
    spatial_mask,
    tune_spatial,
)
from heldout.blend.values import blend_maps
from heldout.data.parallel import map_cases
from heldout.data.sources import Source
from heldout.metrics.ignored import hide
from heldout.metrics.overlap import count_errors
from heldout.metrics.registry import Metric

ALONE = 255  # threshold of an exclusive class: its map is 255 where it wins


@dataclass(frozen=True)
class ComponentTuning:
    """Cases whose full maps can be read.

    Attributes:
        source: Reads the true masks.
        work: The cases.
        exclusive: Classes exclude each other.
        progress: Show a progress bar where maps are read.
    """

    source: Source
    work: tuple[Work, ...]
    exclusive: bool
    progress: bool = False

    def select(self, chosen: np.ndarray) -> ComponentTuning:
        """The chosen cases, by an (n,) bool array."""
        return replace(self, work=tuple(one for one, wanted in zip(self.work, chosen, strict=True) if wanted))

    def tune(self, settings: BlendSettings, metric: Metric) -> tuple[Spatial, ...]:
        """Best settings of every class on these cases, for weights and thresholds that are already found."""
        thresholds = settings.thresholds or None
        components = list(self._map(_components, (settings.rows, thresholds), "Finding components"))
        classes = len(components[0])
        cuts = thresholds or (ALONE,) * classes
        found = [
            tune_spatial([case[k] for case in components], candidate_lows(cuts[k]), cuts[k], metric)[1]
            for k in range(classes)
        ]
        filled = [replace(spatial, fill=True) for spatial in found]
        open_scores, filled_scores = (self._scores(settings, choice, metric) for choice in (found, filled))
        sign = 1 if metric.higher_is_better else -1
        better = sign * (filled_scores - open_scores) > 1e-12
        chosen = tuple(one if yes else other for yes, one, other in zip(better, filled, found, strict=True))
        # holes of exclusive classes depend on each other: together they may help less than alone
        worse = sign * np.mean(self._scores(settings, chosen, metric) - open_scores) < 0
        return tuple(found) if worse else chosen

    def counts(self, settings: BlendSettings) -> np.ndarray:
        """(n, K, 3) voxels [TP, FP, FN] of every case's final mask."""
        values = (settings.rows, settings.thresholds or None, settings.spatial)
        return np.stack(list(self._map(_counts, values, "Scoring masks")))

    def _scores(self, settings: BlendSettings, spatial: Sequence[Spatial], metric: Metric) -> np.ndarray:
        """(K,) score of every class."""
        counts = self.counts(replace(settings, spatial=tuple(spatial)))
        return metric.one_class(counts, np.ones((1, len(counts))))[0]

    def _map(self, function: Any, values: tuple[Any, ...], what: str) -> Iterator[Any]:
        shared = (self.source, self.exclusive, *values)
        return map_cases(function, shared, list(self.work), what, progress=self.progress)


def _components(
    source: Source, exclusive: bool, weights: Weights, thresholds: Sequence[int] | None, work: list[Work]
) -> list[list[Components]]:
    found = []
    for one in work:
        blended, truth = read_work(source, one, weights)
        blended, truth = hide(blended, truth), hide(truth, truth)
        values, multiclass = class_values(blended, exclusive)
        cuts = [ALONE] * len(values) if thresholds is None else thresholds
        masks = [truth[0] == k + 1 for k in range(len(values))] if multiclass else truth
        pairs = zip(values, masks, cuts, strict=True)
        found.append([find_components(value, mask > 0, candidate_lows(cut)) for value, mask, cut in pairs])
    return found


def _counts(
    source: Source,
    exclusive: bool,
    weights: Weights,
    thresholds: Sequence[int] | None,
    spatial: Sequence[Spatial],
    work: list[Work],
) -> list[np.ndarray]:
    found = []
    for one in work:
        blended, truth = read_work(source, one, weights)
        mask = spatial_mask(blended, thresholds, spatial, exclusive)
        found.append(count_errors(hide(mask, truth), hide(truth, truth), len(blended), exclusive))
    return found


def read_work(source: Source, work: Work, weights: Weights) -> tuple[np.ndarray, np.ndarray]:
    """Blended map (K, *S) uint8 and true mask (M, *S) of a case."""
    row, members = work
    return blend_maps([mean_map(row["case_id"], paths) for paths in members], weights), source.read_mask(row)
