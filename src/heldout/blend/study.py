"""Trials of weightings with Optuna: asked for, scored, recorded, and the same again when they are repeated.

The sampler is made anew for every trial, seeded by the number of the trial, and works on trials in memory. What it
asks for next is therefore a function of the seed and the trials so far, whether they were made a moment ago or are
read from a journal.
"""

from __future__ import annotations

import warnings
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from heldout.blend.objective import Tunable
from heldout.blend.records import WHOLE
from heldout.blend.values import to_thousandths
from heldout.data.parallel import processes
from heldout.errors import UserError
from heldout.journal import Direction, Journal, TrialStore
from heldout.metrics.registry import get_metric

if TYPE_CHECKING:
    import optuna

SAMPLERS = ("tpe", "cmaes", "greedy", "equal")
_LEAST = 1e-6  # -log of it is a member's largest share before they are made to sum to one
_RANDOM_TRIALS = 10  # after the first ones, before the estimator begins

Weights = tuple[int, ...]


@dataclass(frozen=True)
class SearchPlan:
    """How to search.

    Attributes:
        sampler: ``tpe``, Optuna's tree-structured Parzen estimator (Bergstra 2011); ``cmaes``, covariance matrix
            adaptation (Hansen 2016); or without Optuna ``greedy`` or ``equal`` weights.
        trials: Weightings to try.
        seed: Seed of the sampler.
        processes: Processes that work on one search. With one, the seed decides everything. With several, each sees
            what the others have found, so what they try next depends on their timing, and the result on the trials
            that the journal holds.
        max_members: Most members with a weight; None for any number.
        max_seconds: Most seconds per case that those may take; None for any.
        seconds: Seconds per case of every member, where that counts.
    """

    sampler: str = "tpe"
    trials: int = 200
    seed: int = 0
    processes: int = 1
    max_members: int | None = None
    max_seconds: float | None = None
    seconds: tuple[float, ...] = ()

    @property
    def limited(self) -> bool:
        """Whether members may have to be left out."""
        return self.max_members is not None or self.max_seconds is not None

    def fits(self, members: Sequence[int]) -> bool:
        """Whether members together keep to the limits."""
        few = self.max_members is None or len(members) <= self.max_members
        return few and (self.max_seconds is None or sum(self.seconds[i] for i in members) <= self.max_seconds)

    def affordable(self, weights: Weights) -> list[int]:
        """Members that fit the limits, in their order: the heaviest first, as long as they fit."""
        kept: list[int] = []
        for member in sorted(range(len(weights)), key=lambda i: (-weights[i], i)):
            if self.fits([*kept, member]):
                kept.append(member)
        return sorted(kept)

    @property
    def unlimited(self) -> SearchPlan:
        """How to search among members that fit the limits."""
        return replace(self, max_members=None, max_seconds=None, seconds=())

    def __post_init__(self) -> None:
        """Check the fields."""
        if self.sampler not in SAMPLERS:
            raise UserError(f"sampler {self.sampler!r} does not exist: choose one of {', '.join(SAMPLERS)}")
        if self.trials < 1 or self.processes < 1:
            raise UserError("trials and processes must be at least 1")
        if self.max_members is not None and self.max_members < 1:
            raise UserError(f"--max-members {self.max_members} must be at least 1")


