"""How the predictions of members become one besides by their weighted mean, fitted on the tuning cases alone.

``rank``: the mean of what share of the tuning cases a member puts lower, so that members on different scales count
alike. ``power``: the mean of a power of the probabilities, with the power tuned; 0 is the geometric mean. ``stack``: a
logistic regression of the members' logits, class by class, without negative weights (Breiman 1996, Stacked
regressions). ``classes``: weights of its own for every class, searched one class after the other; of masks too, see
:func:`heldout.blend.values.blend_maps`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from heldout.blend.records import WHOLE, BlendSettings, Mixing, Row, Weights
from heldout.blend.values import SMALLEST, blend_scores, logit, sigmoid, to_thousandths

METHODS = ("mean", "rank", "power", "stack", "classes")
OF_MASKS = ("mean", "classes")
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


def rows_of(weights: Weights) -> list[Row]:
    """The rows of thousandths: one for all classes, or one per class."""
    return [tuple(row) for row in np.atleast_2d(np.asarray(weights, int)).tolist()]


def settings_of(weights: Weights, thresholds: Sequence[int]) -> BlendSettings:
    """The settings with these thousandths: one row for all classes, or one per class."""
    rows = rows_of(weights)
    if len(rows) == 1:
        return BlendSettings(rows[0], tuple(thresholds))
    mixing = Mixing(method="classes", weights=tuple(tuple(one / WHOLE for one in row) for row in rows))
    return BlendSettings(shares_of(mixing), tuple(thresholds), mixing=mixing)


def widen(settings: BlendSettings, kept: Sequence[int], members: int) -> BlendSettings:
    """Settings of some members as those of all, of which the others have no weight.

    Args:
        settings: Of the kept ones.
        kept: Their numbers.
        members: Number of all.
    """

    def all_of(row: Sequence[Any], empty: Any) -> tuple[Any, ...]:
        found = [empty] * members
        for member, value in zip(kept, row, strict=True):
            found[member] = value
        return tuple(found)

    mixing = settings.mixing
    new: dict[str, Any] = {}
    if mixing.weights:
        new["weights"] = tuple(all_of(row, 0.0) for row in mixing.weights)
    if mixing.ranks:
        new["ranks"] = all_of(mixing.ranks, ())
    mixing = mixing.model_copy(update=new) if new else mixing
    return replace(settings, weights=all_of(settings.weights, 0), mixing=mixing)


def counting(mixing: Mixing, weights: Sequence[float]) -> list[int]:
    """Numbers of the members that what was fitted counts for a class, or that have a weight where nothing was."""
    rows = mixing.weights or [tuple(weights)]
    return [number for number, column in enumerate(zip(*rows, strict=True)) if any(column)]


def narrow(mixing: Mixing, kept: Sequence[int]) -> Mixing:
    """What was fitted to all members as that of some, of which the others count nothing: undoes :func:`widen`."""
    new: dict[str, Any] = {}
    if mixing.weights:
        new["weights"] = tuple(tuple(row[number] for number in kept) for row in mixing.weights)
    if mixing.ranks:
        new["ranks"] = tuple(mixing.ranks[number] for number in kept)
    return mixing.model_copy(update=new) if new else mixing


def shares_of(mixing: Mixing) -> tuple[int, ...]:
    """Thousandths of the members in what was fitted, over all classes: to be shown."""
    total = np.array(mixing.weights, float).sum(0)
    return to_thousandths(total if total.sum() > 0 else np.ones(len(total)))


def is_alone(weights: Sequence[int]) -> bool:
    """Whether one member has all the weight, so that nothing is mixed."""
    return max(weights) == WHOLE


def _ranked(scores: np.ndarray, mixing: Mixing) -> np.ndarray:
    """Share of the tuning cases below every probability: the middle of those that tie."""
    found = np.zeros(np.shape(scores))  # a member without weight has no ranks
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


def rows_by_label(mixing: Mixing, classes: Sequence[str]) -> dict[str, tuple[float, ...]]:
    """What every member counts for each class, and for the background where it has weights; empty without such rows."""
    background = ["background"] if len(mixing.weights) > len(classes) else []
    return dict(zip([*background, *classes], mixing.weights, strict=False))


def in_words(mixing: Mixing, classes: Sequence[str], members: Sequence[str]) -> dict[str, str]:
    """The same, ``0.933 exp911 + 0.067 exp912`` by label, of members with these names."""
    return {
        label: " + ".join(f"{value:.3f} {name}" for value, name in zip(row, members, strict=False))
        for label, row in rows_by_label(mixing, classes).items()
    }
