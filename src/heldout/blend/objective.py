"""What tuning maximizes: the score of a weighting on given cases, with the best thresholds found in the same pass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Protocol, Self

import numpy as np
import pandas as pd

from heldout.blend.histogram import JointHistogram
from heldout.blend.mixing import FITTED, POWERS, fit_classes, fit_ranks, fit_stack, is_alone, mix, shares_of
from heldout.blend.presence import presence_of_levels
from heldout.blend.records import BlendSettings, Mixing
from heldout.blend.thresholds import best_by_class, best_thresholds, by_threshold, refuse_undefined
from heldout.blend.trial import LabelTrial, PresenceTrial, ThresholdTrial
from heldout.blend.values import LEVELS, grade_levels, labels_of, middle_cuts
from heldout.errors import UserError
from heldout.metrics.registry import Metric, check_kind, get_metric, get_ranking_metric, score
from heldout.metrics.tables import Columns, columns_of
from heldout.predict.prediction import HALF


class Objective(Protocol):
    """Cases whose blend can be scored.

    Attributes:
        frame: One row per case: case_id, patient_id, fold and y_<class>.
        classes: Names of the classes.
        metric: Name of the score.
        members: Number of members.
    """

    @property
    def frame(self) -> pd.DataFrame: ...  # noqa: D102

    @property
    def classes(self) -> tuple[str, ...]: ...  # noqa: D102

    @property
    def metric(self) -> str: ...  # noqa: D102

    @property
    def members(self) -> int: ...  # noqa: D102

    def tune(self, weights: Sequence[int]) -> tuple[float, BlendSettings]:
        """Score of a weighting with its best thresholds, and those."""

    def fitted(self) -> tuple[float, BlendSettings] | None:
        """Score and settings where weights are fitted and not searched; else None."""

    def table(self, settings: BlendSettings) -> pd.DataFrame:
        """The cases with what the settings predict for them."""

    def select(self, chosen: np.ndarray) -> Self:
        """The objective of the cases that an (n,) bool array chooses."""

    def keep(self, members: Sequence[int]) -> Self:
        """The objective of some members."""


@dataclass(frozen=True)
class DerivedObjective:
    """An objective that completes the tables of another one, with its cases, classes, metric and members.

    Attributes:
        base: The other one.
    """

    base: Objective

    @property
    def frame(self) -> pd.DataFrame:
        """See :class:`Objective`."""
        return self.base.frame

    @property
    def classes(self) -> tuple[str, ...]:
        """See :class:`Objective`."""
        return self.base.classes

    @property
    def metric(self) -> str:
        """See :class:`Objective`."""
        return self.base.metric

    @property
    def members(self) -> int:
        """Number of members that are weighted."""
        return self.base.members


@dataclass(frozen=True)
class ScoreObjective:
    """Cases of which every member gives numbers; attributes as :class:`Objective`.

    Attributes:
        scores: (members, n, K) what the members give.
    """

    frame: pd.DataFrame
    classes: tuple[str, ...]
    metric: str
    scores: np.ndarray

    @property
    def members(self) -> int:
        """Number of members."""
        return len(self.scores)

    def select(self, chosen: np.ndarray) -> Self:
        """The objective of the chosen cases; see :class:`Objective`."""
        return replace(self, frame=self.frame[chosen].reset_index(drop=True), scores=self.scores[:, chosen])

    def keep(self, members: Sequence[int]) -> Self:
        """The objective of some members; see :class:`Objective`."""
        return replace(self, scores=self.scores[list(members)])


@dataclass(frozen=True)
class LabelObjective(ScoreObjective):
    """Classification; attributes as :class:`ScoreObjective`, of probabilities.

    Attributes:
        exclusive: Classes exclude each other, and the most probable one is called.
        method: How members are put together, one of :data:`heldout.blend.mixing.METHODS`.
    """

    exclusive: bool
    method: str = "mean"

    def tune(self, weights: Sequence[int]) -> tuple[float, BlendSettings]:
        """Score of a weighting with its best thresholds, and those; see :class:`Objective`."""
        if is_alone(weights) or self.method in ("mean", *FITTED):
            return self._tune(weights, Mixing())
        if self.method == "rank":
            return self._tune(weights, self._ranks)
        tried = [self._tune(weights, Mixing(method="power", power=power)) for power in POWERS]
        higher = get_metric(self.metric).higher_is_better
        return (max if higher else min)(tried, key=lambda one: one[0])

    def fitted(self) -> tuple[float, BlendSettings] | None:
        """Score and settings of a method that fits its weights; None of one whose weights are searched."""
        if self.method not in FITTED or self.members < 2:
            return None
        if self.method == "stack":
            mixing = fit_stack(self.scores, self._truth)
        else:
            sign = 1 if get_metric(self.metric).higher_is_better else -1

            def worth(k: int, weights: tuple[int, ...]) -> float:
                alone = replace(self, classes=(self.classes[k],), scores=self.scores[..., k : k + 1], exclusive=False)
                return sign * alone._tune(weights, Mixing())[0]

            mixing = fit_classes(self.members, len(self.classes), worth)
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
        """The cases with p_<class> and d_<class>; see :class:`Objective`."""
        blended = mix(self.scores, settings.weights, settings.mixing, self.exclusive)
        called = labels_of(blended, settings.thresholds, self.exclusive)
        new = {f"p_{name}": blended[:, k] for k, name in enumerate(self.classes)}
        new |= {f"d_{name}": called[:, k].astype(float) for k, name in enumerate(self.classes)}
        return self.frame.assign(**new)


@dataclass(frozen=True)
class MaskObjective:
    """Segmentation; attributes as :class:`Objective`.

    Attributes:
        histograms: One of all classes where they are exclusive, else one per class.
    """

    frame: pd.DataFrame
    classes: tuple[str, ...]
    metric: str
    histograms: tuple[JointHistogram, ...]

    @property
    def members(self) -> int:
        """Number of members."""
        return self.histograms[0].values.shape[0]

    @property
    def multiclass(self) -> bool:
        """Whether a voxel gets its most probable class, so that there is no threshold."""
        return self.histograms[0].values.shape[1] > 1

    def untuned(self, weights: Sequence[int]) -> BlendSettings:
        """A weighting with thresholds of one half."""
        return BlendSettings(tuple(weights), () if self.multiclass else (HALF,) * len(self.classes))

    def tune(self, weights: Sequence[int]) -> tuple[float, BlendSettings]:
        """Score of a weighting with its best thresholds, and those; see :class:`Objective`."""
        metric = get_metric(self.metric)
        if metric.uses != "counts":
            presence = np.concatenate([part.presence(weights) for part in self._presence_trials], 1)
            value = score(self.metric, self._with_presence(presence), self.classes)
            return refuse_undefined(value, metric, self.classes), self.untuned(weights)
        if metric.whole is not None:
            return self._tune_whole(metric, weights)
        if self.multiclass:
            counts = self._label_trial.counts(weights)
            once = np.ones((1, len(counts)))
            value = float(np.mean([metric.one_class(c, once)[0] for c in counts.swapaxes(0, 1)]))
            return refuse_undefined(value, metric, self.classes), BlendSettings(tuple(weights), ())
        scores = np.stack([part.scores(weights) for part in self._threshold_trials])
        return best_by_class(metric, scores, weights, self.classes)

    def fitted(self) -> None:
        """Weights of masks are searched; see :class:`Objective`."""

    def _tune_whole(self, metric: Metric, weights: Sequence[int]) -> tuple[float, BlendSettings]:
        """Best thresholds of a score that is not a mean over classes: one class's after the other."""
        settings = self.untuned(weights)
        thresholds, columns = settings.thresholds, columns_of(self.table(settings), self.classes)
        if thresholds:
            counts = np.stack([part.counts_by_threshold(weights) for part in self.histograms], 2).astype(float)

            def at(cuts: tuple[int, ...]) -> Columns:
                return replace(columns, counts=np.stack([counts[:, cut, k] for k, cut in enumerate(cuts)], 1))

            levels = [np.arange(1, LEVELS)] * len(self.classes)
            thresholds = best_thresholds(metric, lambda cuts: metric.value(at(cuts)), levels, thresholds)
            columns = at(thresholds)
        return refuse_undefined(metric.value(columns), metric, self.classes), BlendSettings(tuple(weights), thresholds)

    def table(self, settings: BlendSettings) -> pd.DataFrame:
        """The cases with p_, tp_, fp_ and fn_<class>; see :class:`Objective`."""
        if self.multiclass:
            counts = self.histograms[0].counts_by_label(settings.weights)
        else:
            pairs = zip(self.histograms, settings.thresholds, strict=True)
            counts = np.stack([part.counts_by_threshold(settings.weights)[:, t] for part, t in pairs], 1)
        new = {
            f"{kind}_{name}": counts[:, k, i].astype(np.int64)
            for k, name in enumerate(self.classes)
            for i, kind in enumerate(("tp", "fp", "fn"))
        }
        presence = np.concatenate([presence_of_levels(part.levels(settings.weights)) for part in self.histograms], 1)
        return self._with_presence(presence).assign(**new)

    def select(self, chosen: np.ndarray) -> MaskObjective:
        """The objective of the chosen cases; see :class:`Objective`."""
        histograms = tuple(part.select(chosen) for part in self.histograms)
        return replace(self, frame=self.frame[chosen].reset_index(drop=True), histograms=histograms)

    def keep(self, members: Sequence[int]) -> MaskObjective:
        """The objective of some members; see :class:`Objective`."""
        kept = (replace(part, values=np.ascontiguousarray(part.values[list(members)])) for part in self.histograms)
        return replace(self, histograms=tuple(kept))

    def _with_presence(self, presence: np.ndarray) -> pd.DataFrame:
        return self.frame.assign(**{f"p_{name}": presence[:, k] for k, name in enumerate(self.classes)})

    @cached_property
    def _threshold_trials(self) -> list[ThresholdTrial]:
        return [ThresholdTrial(part, get_metric(self.metric)) for part in self.histograms]

    @cached_property
    def _label_trial(self) -> LabelTrial:
        return LabelTrial(self.histograms[0])

    @cached_property
    def _presence_trials(self) -> list[PresenceTrial]:
        return [PresenceTrial(part) for part in self.histograms]


def check_metric(name: str, kind: str) -> Metric:
    """Metric that can score predictions of a kind.

    Raises:
        UserError: unknown metric, or one of masks for predictions without.
    """
    metric = get_ranking_metric(name)
    check_kind(metric, kind)
    if not metric.tunable:
        other = "dice_pos" if metric.kind == "segmentation" else "roc_auc"
        raise UserError(
            f"metric {name} cannot be tuned: it needs whole masks or all cases of a patient at once; choose another, "
            f"such as --metric {other}, and read {name} of the members"
        )
    return metric
