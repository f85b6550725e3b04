"""Cross-fitting: each fold is scored with settings tuned on the other folds.

The folds' tables are put together and scored once. Scores of ranking compare the cases of a fold with each other only,
as :func:`heldout.metrics.ranking.roc_auc_within_folds` says: a fold with many positive cases leaves few to the folds
that its settings are tuned on, so settings that adapt to their number (as a calibration's intercept does, or weights
tuned for log-loss among members on different levels) put that fold's cases lower than the others', and pooled ranking
falls below chance (Airola et al. 2009; Forman and Scholz 2010). A calibration orders nothing anew: cross-fitted ranking
is scored on the probabilities before it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd

from heldout.blend.objective import Objective
from heldout.blend.records import Alternative, BlendSettings, DecisionScore
from heldout.blend.refine import finish
from heldout.blend.study import SearchPlan
from heldout.blend.weights import ALIKE, EQUAL, TUNED, baselines, search_all
from heldout.errors import UserError
from heldout.journal import Journal
from heldout.metrics import get_metric, interval, score
from heldout.progress import progress_bar
from heldout.records import finite

COMPLETE = "tuned, all stages"  # on disk
_FEWER = 4  # part of the trials that a search behind a fold's choice has: there are as many as pairs of folds


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
            later steps, all of them; each with its thresholds tuned, cross-fitted on the other folds.
        note: Why equal weights, or the same for all classes, were kept in place of tuned ones; None where not.
    """

    settings: BlendSettings
    in_sample: pd.DataFrame
    cross_fitted: pd.DataFrame | None
    by_fold: dict[int, BlendSettings]
    scores: DecisionScore
    baselines: dict[str, Alternative] = field(default_factory=dict)
    note: str | None = None


