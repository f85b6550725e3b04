"""Metrics of competitions that need numbers of their own, for ``exps/metrics.py``: they are given a name there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from heldout.errors import UserError
from heldout.metrics.metric import Metric
from heldout.metrics.ranking import divide
from heldout.metrics.tables import Columns

_SMALLEST = 1e-15  # as scikit-learn and the competitions clip

Weight = float | tuple[float, float]


def weighted_log_loss(
    weights: Mapping[str, Weight] | None = None, groups: Mapping[str, Sequence[str]] | None = None
) -> Metric:
    """Log-loss in which classes, and the two labels of a class, weigh differently, as in the RSNA challenges.

    Args:
        weights: Weight of a class by name, 1 where it is not named; as a pair, that of its negative and of its positive
            cases. Of exclusive classes the true one's weight counts, once a case: Lumbar Spine 2024 takes
            ``{"normal": 1, "moderate": 2, "severe": 4}``; Cervical Spine 2022 ``{"patient_overall": (7, 14), "C1": (1,
            2), ...}``; Intracranial Hemorrhage 2019 ``{"any": 2}``.
        groups: Levels by name, each the names of classes that exclude each other; the score is then the mean over
            levels, with the probabilities of a level made to sum to one.

    Returns:
        The metric; its value is the weighted mean over cases and classes.

    Example:
        >>> lumbar = weighted_log_loss({"normal": 1, "moderate": 2, "severe": 4})
        >>> lumbar.higher_is_better
        False
    """
    weights, groups = dict(weights or {}), {name: tuple(of) for name, of in (groups or {}).items()}

    def value(columns: Columns, draws: np.ndarray) -> np.ndarray:
        names = list(columns.classes)
        for name in (*weights, *(one for of in groups.values() for one in of)):
            if name not in names:
                raise UserError(f"weighted_log_loss: there is no class {name!r}, name one of {', '.join(names)}")
        if groups:
            parts = [[names.index(one) for one in of] for of in groups.values()]
            return np.mean([_exclusive(columns, part, draws, weights) for part in parts], axis=0)
        if columns.exclusive:
            return _exclusive(columns, range(len(names)), draws, weights)
        return _by_class(columns, draws, weights)

    return Metric(
        "weighted_log_loss",
        "classification",
        False,
        "weighted log-loss",
        "probability",
        whole=value,
        interval_scale="log",
    )


def _pair(weight: Weight) -> tuple[float, float]:
    negative, positive = weight if isinstance(weight, tuple) else (weight, weight)
    return float(negative), float(positive)


def _exclusive(columns: Columns, part: Sequence[int], draws: np.ndarray, weights: Mapping[str, Weight]) -> np.ndarray:
    """(draws,) log-loss of the true class of a group, weighted by its weight; cases without a true class left out."""
    truth, score = columns.truth[:, part], columns.probability[:, part]
    of_class = np.array([_pair(weights.get(columns.classes[k], 1.0))[1] for k in part])
    weight = truth @ of_class
    of_true = (truth * score).sum(1) / np.maximum(score.sum(1), _SMALLEST)
    loss = -np.log(np.clip(of_true, _SMALLEST, 1.0))
    return divide(draws @ (weight * loss), draws @ weight)


def _by_class(columns: Columns, draws: np.ndarray, weights: Mapping[str, Weight]) -> np.ndarray:
    pairs = np.array([_pair(weights.get(name, 1.0)) for name in columns.classes])
    weight = np.where(columns.truth, pairs[:, 1], pairs[:, 0])
    weight = weight if columns.known is None else weight * columns.known
    of_true = np.where(columns.truth, columns.probability, 1 - columns.probability)
    loss = -np.log(np.clip(of_true, _SMALLEST, 1.0))
    return divide(draws @ (weight * loss).sum(1), draws @ weight.sum(1))
