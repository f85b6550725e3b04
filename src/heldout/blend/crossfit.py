"""Cross-fitting: each fold is scored with settings tuned on the other folds.

The folds' tables are put together and scored once. Scores of ranking compare the cases of a fold with each other only,
as :func:`heldout.metrics.ranking.roc_auc_within_folds` says: a fold with many positive cases leaves few to the folds
that its settings are tuned on, so settings that adapt to their number (as a calibration's intercept does, or weights
tuned for log-loss among members on different levels) put that fold's cases lower than the others', and pooled ranking
falls below chance (Airola et al. 2009; Forman and Scholz 2010). A calibration orders nothing anew: cross-fitted ranking
is scored on the probabilities before it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from heldout.blend.objective import Objective
from heldout.blend.records import Alternative, DecisionScore, Settings
from heldout.blend.stages import finish
from heldout.blend.study import Plan
from heldout.blend.weights import Tuned, baselines, search
from heldout.journal import Journal
from heldout.metrics import get_metric, interval, score
from heldout.progress import progress_bar

TUNED = "tuned"
STAGED = "tuned, all stages"


@dataclass(frozen=True)
class CrossFit:
    """A tuned blend and what it is worth.

    Attributes:
        settings: Tuned on all folds: what will be used.
        in_sample: Table of all cases under those settings, which saw every case's truth.
        cross_fitted: Table in which every case is predicted with settings tuned on the other folds; None with one
            fold only, where no other exists.
        by_fold: The settings that each fold was scored with.
        scores: What they scored.
        baselines: Every single member, equal weights, the greedy selection, the tuned weights and, where there are
            later stages, all of them; each with its thresholds tuned, cross-fitted on the other folds.
    """

    settings: Settings
    in_sample: pd.DataFrame
    cross_fitted: pd.DataFrame | None
    by_fold: dict[int, Settings]
    scores: DecisionScore
    baselines: dict[str, Alternative] = field(default_factory=dict)


def crossfit(
    objective: Objective,
    plan: Plan,
    *,
    journal: Journal | None = None,
    names: Sequence[str] | None = None,
    progress: bool = False,
) -> CrossFit:
    """Tune on all folds for use, and on all but one at a time for the score.

    Args:
        objective: All cases.
        plan: How to search.
        journal: Where trials are kept and found; None keeps nothing.
        names: Names of the members, for the baselines.
        progress: Show a progress bar on the error stream.

    Raises:
        UserError: the score is undefined on the cases to tune on, or the journal is damaged.
    """
    fold_of = objective.frame["fold"].to_numpy()
    folds = [int(fold) for fold in np.unique(fold_of)] if len(np.unique(fold_of)) > 1 else []
    by_fold: dict[int, Settings] = {}
    tables: dict[str, list[pd.DataFrame]] = {}
    with progress_bar(disable=not progress) as bar:
        task = bar.add_task("Searching weights", total=1 + len(folds))
        found = _methods(objective, plan, journal, "all")
        bar.advance(task)
        last = STAGED if STAGED in found else TUNED
        for fold in folds:
            others = _methods(objective.select(fold_of != fold), plan, journal, f"without fold {fold}")
            held_out = objective.select(fold_of == fold)
            by_fold[fold] = others[last][1]
            for method, (_, settings) in others.items():
                tables.setdefault(method, []).append(held_out.table(settings))
            bar.advance(task)
    settings = found[last][1]
    in_sample = objective.table(settings)
    cross_fitted = {method: pd.concat(parts, ignore_index=True) for method, parts in tables.items()}
    scores = _scores(objective, in_sample, cross_fitted.get(last))
    rows = {
        _named(method, names): Alternative(
            in_sample=_finite(value),
            cross_fitted=_finite(score(objective.metric, cross_fitted[method], objective.classes)) if folds else None,
            weights=one.weights,
        )
        for method, (value, one) in found.items()
    }
    return CrossFit(settings, in_sample, cross_fitted.get(last), by_fold, scores, rows)


def _methods(objective: Objective, plan: Plan, journal: Journal | None, part: str) -> dict[str, Tuned]:
    """Everything that is compared, tuned on one part of the cases."""
    found = baselines(objective)
    tuned = search(objective, plan, starts=found, journal=journal, part=part)
    staged = finish(objective, tuned)
    # weights and thresholds alone compare with the baselines; what the later stages add has a row of its own
    return {**found, TUNED: tuned} | ({} if staged is tuned else {STAGED: staged})


def _named(method: str, names: Sequence[str] | None) -> str:
    kind, _, number = method.partition(" ")
    return names[int(number)] if kind == "member" and names is not None else method


def _scores(objective: Objective, in_sample: pd.DataFrame, table: pd.DataFrame | None) -> DecisionScore:
    biased = score(objective.metric, in_sample, objective.classes)
    if table is None:
        return DecisionScore(in_sample=_finite(biased), cross_fitted=None, optimism=None, low=None, high=None)
    held = interval(objective.metric, table, objective.classes)
    sign = 1 if get_metric(objective.metric).higher_is_better else -1
    return DecisionScore(
        in_sample=_finite(biased),
        cross_fitted=_finite(held.value),
        optimism=_finite(sign * (biased - held.value)),
        low=_finite(held.low),
        high=_finite(held.high),
    )


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
