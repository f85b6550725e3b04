"""The search for member weights; thresholds come with every trial for free."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np

from heldout.blend.objective import Objective, Settings
from heldout.blend.values import to_thousandths
from heldout.metrics.registry import get_metric

_LEAST = 1e-6  # -log of it is a member's largest share before they are made to sum to one


def search(objective: Objective, trials: int, seed: int) -> tuple[float, Settings]:
    """Find the best weights with Optuna's tree-structured Parzen estimator (Bergstra 2011).

    Equal weights and every single member are tried first, so that the result is never worse than either on the cases
    it was tuned on. The same seed gives the same result.

    Args:
        objective: Cases to tune on.
        trials: Number of weightings to try.
        seed: Seed of the sampler.

    Returns:
        Score on the tuning cases, and the settings.

    Raises:
        UserError: the score is undefined on these cases.
    """
    members = objective.members
    if members == 1:
        return objective.tune(to_thousandths([1.0]))
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        sampler = optuna.samplers.TPESampler(seed=seed, multivariate=True)
    higher = get_metric(objective.metric).higher_is_better
    study = optuna.create_study(direction="maximize" if higher else "minimize", sampler=sampler)
    for shares in [np.ones(members), *np.eye(members)]:
        study.enqueue_trial({_name(i): _LEAST ** float(share) for i, share in enumerate(shares)})
    known: dict[tuple[int, ...], tuple[float, Settings]] = {}

    def score(trial: optuna.Trial) -> float:
        draws = [trial.suggest_float(_name(i), _LEAST, 1.0) for i in range(members)]
        weights = weights_of(draws)
        if weights not in known:
            known[weights] = objective.tune(weights)
        return known[weights][0]

    study.optimize(score, n_trials=max(trials, members + 1))
    return known[weights_of([study.best_trial.params[_name(i)] for i in range(members)])]


def weights_of(draws: Sequence[float]) -> tuple[int, ...]:
    """Thousandths from one number in 0 ... 1 per member; uniform numbers give uniform weights on the simplex.

    Normalised negative logarithms of uniform draws are a flat Dirichlet draw (Devroye 1986, chapter V).
    """
    shares = -np.log(np.asarray(draws, float))
    return to_thousandths(shares) if shares.sum() > 0 else to_thousandths(np.ones(len(shares)))


def _name(member: int) -> str:
    return f"member{member}"
