"""Tuned numbers that are honest: each fold is scored with settings tuned on the other folds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from heldout.blend.objective import Objective, Settings
from heldout.blend.weights import search
from heldout.metrics import get_metric, interval, score


@dataclass(frozen=True)
class CrossFit:
    """A tuned blend and what it is worth.

    Attributes:
        settings: Tuned on all folds: what will be used.
        in_sample: Table of all cases under those settings, which saw every case's truth.
        cross_fitted: Table in which every case is predicted with settings tuned on the other folds; None with one
            fold only, where no other exists.
        by_fold: The settings that each fold was scored with.
        scores: ``in_sample``, ``cross_fitted``, ``optimism`` (how much better in-sample is) and ``low``, ``high``
            (95 % over patients, of the cross-fitted score); None where undefined.
    """

    settings: Settings
    in_sample: pd.DataFrame
    cross_fitted: pd.DataFrame | None
    by_fold: dict[int, Settings]
    scores: dict[str, float | None]


def crossfit(objective: Objective, *, trials: int, seed: int) -> CrossFit:
    """Tune on all folds for use, and on all but one at a time for the score.

    Raises:
        UserError: the score is undefined on the cases to tune on.
    """
    _, settings = search(objective, trials, seed)
    in_sample = objective.table(settings)
    fold_of = objective.frame["fold"].to_numpy()
    folds = [int(fold) for fold in np.unique(fold_of)]
    by_fold: dict[int, Settings] = {}
    parts: list[pd.DataFrame] = []
    if len(folds) > 1:
        for fold in folds:
            _, by_fold[fold] = search(objective.select(fold_of != fold), trials, seed)
            parts.append(objective.select(fold_of == fold).table(by_fold[fold]))
    table = pd.concat(parts, ignore_index=True) if parts else None
    scores = _scores(objective, in_sample, table)
    return CrossFit(settings, in_sample, table, by_fold, scores)


def _scores(objective: Objective, in_sample: pd.DataFrame, table: pd.DataFrame | None) -> dict[str, float | None]:
    flattered = score(objective.metric, in_sample, objective.classes)
    scores = {"in_sample": flattered, "cross_fitted": None, "optimism": None, "low": None, "high": None}
    if table is not None:
        honest = interval(objective.metric, table, objective.classes)
        scores |= {"cross_fitted": honest.value, "low": honest.low, "high": honest.high}
        sign = 1 if get_metric(objective.metric).higher_is_better else -1
        scores["optimism"] = sign * (flattered - honest.value)
    return {key: float(value) if value is not None and np.isfinite(value) else None for key, value in scores.items()}
