"""What tuning maximizes for classifications: the score of mixed probabilities, with the best thresholds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pandas as pd

from heldout.blend.mixing import POWERS, fit_ranks, fit_stack, is_alone, mix, settings_of, shares_of
from heldout.blend.objective import ScoreObjective, Tunable
from heldout.blend.records import BlendSettings, Mixing, Weights
from heldout.blend.thresholds import best_by_class, best_thresholds, by_threshold, refuse_undefined
from heldout.blend.values import grade_levels, labels_of, middle_cuts
from heldout.metrics.registry import get_metric
from heldout.metrics.tables import Columns
from heldout.predict.prediction import HALF


@dataclass(frozen=True)
class LabelObjective(ScoreObjective):
    """Classification; attributes as :class:`heldout.blend.objective.ScoreObjective`, of probabilities.

    Attributes:
        exclusive: Classes exclude each other, and the most probable one is called.
        method: How members are put together, one of :data:`heldout.blend.mixing.METHODS`.
    """

    exclusive: bool
    method: str = "mean"

    @property
    def columns(self) -> int:
        """How many weights a member has: see :class:`heldout.blend.objective.Objective`."""
        return len(self.classes) if self.method == "classes" else 1

    @property
    def separable(self) -> bool:
        """Whether the score is a mean over classes that do not depend on each other."""
        return super().separable and not self.exclusive

    def alone(self, place: int) -> Tunable:
        """One class; see :class:`heldout.blend.objective.Objective`."""
        name, scores = self.classes[place], self.scores[..., place : place + 1]
        return replace(self, classes=(name,), scores=scores, exclusive=False, method="mean")

    def tune(self, weights: Weights) -> tuple[float, BlendSettings]:
        """Score of a weighting with its best thresholds, and those; see :class:`heldout.blend.objective.Objective`."""
        settings = settings_of(weights, ())
        if settings.mixing:
            return self._tune(settings.weights, settings.mixing)
        weights = settings.weights
        if is_alone(weights) or self.method in ("mean", "stack", "classes"):
            return self._tune(weights, Mixing())
        if self.method == "rank":
            return self._tune(weights, self._ranks)
        tried = [self._tune(weights, Mixing(method="power", power=power)) for power in POWERS]
        higher = get_metric(self.metric).higher_is_better
        return (max if higher else min)(tried, key=lambda one: one[0])

    def fitted(self) -> tuple[float, BlendSettings] | None:
        """Score and settings of a method that fits its weights; None of one whose weights are searched."""
        if self.method != "stack" or self.members < 2:
            return None
        mixing = fit_stack(self.scores, self._truth)
        return self._tune(shares_of(mixing), mixing)

    @cached_property
    def _truth(self) -> np.ndarray:
        return self.frame[[f"y_{name}" for name in self.classes]].to_numpy(float)

    @cached_property
    def _ranks(self) -> Mixing:
        return fit_ranks(self.scores)

    def _tune(self, weights: Sequence[int], mixing: Mixing) -> tuple[float, BlendSettings]:
        """Score of mixed members with the best thresholds, and the settings."""
        metric = get_metric(self.metric)
        blended = mix(self.scores, weights, mixing, self.exclusive)
        known, truth = ~np.isnan(self._truth), self._truth > 0
        multiclass = self.exclusive and len(self.classes) > 1
        ordered = multiclass and metric.ordered
        thresholds = middle_cuts(len(self.classes)) if ordered else () if multiclass else (HALF,) * len(self.classes)
        if not multiclass and metric.uses == "predicted_label" and metric.whole is None:
            of_class = zip(truth.T, blended.T, known.T, strict=True)
            scores = np.stack([by_threshold(metric, y[rows], p[rows]) for y, p, rows in of_class])
            value, settings = best_by_class(metric, scores, weights, self.classes)
            return value, replace(settings, mixing=mixing)
        columns = Columns(
            truth,
            blended,
            labels_of(blended, thresholds, self.exclusive),
            None,
            multiclass,
            self.classes,
            known=None if known.all() else known,
            patients=self.frame["patient_id"].to_numpy(),
            folds=self.frame["fold"].to_numpy(),  # ranked within folds, as it is scored
        )
        if thresholds and metric.uses == "predicted_label":
            levels = [grade_levels(blended)] * len(self.classes) if ordered else list(np.rint(255 * blended).T)

            def value_at(cuts: tuple[int, ...]) -> float:
                return metric.value(replace(columns, predicted=labels_of(blended, cuts, self.exclusive)))

            tried = [np.unique(one).astype(int) for one in levels]
            tried[0] = np.zeros(1, int) if ordered else tried[0]  # the lowest grade is what reaches no cut point
            thresholds = best_thresholds(metric, value_at, tried, thresholds)
            columns = replace(columns, predicted=labels_of(blended, thresholds, self.exclusive))
        value = metric.value(columns)
        return refuse_undefined(value, metric, self.classes), BlendSettings(tuple(weights), thresholds, mixing=mixing)

    def table(self, settings: BlendSettings) -> pd.DataFrame:
        """The cases with p_<class> and d_<class>; see :class:`heldout.blend.objective.Objective`."""
        blended = mix(self.scores, settings.weights, settings.mixing, self.exclusive)
        called = labels_of(blended, settings.thresholds, self.exclusive)
        new = {f"p_{name}": blended[:, k] for k, name in enumerate(self.classes)}
        new |= {f"d_{name}": called[:, k].astype(float) for k, name in enumerate(self.classes)}
        return self.frame.assign(**new)
