"""Tuned after the members' weights: the masks, the presence score, its calibration, the labels predicted with it.

Each step is tuned on the same cases as the weights, so cross-fitting covers them all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd

from heldout.blend.calibrate import CHOICES, LINEAR, apply_calibration, fit_calibration
from heldout.blend.components import ComponentTuning
from heldout.blend.detections import DetectionObjective
from heldout.blend.label_objective import LabelObjective
from heldout.blend.levels import LevelObjective
from heldout.blend.mask_objective import MaskObjective
from heldout.blend.members import Member
from heldout.blend.numbers import NUMBER_METRICS, ValueObjective, fit_line
from heldout.blend.objective import DerivedObjective, Objective
from heldout.blend.postprocess import AnyHook, choices_of, describe_hook
from heldout.blend.presence import fuse, map_scores
from heldout.blend.records import OF_MAP, WHOLE, BlendSettings, Calibration, Change, Presence, Weights
from heldout.blend.study import SearchPlan
from heldout.blend.values import labels_of
from heldout.blend.weights import Tuned, search
from heldout.errors import UserError
from heldout.metrics import get_metric, score
from heldout.records import finite

Plain = LabelObjective | MaskObjective | ValueObjective | DetectionObjective
CALIBRATION_METRICS = ("ece", "mce", "brier", "log_loss")


@dataclass(frozen=True)
class Refinement:
    """Which steps there are after the weights.

    Attributes:
        spatial: Whether components of masks are chosen, see :mod:`heldout.blend.spatial`.
        presence_metric: Score that the presence mix is tuned for; None keeps the mean of the most probable voxels.
        calibrate: Method of :func:`heldout.blend.calibrate.fit_calibration`.
        plan: How to search the presence mix.
    """

    spatial: bool = False
    presence_metric: str | None = None
    calibrate: str = "none"
    plan: SearchPlan = field(default_factory=SearchPlan)

    def __post_init__(self) -> None:
        """Check the fields."""
        if self.calibrate not in CHOICES:
            raise UserError(f"calibration {self.calibrate!r} does not exist: choose one of {', '.join(CHOICES)}")
        if self.presence_metric is not None and get_metric(self.presence_metric).kind != "classification":
            raise UserError(f"--presence-metric {self.presence_metric} scores masks: choose one of labels, as roc_auc")


@dataclass(frozen=True)
class RefinedObjective(DerivedObjective):
    """An objective whose case scores are worked on after its weights were found; attributes as :class:`Objective`.

    Attributes:
        base: What the weights are tuned on.
        labels: (L, n, K) probabilities of what classifies whole cases beside segmentations.
        steps: The steps.
        maps: The full maps of the cases, where components are chosen; else None.
        hook: The experiment's own last step; None where it has none.
    """

    base: Plain | LevelObjective
    labels: np.ndarray
    steps: Refinement
    maps: ComponentTuning | None = None
    hook: AnyHook | None = None

    @property
    def plain(self) -> Plain:
        """The base; of groups, what does not depend on how they are pooled."""
        return _plain(self.base)

    @property
    def multiclass(self) -> bool:
        """Whether every case is of exactly one class, so that its scores share a probability of one."""
        return isinstance(self.plain, LabelObjective) and self.plain.exclusive and len(self.classes) > 1

    def tune(self, weights: Weights) -> tuple[float, BlendSettings]:
        """Score of a weighting, before the steps; see :class:`Objective`."""
        return self.base.tune(weights)

    def fitted(self) -> Tuned | None:
        """Where weights are fitted, before the steps; see :class:`Objective`."""
        return self.base.fitted()

    def select(self, chosen: np.ndarray) -> RefinedObjective:
        """The objective of the chosen cases; see :class:`Objective`."""
        maps = None if self.maps is None else self.maps.select(chosen)
        hook = None if self.hook is None else self.hook.select(chosen)
        return replace(self, base=self.base.select(chosen), labels=self.labels[:, chosen], maps=maps, hook=hook)

    def keep(self, members: Sequence[int]) -> RefinedObjective:
        """The objective of some members, for their weights; see :class:`Objective`."""
        return replace(self, base=self.base.keep(members))

    def finish(self, settings: BlendSettings) -> BlendSettings:
        """The settings with every step tuned on these cases.

        Raises:
            UserError: a class lacks the cases that a step needs.
        """
        settings = self._finish_scores(settings)
        if self.hook is not None:
            choices = choices_of(self.hook.config)
            tables = self.hook.tables(self._before_hook(settings), self.classes, settings, choices)
            sign = 1 if get_metric(self.metric).higher_is_better else -1
            values = [sign * score(self.metric, self._called(one, settings), self.classes) for one in tables]
            settings = replace(settings, postprocess=choices[int(np.argmax(np.nan_to_num(values, nan=-np.inf)))])
        return settings

    def _finish_scores(self, settings: BlendSettings) -> BlendSettings:
        steps, truth = self.steps, self.frame[[f"y_{name}" for name in self.classes]].to_numpy(float)
        if self.maps is not None:
            settings = replace(settings, spatial=self.maps.tune(settings, get_metric(self.metric)))
        if steps.presence_metric is not None:
            sources = LabelObjective(self.frame, self.classes, steps.presence_metric, self._sources(settings), False)
            settings = replace(settings, presence=search(sources, steps.plan)[1].weights)
        if steps.calibrate != "none":
            scores, patients = self._uncalibrated(settings), self.frame["patient_id"].to_numpy(str)
            if isinstance(self.plain, ValueObjective):
                return replace(settings, calibration=fit_line(truth, scores))
            fitted = fit_calibration(steps.calibrate, truth, scores, patients, self.classes, self.multiclass)
            settings = replace(settings, calibration=fitted)
            if isinstance(self.plain, LabelObjective) and settings.thresholds:
                calibrated = apply_calibration(fitted, scores)[None]
                cut = replace(self.plain, scores=calibrated, method="mean").tune((WHOLE,))[1]
                settings = replace(settings, thresholds=cut.thresholds)
        return settings

    def table(self, settings: BlendSettings) -> pd.DataFrame:
        """The cases with what the settings predict; see :class:`Objective`.

        Where presence was mixed, ``top_<class>`` is the score without that; where scores were calibrated,
        ``uncalibrated_<class>`` is the score before.
        """
        table = self._before_hook(settings)
        if self.hook is not None and settings.postprocess is not None:
            [table] = self.hook.tables(table, self.classes, settings, [settings.postprocess])
        return self._called(table, settings)

    def _before_hook(self, settings: BlendSettings) -> pd.DataFrame:
        table = self.base.table(settings)
        new: dict[str, np.ndarray] = {}
        scores = self._uncalibrated(settings)
        if self.maps is not None and settings.spatial:
            counts = self.maps.counts(settings)
            for index, kind in enumerate(("tp", "fp", "fn")):
                new |= _columns(kind, self.classes, counts[..., index])
        if settings.presence:
            new |= _columns("top", self.classes, table[[f"p_{name}" for name in self.classes]].to_numpy())
        if self.steps.calibrate != "none":
            new |= _columns("uncalibrated", self.classes, scores)
        final = apply_calibration(settings.calibration, scores).astype(np.float32)
        return table.assign(**new, **_columns("p", self.classes, final.astype(float)))

    def _called(self, table: pd.DataFrame, settings: BlendSettings) -> pd.DataFrame:
        """The table with the labels of its scores, where cases have labels."""
        if not isinstance(self.plain, LabelObjective):
            return table
        final = table[[f"p_{name}" for name in self.classes]].to_numpy(np.float32)
        called = labels_of(final, settings.thresholds, self.plain.exclusive)
        return table.assign(**_columns("d", self.classes, called.astype(float)))

    def _sources(self, settings: BlendSettings) -> np.ndarray:
        """(3 + L, n, K) everything that says something of presence."""
        assert isinstance(self.base, MaskObjective), "presence is mixed for segmentations alone"
        levels = self.base.levels(settings.rows)
        return np.concatenate([map_scores(levels, settings.thresholds), self.labels])

    def _uncalibrated(self, settings: BlendSettings) -> np.ndarray:
        if settings.presence:
            sources = self._sources(settings)
            return fuse(sources[: len(OF_MAP)], sources[len(OF_MAP) :], settings.presence)
        return self.base.table(settings)[[f"p_{name}" for name in self.classes]].to_numpy(float)


def presence_members(members: Sequence[Member], labels: Sequence[Member]) -> dict[str, Member]:
    """Members whose scores say whether a class is present, by the name that their share of it has.

    Args:
        members: Members that are blended: those with a second head count.
        labels: Classifications beside segmentations.
    """
    return {f"{member.name}/head": member for member in members if member.two_heads} | {m.name: m for m in labels}


def add_refinement(
    objective: Plain | LevelObjective,
    labels: Sequence[Member],
    steps: Refinement,
    maps: ComponentTuning | None = None,
    hook: AnyHook | None = None,
) -> Objective:
    """The objective with its steps, or as it is where there is none.

    Args:
        objective: What the weights are tuned on.
        labels: Second heads of segmentations and classifications beside them, which are mixed into the presence score.
        maps: The full maps of the cases, to choose components in.
        hook: The experiment's own last step.
        steps: The steps; the presence metric is the AUC where those ask for one and none is named.

    Raises:
        UserError: a presence metric is named for classifications.
    """
    if labels and steps.presence_metric is None:
        steps = replace(steps, presence_metric="roc_auc")
    numbers = isinstance(_plain(objective), ValueObjective)
    if (steps.calibrate == LINEAR) != numbers and steps.calibrate not in ("none", "auto"):
        fitting = LINEAR if numbers else "temperature, platt, isotonic"
        raise UserError(f"--calibrate {steps.calibrate} does not fit these members: choose {fitting} or auto")
    if steps.presence_metric is not None and not isinstance(objective, MaskObjective):
        raise UserError("--presence-metric is for blends of segmentations: leave it out, or add a segmentation")
    metric = get_metric(objective.metric)
    by_class = metric.uses == "counts" and metric.whole is None
    if steps.spatial and not (isinstance(objective, MaskObjective) and by_class):
        raise UserError(f"--spatial works on masks, which {metric.name} does not score class by class: leave it out")
    if not steps.spatial and steps.presence_metric is None and steps.calibrate == "none" and hook is None:
        return objective
    case_ids = objective.frame["case_id"]
    predicted = [[member.scores(case_id) for case_id in case_ids] for member in labels]
    scores = np.array(predicted, float).reshape(-1, len(case_ids), len(objective.classes))
    return RefinedObjective(objective, scores, steps, maps if steps.spatial else None, hook)


def finish(objective: Objective, tuned: Tuned) -> Tuned:
    """Score and settings with the steps tuned, where the objective has any."""
    if not isinstance(objective, RefinedObjective):
        return tuned
    settings = objective.finish(tuned[1])
    return float(score(objective.metric, objective.table(settings), objective.classes)), settings


def describe_refinement(
    objective: Objective,
    settings: BlendSettings,
    in_sample: pd.DataFrame,
    cross_fitted: pd.DataFrame | None,
    labels: Sequence[str],
) -> dict[str, Any]:
    """What was tuned, and what it is worth: a decision's ``spatial``, ``presence``, ``calibration``, ``postprocess``.

    Args:
        objective: What was tuned.
        settings: Tuned on all cases.
        in_sample: Table under those settings.
        cross_fitted: Table with every fold under settings tuned on the others; None with one fold.
        labels: Names of what classifies whole cases beside segmentations.
    """
    if not isinstance(objective, RefinedObjective):
        return {}
    tables = {"in_sample": in_sample, "cross_fitted": cross_fitted}
    spatial = dict(zip(objective.classes, settings.spatial, strict=True)) if settings.spatial else None
    presence = calibration = None
    metric = objective.steps.presence_metric
    if metric is not None and settings.presence:
        shares = {name: share / WHOLE for name, share in zip([*OF_MAP, *labels], settings.presence, strict=True)}
        scores = {key: _before_and_after(table, "top", [metric], objective.classes) for key, table in tables.items()}
        presence = Presence(metric=metric, shares=shares, scores=scores)
    if objective.steps.calibrate != "none":
        judged = NUMBER_METRICS if isinstance(objective.plain, ValueObjective) else CALIBRATION_METRICS
        scores = {
            key: _before_and_after(table, "uncalibrated", judged, objective.classes) for key, table in tables.items()
        }
        found = settings.calibration
        calibration = Calibration(
            asked=objective.steps.calibrate,
            method=found.method,
            multiclass=objective.multiclass,
            maps=found.maps,
            scores=scores,
        )
    postprocess = None if objective.hook is None else describe_hook(objective.hook, settings)
    fields = {"spatial": spatial, "presence": presence, "calibration": calibration, "postprocess": postprocess}
    return {name: value for name, value in fields.items() if value is not None}


def _before_and_after(
    table: pd.DataFrame | None, before: str, metrics: Sequence[str], classes: Sequence[str]
) -> dict[str, Change] | None:
    if table is None:
        return None
    # whether the predicted labels were good is another question: only probabilities are looked at here
    final = table.drop(columns=[f"uncalibrated_{name}" for name in classes], errors="ignore")
    earlier = final.assign(**{f"p_{name}": table[f"{before}_{name}"] for name in classes})
    if before == "top":
        final = final.assign(**{f"p_{name}": table.get(f"uncalibrated_{name}", table[f"p_{name}"]) for name in classes})
    return {
        metric: Change(before=finite(score(metric, earlier, classes)), after=finite(score(metric, final, classes)))
        for metric in metrics
    }


def _plain(objective: Plain | LevelObjective) -> Plain:
    return objective.plain if isinstance(objective, LevelObjective) else objective


def _columns(kind: str, classes: Sequence[str], values: np.ndarray) -> dict[str, np.ndarray]:
    return {f"{kind}_{name}": values[:, k] for k, name in enumerate(classes)}