def crossfit(
    objective: Objective,
    plan: SearchPlan,
    *,
    journal: Journal | None = None,
    names: Sequence[str] | None = None,
    chosen_without: Mapping[int, Objective] | None = None,
    progress: bool = False,
) -> CrossFit:
    """Tune on all folds for use, and on all but one at a time for the score.

    Tuned weights that score worse cross-fitted than equal ones give way to these, and those of single classes to the
    same for all, before any later step. A fold is scored with what the other folds choose when they are cross-fitted
    among themselves: the weights above, tuned on all folds but one, have seen it. Two folds cannot be, so that each is
    scored with tuned weights.

    Args:
        objective: All cases.
        plan: How to search.
        journal: Where trials are kept and found; None keeps nothing.
        names: Names of the members, for the baselines.
        chosen_without: Where the members were chosen by their scores: for each fold all cases, with the members that
            the other folds choose.
        progress: Show a progress bar on the error stream.

    Raises:
        UserError: the score is undefined on the cases to tune on, or the journal is damaged.
    """
    fold_of = objective.frame["fold"].to_numpy()
    folds = [int(fold) for fold in np.unique(fold_of)] if len(np.unique(fold_of)) > 1 else []
    of_fold = {fold: (chosen_without or {}).get(fold, objective) for fold in folds}
    parts = [objective, *(of_fold[fold].select(fold_of != fold) for fold in folds)]
    held_out = [of_fold[fold].select(fold_of == fold) for fold in folds]
    with progress_bar(disable=not progress) as bar:
        task = bar.add_task("Searching weights", total=len(parts))
        tuned = []
        for part, name in zip(parts, ["all", *(f"without fold {fold}" for fold in folds)], strict=True):
            found = baselines(part)
            tuned.append({**found, **search_all(part, plan, starts=found, journal=journal, part=name)})
            bar.advance(task)
    # members that were chosen are others in other folds: none is scored alone
    methods = [method for method in tuned[0] if not chosen_without or not method.startswith("member ")]
    tuned = [{method: one.get(method, one[TUNED]) for method in methods} for one in tuned]  # one member has all weight
    tables = {m: [part.table(one[m][1]) for part, one in zip(held_out, tuned[1:], strict=True)] for m in methods}
    # for use by all folds; for the score of a fold by the others alone, so that the choice is cross-fitted too
    inner = replace(plan, trials=max(1, plan.trials // _FEWER))
    chosen = [_choose(objective, tables), *(_chosen_without(of_fold[fold], fold, inner, journal) for fold in folds)]
    if plan.limited:  # equal weights of all members would not keep to limits
        chosen = [TUNED] * len(parts)
    complete = [finish(part, one[method]) for part, one, method in zip(parts, tuned, chosen, strict=True)]
    cross_fitted = _join([part.table(one[1]) for part, one in zip(held_out, complete[1:], strict=True)])
    values = {method: _value(objective, _join(parts)) for method, parts in tables.items()}
    if complete[0] is not tuned[0][chosen[0]]:
        # weights and thresholds alone compare with the baselines; what the later steps add has a row of its own
        tuned[0][COMPLETE], values[COMPLETE] = complete[0], _value(objective, cross_fitted)
    settings = complete[0][1]
    in_sample = objective.table(settings)
    rows = {
        _named(method, names): Alternative(in_sample=finite(value), cross_fitted=values[method], weights=one.weights)
        for method, (value, one) in tuned[0].items()
    }
    by_fold = {fold: one[1] for fold, one in zip(folds, complete[1:], strict=True)}
    scores, note = _scores(objective, in_sample, cross_fitted), None
    if chosen[0] != TUNED:
        numbers = f"{values[TUNED]:.4f} against {values[chosen[0]]:.4f}"
        kept = "weights stay equal, because tuned ones" if chosen[0] == EQUAL else "all classes share, as own weights"
        note = f"{kept} score worse cross-fitted: {numbers}"
    return CrossFit(settings, in_sample, cross_fitted, by_fold, scores, rows, note)


def _join(tables: Sequence[pd.DataFrame]) -> pd.DataFrame | None:
    return pd.concat(tables, ignore_index=True) if tables else None


def _value(objective: Objective, table: pd.DataFrame | None) -> float | None:
    return None if table is None else finite(score(objective.metric, table, objective.classes))


def _choose(objective: Objective, tables: dict[str, list[pd.DataFrame]]) -> str:
    """Tuned weights, or the same for all classes or equal ones where those score better cross-fitted."""
    values = {m: _value(objective, _join(tables[m])) for m in (TUNED, ALIKE, EQUAL) if m in tables}
    if len(values) < 2 or None in values.values():
        return TUNED
    sign = 1 if get_metric(objective.metric).higher_is_better else -1
    return max(values, key=lambda method: sign * (values[method] or 0.0))  # of equals the first


def _chosen_without(objective: Objective, left_out: int, plan: SearchPlan, journal: Journal | None) -> str:
    """What :func:`_choose` takes where one fold does not exist."""
    fold_of = objective.frame["fold"].to_numpy()
    others = [int(fold) for fold in np.unique(fold_of) if fold != left_out]
    if len(others) < 2 or objective.members == 1 or plan.sampler == "equal":
        return TUNED
    tables: dict[str, list[pd.DataFrame]] = {}
    with suppress(UserError):  # so few cases may leave the score undefined
        for fold in others:
            part = objective.select((fold_of != left_out) & (fold_of != fold))
            starts, name = baselines(part), f"without folds {left_out}, {fold}"
            found = search_all(part, plan, starts=starts, journal=journal, part=name)
            for method, one in {EQUAL: starts[EQUAL], **found}.items():
                tables.setdefault(method, []).append(objective.select(fold_of == fold).table(one[1]))
        return _choose(objective, tables)
    return TUNED


def _named(method: str, names: Sequence[str] | None) -> str:
    kind, _, number = method.partition(" ")
    return names[int(number)] if kind == "member" and names is not None else method


def _scores(objective: Objective, in_sample: pd.DataFrame, table: pd.DataFrame | None) -> DecisionScore:
    biased = score(objective.metric, in_sample, objective.classes)
    if table is None:
        return DecisionScore(in_sample=finite(biased), cross_fitted=None, optimism=None, low=None, high=None)
    held = interval(objective.metric, table, objective.classes)
    sign = 1 if get_metric(objective.metric).higher_is_better else -1
    return DecisionScore(
        in_sample=finite(biased),
        cross_fitted=finite(held.value),
        optimism=finite(sign * (biased - held.value)),
        low=finite(held.low),
        high=finite(held.high),
    )