def best_of_trials(
    objective: Tunable, plan: SearchPlan, first: Sequence[Weights], journal: Journal | None, part: str
) -> tuple[Weights, float]:
    """Try weightings and return the best with its score; of equals the one tried first.

    Args:
        objective: Cases to tune on.
        plan: How to search; ``tpe`` or ``cmaes``.
        first: Weightings to try before all others.
        journal: Where trials are kept and found; needed by several processes.
        part: Name of these cases in the journal.

    Raises:
        UserError: the score is undefined on these cases, or the journal is damaged.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    higher = get_metric(objective.metric).higher_is_better
    direction: Direction = "maximize" if higher else "minimize"
    record = journal.record(part, direction) if journal else None
    total = max(plan.trials, len(first))
    if plan.processes == 1:
        trials = _work(objective, plan, first, total, direction, record)
    else:
        trials = _work_together(objective, plan, first, total, direction, record)
    scores = [trial.values[0] for trial in trials[:total]]
    best = int(np.argmax(scores) if higher else np.argmin(scores))
    return _weights_of_trial(trials[best]), scores[best]


def weights_of(draws: Sequence[float]) -> Weights:
    """Thousandths from one number in 0 ... 1 per member; uniform numbers give uniform weights on the simplex.

    Normalized negative logarithms of uniform draws are a flat Dirichlet draw (Devroye 1986, chapter V).
    """
    shares = -np.log(np.asarray(draws, float))
    return to_thousandths(shares) if shares.sum() > 0 else to_thousandths(np.ones(len(shares)))


def _work(
    objective: Tunable,
    plan: SearchPlan,
    first: Sequence[Weights],
    total: int,
    direction: Direction,
    record: TrialStore | None,
    process: int = 0,
) -> list[optuna.trial.FrozenTrial]:
    """Continue until there are ``total`` trials, and return all that this process knows."""
    import optuna

    space: dict[str, optuna.distributions.BaseDistribution] = {
        _name(i): optuna.distributions.FloatDistribution(_LEAST, 1.0) for i in range(objective.members)
    }
    study = optuna.create_study(direction=direction)
    # CMA-ES remembers more than the trials: alone, it is taken through them again.
    repeats = plan.sampler == "cmaes" and plan.processes == 1
    recorded: deque[optuna.trial.FrozenTrial] = deque()
    scores: dict[Weights, float] = {}
    number = 0
    while True:
        found = record.new() if record else []
        if repeats:
            recorded.extend(found)
        else:
            study.add_trials(found)
            number += len(found)
        if number >= total:
            return study.get_trials(deepcopy=False)
        study.sampler = _sampler(plan, len(first), process, number)
        if number < len(first):
            study.enqueue_trial({_name(i): _LEAST ** (share / WHOLE) for i, share in enumerate(first[number])})
        trial = study.ask(space)
        if record is not None and recorded:
            earlier = recorded.popleft()
            if earlier.params != trial.params:
                raise UserError(f"{record.path} holds other trials than this search makes: delete it and blend again")
            study.tell(trial, earlier.value)
        else:
            weights = _weights_of_trial(trial)
            if weights not in scores:
                scores[weights] = objective.tune(weights)[0]
            finished = study.tell(trial, scores[weights])
            if record:
                record.add(finished)
        number += 1


def _work_together(
    objective: Tunable,
    plan: SearchPlan,
    first: Sequence[Weights],
    total: int,
    direction: Direction,
    record: TrialStore | None,
) -> list[optuna.trial.FrozenTrial]:
    """The first trials in this process, the others in several that share the journal."""
    import joblib

    if record is None:
        raise ValueError("several processes need a journal")
    _work(objective, plan, first, len(first), direction, record)
    processes(plan.processes)(
        joblib.delayed(_join_work)(objective, plan, first, total, direction, (record.path, record.name), process)
        for process in range(1, plan.processes + 1)
    )
    return record.trials()


def _join_work(
    objective: Tunable,
    plan: SearchPlan,
    first: Sequence[Weights],
    total: int,
    direction: Direction,
    place: tuple[Path, str],
    process: int,
) -> None:
    """Work of one of several processes."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    _work(objective, plan, first, total, direction, TrialStore(*place, direction), process)


def _sampler(plan: SearchPlan, first: int, process: int, number: int) -> optuna.samplers.BaseSampler:
    import optuna

    seed = int(np.random.SeedSequence([plan.seed, process, number]).generate_state(1)[0])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        if plan.sampler == "cmaes":
            return optuna.samplers.CmaEsSampler(seed=seed, n_startup_trials=first, warn_independent_sampling=False)
        return optuna.samplers.TPESampler(
            seed=seed, multivariate=True, constant_liar=False, n_startup_trials=first + _RANDOM_TRIALS
        )


def _weights_of_trial(trial: optuna.trial.FrozenTrial | optuna.Trial) -> Weights:
    return weights_of([trial.params[_name(i)] for i in range(len(trial.params))])


def _name(member: int) -> str:
    return f"member{member}"
