"""The search for member weights; thresholds come with every trial for free."""

from __future__ import annotations

import functools
from dataclasses import replace

import numpy as np

from heldout.blend.greedy import climb
from heldout.blend.objective import Objective
from heldout.blend.records import BlendSettings
from heldout.blend.study import SearchPlan, best_of_trials
from heldout.blend.values import to_thousandths
from heldout.errors import UserError
from heldout.journal import Journal
from heldout.metrics.registry import get_metric

__all__ = ["EQUAL", "GREEDY", "SearchPlan", "Tuned", "baselines", "search"]

EQUAL, GREEDY = "equal weights", "greedy"
_WITHOUT_TRIALS = {"greedy": GREEDY, "equal": EQUAL}
_SAME = 1e-9

Tuned = tuple[float, BlendSettings]


def baselines(objective: Objective) -> dict[str, Tuned]:
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
    """Find the best weights.

    Equal weights, every single member and the greedy selection are tried first, so that the result is never worse
    than these on the cases it was tuned on. The same plan gives the same result, also when the search was stopped
    and taken up again, or resumes a shorter one.

    Args:
        objective: Cases to tune on.
        plan: How to search.
        starts: Their :func:`baselines`, if known.
        journal: Where finished trials are kept and found; None keeps nothing.
        part: Name of these cases in the journal.

    Returns:
        Score on the tuning cases, and the settings.

    Raises:
        UserError: the score is undefined on these cases, or the journal is damaged.
    """
    if plan.limited:
        return _within_limits(objective, plan, starts, journal, part)
    starts = baselines(objective) if starts is None else starts
    if (own := objective.fitted()) is not None:
        return own
    if objective.members == 1:
        return starts["member 0"]
    if plan.sampler in _WITHOUT_TRIALS:
        return starts[_WITHOUT_TRIALS[plan.sampler]]
    first = [settings.weights for _, settings in starts.values()]
    weights, value = best_of_trials(objective, plan, first, journal, part)
    found = objective.tune(weights)
    if journal is not None and abs(found[0] - value) > _SAME:
        raise UserError(f"{journal.path} holds other scores than these predictions have: delete it and blend again")
    return found


def _within_limits(
    objective: Objective, plan: SearchPlan, starts: dict[str, Tuned] | None, journal: Journal | None, part: str
) -> Tuned:
    """Search all members, keep the heaviest that fit the limits, and search these anew."""
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
    again = f"{part}, members {', '.join(map(str, kept))}"
    value, settings = search(objective.keep(kept), free, journal=journal, part=again)
    every = [0] * objective.members
    for member, weight in zip(kept, settings.weights, strict=True):
        every[member] = weight
    return value, replace(settings, weights=tuple(every))
