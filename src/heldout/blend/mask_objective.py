"""What tuning maximizes for segmentations: the score of blended maps, with the best thresholds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TypeVar

import numpy as np
import pandas as pd

from heldout.blend.histogram import JointHistogram
from heldout.blend.mixing import rows_of, settings_of
from heldout.blend.objective import Tunable
from heldout.blend.presence import presence_of_levels
from heldout.blend.records import BlendSettings, Weights
from heldout.blend.thresholds import best_by_class, best_thresholds, refuse_undefined
from heldout.blend.trial import LabelTrial, PresenceTrial, ThresholdTrial
from heldout.blend.values import LEVELS
from heldout.metrics.registry import Metric, get_metric, score
from heldout.metrics.tables import Columns, columns_of
from heldout.predict.prediction import HALF

Part = TypeVar("Part")


@dataclass(frozen=True)
class MaskObjective:
    """Segmentation; attributes as :class:`heldout.blend.objective.Objective`.

    Attributes:
        histograms: One of all classes where they are exclusive, else one per class.
        method: How members are put together, one of :data:`heldout.blend.mixing.OF_MASKS`.
    """

    frame: pd.DataFrame
    classes: tuple[str, ...]
    metric: str
    histograms: tuple[JointHistogram, ...]
    method: str = "mean"

    @property
    def members(self) -> int:
        """Number of members."""
        return self.histograms[0].values.shape[0]

    @property
    def multiclass(self) -> bool:
        """Whether a voxel gets its most probable class, so that there is no threshold."""
        return self.histograms[0].values.shape[1] > 1

    @property
    def columns(self) -> int:
        """How many weights a member has: see :class:`heldout.blend.objective.Objective`."""
        if self.method != "classes" or len(self.classes) == 1:
            return 1
        return len(self.classes) + self.multiclass

    @property
    def separable(self) -> bool:
        """Whether the score is a mean over classes that do not depend on each other."""
        return get_metric(self.metric).whole is None and not self.multiclass

    def alone(self, place: int) -> Tunable | None:
        """One class, of exclusive ones with a threshold; see :class:`heldout.blend.objective.Objective`."""
        number = place - self.multiclass
        if number < 0:
            return None
        histogram = self.histograms[0].of_class(number) if self.multiclass else self.histograms[number]
        return replace(self, classes=(self.classes[number],), histograms=(histogram,), method="mean")

    def untuned(self, weights: Weights) -> BlendSettings:
        """A weighting with thresholds of one half."""
        return settings_of(weights, () if self.multiclass else (HALF,) * len(self.classes))

    def levels(self, weights: Weights) -> np.ndarray:
        """(n, K, 256) voxels of every case at each probability."""
        return np.concatenate([part.levels(row) for part, row in self._each(self.histograms, weights)], 1)

    def tune(self, weights: Weights) -> tuple[float, BlendSettings]:
        """Score of a weighting with its best thresholds, and those; see :class:`heldout.blend.objective.Objective`."""
        metric = get_metric(self.metric)
        if metric.uses != "counts":
            presence = np.concatenate([one.presence(row) for one, row in self._each(self._presence_trials, weights)], 1)
            value = score(self.metric, self._with_presence(presence), self.classes)
            return refuse_undefined(value, metric, self.classes), self.untuned(weights)
        if metric.whole is not None:
            return self._tune_whole(metric, weights)
        if self.multiclass:
            counts = self._label_trial.counts(weights)
            once = np.ones((1, len(counts)))
            value = float(np.mean([metric.one_class(c, once)[0] for c in counts.swapaxes(0, 1)]))
            return refuse_undefined(value, metric, self.classes), settings_of(weights, ())
        scores = np.stack([one.scores(row) for one, row in self._each(self._threshold_trials, weights)])
        return best_by_class(metric, scores, weights, self.classes)

    def fitted(self) -> None:
        """Weights of masks are searched; see :class:`heldout.blend.objective.Objective`."""

    def _each(self, parts: Sequence[Part], weights: Weights) -> list[tuple[Part, Weights]]:
        """Histograms, or what is made of them, each with the weights of its classes."""
        rows = rows_of(weights)
        if len(parts) == 1:
            return [(parts[0], rows)]
        return list(zip(parts, rows if len(rows) > 1 else rows * len(parts), strict=True))

    def _tune_whole(self, metric: Metric, weights: Weights) -> tuple[float, BlendSettings]:
        """Best thresholds of a score that is not a mean over classes: one class's after the other."""
        settings = self.untuned(weights)
        thresholds, columns = settings.thresholds, columns_of(self.table(settings), self.classes)
        if thresholds:
            counts = np.stack([one.counts_by_threshold(row) for one, row in self._each(self.histograms, weights)], 2)

            def at(cuts: tuple[int, ...]) -> Columns:
                return replace(columns, counts=np.stack([counts[:, cut, k] for k, cut in enumerate(cuts)], 1))

            levels = [np.arange(1, LEVELS)] * len(self.classes)
            thresholds = best_thresholds(metric, lambda cuts: metric.value(at(cuts)), levels, thresholds)
            columns = at(thresholds)
        return refuse_undefined(metric.value(columns), metric, self.classes), replace(settings, thresholds=thresholds)

    def table(self, settings: BlendSettings) -> pd.DataFrame:
        """The cases with p_, tp_, fp_ and fn_<class>; see :class:`heldout.blend.objective.Objective`."""
        if self.multiclass:
            counts = self.histograms[0].counts_by_label(settings.rows)
        else:
            each = zip(self._each(self.histograms, settings.rows), settings.thresholds, strict=True)
            counts = np.stack([part.counts_by_threshold(row)[:, t] for (part, row), t in each], 1)
        new = {
            f"{kind}_{name}": counts[:, k, i].astype(np.int64)
            for k, name in enumerate(self.classes)
            for i, kind in enumerate(("tp", "fp", "fn"))
        }
        return self._with_presence(presence_of_levels(self.levels(settings.rows))).assign(**new)

    def select(self, chosen: np.ndarray) -> MaskObjective:
        """The objective of the chosen cases; see :class:`heldout.blend.objective.Objective`."""
        histograms = tuple(part.select(chosen) for part in self.histograms)
        return replace(self, frame=self.frame[chosen].reset_index(drop=True), histograms=histograms)

    def keep(self, members: Sequence[int]) -> MaskObjective:
        """The objective of some members; see :class:`heldout.blend.objective.Objective`."""
        kept = (replace(part, values=np.ascontiguousarray(part.values[list(members)])) for part in self.histograms)
        return replace(self, histograms=tuple(kept))

    def _with_presence(self, presence: np.ndarray) -> pd.DataFrame:
        return self.frame.assign(**{f"p_{name}": presence[:, k] for k, name in enumerate(self.classes)})

    @cached_property
    def _threshold_trials(self) -> list[ThresholdTrial]:
        return [ThresholdTrial(part, get_metric(self.metric)) for part in self.histograms]

    @cached_property
    def _label_trial(self) -> LabelTrial:
        return LabelTrial(self.histograms[0], self.columns > 1)

    @cached_property
    def _presence_trials(self) -> list[PresenceTrial]:
        return [PresenceTrial(part, self.multiclass and self.columns > 1) for part in self.histograms]
