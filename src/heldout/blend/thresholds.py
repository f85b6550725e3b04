"""The best thresholds: of a mean over classes for each class alone, of any other score one class after the other."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from heldout.blend.mixing import settings_of
from heldout.blend.records import BlendSettings, Weights
from heldout.blend.values import LEVELS
from heldout.errors import UserError
from heldout.metrics.registry import Metric

_TRIED = 32  # levels of a class in one step; then those between the best one's neighbors
_ROUNDS = 3


def best_thresholds(
    metric: Metric,
    value_at: Callable[[tuple[int, ...]], float],
    levels: Sequence[np.ndarray],
    start: tuple[int, ...],
) -> tuple[int, ...]:
    """Coordinate ascent over thresholds: one class after the other, until none changes.

    Of equally good levels the middle one is taken: it is the farthest from where the score would change.

    Args:
        metric: The score, for its direction.
        value_at: Score at thresholds; nan where undefined.
        levels: Sorted levels 0 ... 255 of every class that are worth trying.
        start: Thresholds to begin with.
    """
    sign = 1 if metric.higher_is_better else -1
    found: dict[tuple[int, ...], float] = {}

    def worth(cuts: tuple[int, ...]) -> float:
        if cuts not in found:
            value = sign * value_at(cuts)
            found[cuts] = -np.inf if np.isnan(value) else value
        return found[cuts]

    best = start
    for _ in range(_ROUNDS):
        before = best
        for k, of_class in enumerate(levels):
            spread = of_class[np.unique(np.linspace(0, len(of_class) - 1, _TRIED).astype(int))]
            chosen = _middle(worth, best, k, {*spread.tolist(), best[k]})
            place = int(np.searchsorted(spread, chosen))
            low, high = spread[max(place - 1, 0)], spread[min(place + 1, len(spread) - 1)]
            near = of_class[(of_class >= low) & (of_class <= high)].tolist()
            best = (*best[:k], _middle(worth, best, k, {*near, chosen}), *best[k + 1 :])
        if best == before:
            break
    return best


def _middle(worth: Callable[[tuple[int, ...]], float], best: tuple[int, ...], k: int, tried: set[int]) -> int:
    """The level of class ``k`` with the best score; of a run of equals the middle one, unless that is worse."""
    order = sorted(tried)
    values = np.array([worth((*best[:k], level, *best[k + 1 :])) for level in order])
    equal = np.flatnonzero(values >= values.max() - 1e-12)
    return order[equal[len(equal) // 2]]


def by_threshold(metric: Metric, truth: np.ndarray, score: np.ndarray) -> np.ndarray:
    """(256,) scores of one class's predicted labels at every threshold.

    Predicted and true labels come in four pairs; a threshold only changes how many cases each of them has.
    """
    level = np.rint(255 * score).astype(int)
    reached = [np.flip(np.flip(np.bincount(level[chosen], minlength=LEVELS)).cumsum()) for chosen in (truth, ~truth)]
    hits, alarms = reached
    cases = np.stack([hits, hits[0] - hits, alarms, alarms[0] - alarms], 1).astype(float)
    return metric.one_class(np.array([True, True, False, False]), np.array([True, False, True, False]), cases)


def best_by_class(
    metric: Metric, scores: np.ndarray, weights: Weights, classes: tuple[str, ...]
) -> tuple[float, BlendSettings]:
    """Best thresholds, found for each class alone because the score is a mean over classes.

    Of equally good thresholds the middle one is taken: it is the farthest from where the score would change.
    """
    sign = 1 if metric.higher_is_better else -1
    thresholds = []
    for name, values in zip(classes, sign * scores, strict=True):
        refuse_undefined(float(values.max()), metric, (name,))
        equal = np.flatnonzero(values >= values.max() - 1e-12)
        thresholds.append(int(equal[len(equal) // 2]))
    value = float(np.mean([values[t] for values, t in zip(scores, thresholds, strict=True)]))
    return value, settings_of(weights, thresholds)


def refuse_undefined(value: float, metric: Metric, classes: tuple[str, ...]) -> float:
    """The value of a score; an error where it is undefined.

    Raises:
        UserError: naming the classes.
    """
    if np.isnan(value):
        raise UserError(
            f"{metric.name} is undefined for {', '.join(classes)} on the cases to tune on: a class lacks positive or "
            "negative cases there, so choose another metric or finish more folds"
        )
    return value
