"""Thresholds of a score that is not a mean over classes, so that no class's can be found alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

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
