"""How the probabilities of classifiers become one besides by their weighted mean, fitted on the tuning cases alone.

``rank``: the mean of what share of the tuning cases a member puts lower, so that members on different scales count
alike. ``power``: the mean of a power of the probabilities, with the power tuned; 0 is the geometric mean. ``stack``: a
logistic regression of the members' logits, class by class, without negative weights (Breiman 1996, Stacked
regressions). ``classes``: weights of its own for every class.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

import numpy as np

from heldout.blend.greedy import climb
from heldout.blend.records import WHOLE, Mixing
from heldout.blend.values import SMALLEST, blend_scores, logit, sigmoid, to_thousandths

METHODS = ("mean", "rank", "power", "stack", "classes")
FITTED = ("stack", "classes")  # whose weights are not searched
POWERS = (-1.0, 0.0, 0.5, 1.0, 2.0, 4.0)
_KNOTS = 101
_PENALTY = 1e-3  # of the squared coefficients, so that separable classes have an end


def mix(scores: np.ndarray, weights: Sequence[int], mixing: Mixing, exclusive: bool) -> np.ndarray:
    """Blend probabilities (members, n, K) into (n, K) float64 in 0 ... 1; of exclusive classes they sum to one.

    Args:
        scores: Probabilities of every member.
        weights: Thousandths of the members, for methods that weigh all classes alike.
        mixing: How.
        exclusive: The classes exclude each other.
    """
    method = mixing.method
    if method == "mean":
        return blend_scores(scores, weights)
    if method == "rank":
        blended = blend_scores(_ranked(scores, mixing), weights)
    elif method == "power":
        blended = _power(np.clip(scores, SMALLEST, 1.0), np.array(weights) / WHOLE, float(mixing.power))
    elif method == "stack":
        logits = np.einsum("mnk,km->nk", logit(scores), np.array(mixing.weights, float))
        blended = sigmoid(logits + np.array(mixing.intercepts, float))
    else:
        blended = np.einsum("mnk,km->nk", np.asarray(scores, float), np.array(mixing.weights, float))
    if exclusive and blended.shape[1] > 1:
        return blended / np.maximum(blended.sum(1, keepdims=True), SMALLEST)
    return np.clip(blended, 0, 1)


def fit_ranks(scores: np.ndarray) -> Mixing:
    """Quantiles of every member's probabilities (members, n, K), by which a new one is ranked."""
    knots = np.quantile(np.asarray(scores, float), np.linspace(0, 1, _KNOTS), axis=1)
    ranks = tuple(tuple(tuple(map(float, of_class)) for of_class in member.T) for member in np.moveaxis(knots, 1, 0))
    return Mixing(method="rank", ranks=ranks)


def fit_stack(scores: np.ndarray, truth: np.ndarray) -> Mixing:
    """Coefficients of a logistic regression of logits for every class, none negative.

    Args:
        scores: (members, n, K).
        truth: (n, K) 0 and 1, nan where a class of a case is unknown.
    """
    from scipy.optimize import minimize

    weights, intercepts = [], []
    for k in range(truth.shape[1]):
        known = ~np.isnan(truth[:, k])
        logits, target = logit(scores[:, known, k]).T, truth[known, k].astype(float)

        def loss(
            values: np.ndarray, logits: np.ndarray = logits, target: np.ndarray = target
        ) -> tuple[float, np.ndarray]:
            line = logits @ values[:-1] + values[-1]
            error = sigmoid(line) - target
            penalty = _PENALTY * float(values[:-1] @ values[:-1])
            slope = np.append(logits.T @ error / len(target) + 2 * _PENALTY * values[:-1], error.mean())
            return float(np.mean(np.logaddexp(0, line) - target * line)) + penalty, slope

        start = np.append(np.full(logits.shape[1], 1 / logits.shape[1]), 0.0)
        bounds = [(0.0, None)] * logits.shape[1] + [(None, None)]
        found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds).x
        weights.append(tuple(map(float, found[:-1])))
        intercepts.append(float(found[-1]))
    return Mixing(method="stack", weights=tuple(weights), intercepts=tuple(intercepts))


def fit_classes(members: int, classes: int, worth: Callable[[int, tuple[int, ...]], float]) -> Mixing:
    """Weights of every class, by hill climbing.

    Args:
        members: Number of members.
        classes: Number of classes.
        worth: Score of a class alone under thousandths; higher is better.
    """
    rows = [climb(functools.partial(worth, k), members) for k in range(classes)]
    return Mixing(method="classes", weights=tuple(tuple(one / WHOLE for one in row) for row in rows))


def shares_of(mixing: Mixing) -> tuple[int, ...]:
    """Thousandths of the members in what was fitted, over all classes: to be shown."""
    total = np.array(mixing.weights, float).sum(0)
    return to_thousandths(total if total.sum() > 0 else np.ones(len(total)))


def is_alone(weights: Sequence[int]) -> bool:
    """Whether one member has all the weight, so that nothing is mixed."""
    return max(weights) == WHOLE


def _ranked(scores: np.ndarray, mixing: Mixing) -> np.ndarray:
    """Share of the tuning cases below every probability: the middle of those that tie."""
    found = np.empty(np.shape(scores))
    place = np.linspace(0, 1, _KNOTS)
    for m, member in enumerate(mixing.ranks):
        for k, knots in enumerate(member):
            values, known = np.asarray(scores[m], float)[:, k], np.array(knots, float)
            low = np.interp(values, *_unique(known, place, first=True))
            high = np.interp(values, *_unique(known, place, first=False))
            found[m, :, k] = (low + high) / 2
    return found


def _unique(knots: np.ndarray, place: np.ndarray, *, first: bool) -> tuple[np.ndarray, np.ndarray]:
    values, index, counts = np.unique(knots, return_index=True, return_counts=True)
    return values, place[index if first else index + counts - 1]


def _power(scores: np.ndarray, weights: np.ndarray, power: float) -> np.ndarray:
    if power == 0:
        return np.exp(np.tensordot(weights, np.log(scores), 1))
    return np.tensordot(weights, scores**power, 1) ** (1 / power)
