"""The search for member weights; thresholds come with every trial for free."""

from __future__ import annotations

import functools

import numpy as np

from heldout.blend.greedy import climb
from heldout.blend.mixing import widen
from heldout.blend.objective import ColumnObjective, Objective, Tunable
from heldout.blend.records import BlendSettings, Row
from heldout.blend.study import SearchPlan, best_of_trials
from heldout.blend.values import to_thousandths
from heldout.errors import UserError
from heldout.journal import Journal
from heldout.metrics.registry import get_metric

__all__ = ["ALIKE", "EQUAL", "GREEDY", "TUNED", "SearchPlan", "Tuned", "baselines", "search", "search_all"]

EQUAL, GREEDY = "equal weights", "greedy"
TUNED, ALIKE = "tuned", "tuned, all classes alike"
_WITHOUT_TRIALS = {"greedy": GREEDY, "equal": EQUAL}
_SAME = 1e-9
_SWEEPS = 2  # over weights of classes that depend on each other

Tuned = tuple[float, BlendSettings]


def baselines(objective: Tunable) -> dict[str, Tuned]:
    """What a search has to beat, each with its best thresholds: ``member 0`` ..., equal weights, and greedy ones.

    Raises:
        UserError: the score is undefined on these cases.
    """
    members = objective.members
    found = {f"member {i}": to_thousandths(row) for i, row in enumerate(np.eye(members))}
    tune = functools.cache(objective.tune)
    sign = 1 if get_metric(objective.metric).higher_is_better else -1
    if members > 1:
        found[EQUAL] = to_thousandths(np.ones(members))
        found[GREEDY] = climb(lambda weights: sign * tune(weights)[0], members)
    return {name: tune(weights) for name, weights in found.items()}


def search(
    objective: Objective,
    plan: SearchPlan,
    *,
    starts: dict[str, Tuned] | None = None,
    journal: Journal | None = None,
    part: str = "all",
) -> Tuned:
    """Find the best weights: the last of :func:`search_all`."""
    return search_all(objective, plan, starts=starts, journal=journal, part=part)[TUNED]


def search_all(
    objective: Objective,
    plan: SearchPlan,
    *,
    starts: dict[str, Tuned] | None = None,
    journal: Journal | None = None,
    part: str = "all",
) -> dict[str, Tuned]:
    """Find the best weights, and the best of all classes alike where classes may have their own.

    Equal weights, every single member and the greedy selection are tried first, so that the result is never worse
    than these on the cases it was tuned on. Where classes have weights of their own, each is searched alone; if their
    score is not the mean of what they have alone, one after the other is then searched beside the rest. They are taken
    if all together score better than the same for all. The same plan gives the same result, also when the search was
    stopped and taken up again, or resumes a shorter one.

    Args:
        objective: Cases to tune on.
        plan: How to search.
        starts: Their :func:`baselines`, if known.
        journal: Where finished trials are kept and found; None keeps nothing.
        part: Name of these cases in the journal.

    Returns:
        Score on the tuning cases and settings: under :data:`TUNED`, and where classes may have their own weights under
        :data:`ALIKE` those of all classes alike.

    Raises:
        UserError: the score is undefined on these cases, or the journal is damaged.
    """
    if plan.limited:
        return {TUNED: _within_limits(objective, plan, starts, journal, part)}
    starts = baselines(objective) if starts is None else starts
    if (own := objective.fitted()) is not None:
        return {TUNED: own}
    if objective.members == 1:
        return {TUNED: starts["member 0"]}
    found = _search_row(objective, plan, starts, journal, part)
    if objective.columns == 1:
        return {TUNED: found}
    return {ALIKE: found, TUNED: _search_columns(objective, plan, found, journal, part)}


def _search_row(
    objective: Tunable, plan: SearchPlan, starts: dict[str, Tuned], journal: Journal | None, part: str
) -> Tuned:
    if plan.sampler in _WITHOUT_TRIALS:
        return starts[_WITHOUT_TRIALS[plan.sampler]]
    first = [settings.weights for _, settings in starts.values()]
    weights, value = best_of_trials(objective, plan, first, journal, part)
    found = objective.tune(weights)
    if journal is not None and abs(found[0] - value) > _SAME:
        raise UserError(f"{journal.path} holds other scores than these predictions have: delete it and blend again")
    return found


def _search_columns(objective: Objective, plan: SearchPlan, plain: Tuned, journal: Journal | None, part: str) -> Tuned:
    """Search the weights of every class."""
    sign = 1 if get_metric(objective.metric).higher_is_better else -1
    best = plain

    def try_(rows: list[Row]) -> bool:
        nonlocal best
        found = objective.tune(rows)
        better = sign * (found[0] - best[0]) > _SAME
        best = found if better else best
        return better

    rows = [plain[1].weights] * objective.columns
    for place in range(objective.columns):
        if (alone := objective.alone(place)) is not None:
            name = f"{part}, weights {place}"
            rows[place] = _search_row(alone, plan, baselines(alone), journal, name)[1].weights
    try_(rows)
    for sweep in range(0 if objective.separable else _SWEEPS):
        gained = False
        for place in range(objective.columns):
            rows = [*best[1].rows] if best is not plain else [plain[1].weights] * objective.columns
            column = ColumnObjective(objective, place, tuple(rows))
            name = f"{part}, weights {place} beside others, {sweep}"
            starts = {**baselines(column), "as before": column.tune(rows[place])}
            rows[place] = _search_row(column, plan, starts, journal, name)[1].weights
            gained |= try_(rows)
        if not gained:
            break
    return best


def _within_limits(
    objective: Objective, plan: SearchPlan, starts: dict[str, Tuned] | None, journal: Journal | None, part: str
) -> Tuned:
    """Search all members, then anew the heaviest that fit the limits and those that a climb within them takes."""
    free = plan.unlimited
    found = search(objective, free, starts=starts, journal=journal, part=part)
    weights = found[1].weights
    kept = plan.affordable(weights)
    if not kept:
        raise UserError(
            f"no member predicts a case within {plan.max_seconds:g} seconds, the fastest takes "
            f"{min(plan.seconds):.3g}: raise --max-seconds"
        )
    if all(member in kept for member, weight in enumerate(weights) if weight):
        return found
    sign, choices = 1 if get_metric(objective.metric).higher_is_better else -1, [kept]
    if objective.fitted() is None:
        climbed = climb(lambda row: sign * objective.tune(row)[0], objective.members, plan.fits)
        choices.append(np.flatnonzero(climbed).tolist())
    results = []
    for some in choices if choices[0] != choices[-1] else [kept]:
        again = f"{part}, members {', '.join(map(str, some))}"
        value, settings = search(objective.keep(some), free, journal=journal, part=again)
        results.append((value, widen(settings, some, objective.members)))
    return max(results, key=lambda one: sign * one[0])  # of equals the heaviest
