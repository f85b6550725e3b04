"""Prune a decision to a time limit, at the least loss of score.

Members of weight 0 are dropped first, then flips, then networks (seeds) and members: always what
loses the least cross-fitted score per second saved per case. A candidate is scored with the weights that each fold was
scored with, those of a dropped member shared out among the rest, and thresholds tuned on the other folds; later steps
are left aside. What remains is blended and sealed again under a new name, with every step tuned and cross-fitted as in
any blend. The choice is cross-fitted too: for the score of a fold it is made once more on the other folds alone, with
the weights that were tuned on them, so that a fold may be scored with other members. Predictions with fewer flips are
made by out-of-fold networks where they are missing. Classifications beside segmentations stay: the score of the masks
does not depend on them.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from heldout.blend.cases import build_objective
from heldout.blend.costs import Clock
from heldout.blend.decision import Decision, blend_folder, check_name, read_decision, save_decision
from heldout.blend.freeze import freeze
from heldout.blend.members import Member, load_member
from heldout.blend.objective import Objective
from heldout.blend.records import DecisionMember, PruneStep, Pruning, describe_member
from heldout.blend.search import blend
from heldout.blend.session import Session
from heldout.blend.values import to_thousandths
from heldout.errors import UserError
from heldout.metrics import get_metric, score


@dataclass(frozen=True)
class MemberPart:
    """What is left of a member.

    Attributes:
        spec: Its experiment.
        seeds: Its seeds.
        tta: Axes flipped.
        number: Place of the member in the decision, whose weights it has.
    """

    spec: str
    seeds: tuple[int, ...]
    tta: str
    number: int

    @property
    def name(self) -> str:
        """As :func:`heldout.blend.members.load_member` takes it."""
        return "/".join([self.spec, *(f"seed{seed}" for seed in self.seeds), f"tta={self.tta}"])


def prune_ensemble(decision: Decision, *, hours: float, cases: int, clock: Clock, name: str | None = None) -> Decision:
    """Drop what is worth least per second until a decision fits a time limit.

    Args:
        decision: A verified decision; it stays as it is.
        hours: The limit.
        cases: Cases to expect.
        clock: What members cost.
        name: Name of the smaller decision; None adds the hours to the old one.

    Returns:
        The sealed smaller decision, with what was dropped and from what in ``search.pruned``; the decision itself
        where it fits.

    Raises:
        UserError: nothing that is left would fit, the new name is taken or not allowed, a score is undefined, or the
            decision was pruned itself.
    """
    if decision.mixing:
        raise UserError(
            f"{decision.name} mixes its members by {decision.mixing.method}, which cannot be pruned: blend fewer "
            "members"
        )
    parts = [
        MemberPart(member.spec, member.seeds, member.tta, number) for number, member in enumerate(decision.members)
    ]
    session = Session()
    open_part = functools.cache(lambda part: load_member(part.name, session))
    members = [open_part(part) for part in parts]

    def fits(left: tuple[MemberPart, ...]) -> bool:
        return clock.total([open_part(part) for part in left], cases) <= hours * 3600

    if fits(tuple(parts)):
        return decision
    name = _new_name(decision, hours, name)
    if (earlier := decision.search.pruned) is not None:
        raise UserError(
            f"{decision.name} was pruned from {earlier.source}: prune {earlier.source} with --fit-hours {hours:g}"
        )
    values = functools.cache(lambda left: _values(decision, [open_part(part) for part in left], left))

    def choose(left_out: int | None) -> tuple[tuple[MemberPart, ...], list[PruneStep]]:
        left, steps = tuple(parts), []
        while not fits(left):
            found = _cheapest(decision, left, open_part, clock, lambda some: values(some)[left_out])
            if found is None:
                seconds = clock.per_case([open_part(part) for part in left])
                raise UserError(
                    f"{decision.name} cannot be pruned to {hours:g} h for {cases:,} cases: the last network without "
                    f"flips takes {seconds:.3g} s per case here, so raise --fit-hours or train a smaller experiment"
                )
            left, step = found
            steps.append(step)
        return left, steps

    def described(part: MemberPart) -> DecisionMember:
        return describe_member(open_part(part), None if decision.members[part.number].weight is None else 0)

    left, steps = choose(None)
    of_fold = {fold: choose(fold)[0] for fold in values(tuple(parts)) if fold is not None}
    record = Pruning(
        source=decision.name,
        identity=decision.identity,
        hours=hours,
        cases=cases,
        seconds_per_case=(clock.per_case(members), clock.per_case([open_part(part) for part in left])),
        score_before=values(tuple(parts))[None],
        steps=tuple(steps),
        by_fold={str(fold): tuple(map(described, chosen)) for fold, chosen in of_fold.items()},
    )
    return _seal(decision, left, name, record)


def _cheapest(
    decision: Decision,
    left: tuple[MemberPart, ...],
    open_part: Callable[[MemberPart], Member],
    clock: Clock,
    value: Callable[[tuple[MemberPart, ...]], float],
) -> tuple[tuple[MemberPart, ...], PruneStep] | None:
    """What to give up next: members without weight, then flips as long as there are any, then networks and members."""
    before = clock.per_case([open_part(part) for part in left])
    sign = 1 if get_metric(decision.metric).higher_is_better else -1
    found = []
    options = _fewer_idle(decision, left) or _fewer_flips(decision, left) or _fewer_networks(decision, left)
    for dropped, smaller in options:
        saved = before - clock.per_case([open_part(part) for part in smaller])
        loss = sign * (value(left) - value(smaller))
        found.append((loss / max(saved, 1e-9), smaller, PruneStep(dropped=dropped, loss=loss, seconds=saved)))
    return min(found, key=lambda one: one[0])[1:] if found else None


def _fewer_idle(decision: Decision, left: tuple[MemberPart, ...]) -> list[tuple[str, tuple[MemberPart, ...]]]:
    """Members of weight 0: they take time and change no prediction."""
    idle = [part for part in left if decision.members[part.number].weight == 0]
    return [(decision.members[part.number].name, tuple(one for one in left if one is not part)) for part in idle]


def _fewer_flips(decision: Decision, left: tuple[MemberPart, ...]) -> list[tuple[str, tuple[MemberPart, ...]]]:
    found = []
    for part in left:
        name, weight = decision.members[part.number].name, decision.members[part.number].weight
        for axis in part.tta if weight is not None else "":
            smaller = replace(part, tta=part.tta.replace(axis, ""))
            # what is left may be a member already
            twice = any(replace(other, number=part.number) == smaller for other in left)
            rest = tuple(smaller if one is part else one for one in left if not (twice and one is part))
            found.append((f"flips along {axis} of {name}", rest))
    return found


def _fewer_networks(decision: Decision, left: tuple[MemberPart, ...]) -> list[tuple[str, tuple[MemberPart, ...]]]:
    weighted = [part for part in left if decision.members[part.number].weight is not None]
    found = []
    for part in weighted:
        name = decision.members[part.number].name
        if len(weighted) > 1:
            found.append((name, tuple(one for one in left if one is not part)))
        for seed in part.seeds if len(part.seeds) > 1 else ():
            rest = tuple(other for other in part.seeds if other != seed)
            smaller = tuple(replace(one, seeds=rest) if one is part else one for one in left)
            found.append((f"seed {seed} of {name}", smaller))
    return found


def _values(decision: Decision, members: Sequence[Member], left: Sequence[MemberPart]) -> dict[int | None, float]:
    """Scores of weighted members, with the weights of the decision shared out among them.

    Returns:
        By fold the score on all other folds, and under None that on all, every fold cut with thresholds tuned on the
        others. Of a decision of one fold only the second, in-sample.
    """
    chosen = [i for i, part in enumerate(left) if decision.members[part.number].weight is not None]
    objective = build_objective([members[i] for i in chosen], decision.metric, progress=False)
    places = [left[i].number for i in chosen]
    searched = [i for i, one in enumerate(decision.searched) if any(one is member for member in decision.members)]

    def weights(fold: int) -> tuple[int, ...]:
        tuned = decision.weights
        if decision.is_blend:
            tuned = tuple(np.take(decision.search.by_fold[str(fold)].weights, searched[: len(tuned)]))
        return _share(tuned, places)

    fold_of = objective.frame["fold"].to_numpy()
    folds = [int(fold) for fold in np.unique(fold_of)]
    if len(folds) == 1:
        return {None: objective.tune(_share(decision.weights, places))[0]}
    found: dict[int | None, float] = {None: _cross_fitted(objective, {fold: weights(fold) for fold in folds})}
    for fold in folds:
        others = objective.select(fold_of != fold)
        found[fold] = _cross_fitted(others, dict.fromkeys((one for one in folds if one != fold), weights(fold)))
    return found


def _cross_fitted(objective: Objective, weights: dict[int, tuple[int, ...]]) -> float:
    """Score with given weights of every fold, thresholds tuned on the others; in-sample with one fold."""
    if len(weights) == 1:
        return objective.tune(*weights.values())[0]
    fold_of, tables = objective.frame["fold"].to_numpy(), []
    for fold, some in weights.items():
        settings = objective.select(fold_of != fold).tune(some)[1]
        tables.append(objective.select(fold_of == fold).table(settings))
    return score(objective.metric, pd.concat(tables, ignore_index=True), objective.classes)


def _share(weights: Sequence[int], places: Sequence[int]) -> tuple[int, ...]:
    left = np.array([weights[place] for place in places], float)
    return to_thousandths(left if left.any() else np.ones(len(left)))


def _new_name(decision: Decision, hours: float, name: str | None) -> str:
    if name is None and re.match(r"exp\d{3}", decision.name):
        raise UserError(f"{decision.name} is an experiment, so the smaller decision needs a name: add --fit-name NAME")
    name = name or f"{decision.name}-{hours:g}h"
    check_name(name)
    if blend_folder(name).exists():
        raise UserError(f"{blend_folder(name)} exists already: name the smaller decision with --fit-name")
    return name


def _seal(decision: Decision, left: Sequence[MemberPart], name: str, record: Pruning) -> Decision:
    """Blend what is left, as the decision was blended, note where it comes from, and freeze it."""
    plan = (
        {key: getattr(decision.search, key) for key in ("sampler", "trials", "seed", "processes")}
        if decision.is_blend
        else {}
    )
    found = blend(
        [part.name for part in left],
        name,
        **(plan or {"sampler": "equal"}),
        metric=decision.metric,
        spatial=bool(decision.spatial),
        presence_metric=decision.presence.metric,
        calibrate=decision.calibration.asked,
        chosen_without={int(fold): [member.name for member in some] for fold, some in record.by_fold.items()},
    )
    limit = f"{record.hours:g} h for {record.cases:,} cases"
    note = f"made from {decision.name} ({decision.identity[:12]}) to take no more than {limit}"
    save_decision(replace(found, search=found.search.model_copy(update={"pruned": record}), notes=[*found.notes, note]))
    freeze(name)
    return read_decision(name)
