"""The order in which fits are trained so that all of them are finished early. Free of torch."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Mapping
from statistics import fmean
from typing import TypeVar

Key = TypeVar("Key", bound=Hashable)


def longest_first(minutes: Mapping[Key, float | None], needs: Mapping[Key, Collection[Key]]) -> list[Key]:
    """Fits by the length of the longest chain that begins with each; among equals as they came.

    Started in this order whenever a worker is free, fits end at most 4/3 of the least possible time after the start
    where none needs another (R. L. Graham, Bounds on multiprocessing timing anomalies, SIAM J. Appl. Math. 17, 1969).

    Args:
        minutes: How long each takes; None, where nothing tells, counts as the mean of the others.
        needs: Fits that must be finished before; those that are not in ``minutes`` are finished.

    Returns:
        All of them, what others need before these.
    """
    known = [value for value in minutes.values() if value is not None]
    mean = fmean(known) if known else 1.0
    followers: dict[Key, list[Key]] = {key: [] for key in minutes}
    for key in minutes:
        for need in needs.get(key, ()):
            if need in followers:
                followers[need].append(key)
    lengths: dict[Key, float] = {}

    def length(key: Key) -> float:
        if key not in lengths:
            own = minutes[key]
            lengths[key] = (mean if own is None else own) + max(map(length, followers[key]), default=0.0)
        return lengths[key]

    return sorted(minutes, key=lambda key: -length(key))
