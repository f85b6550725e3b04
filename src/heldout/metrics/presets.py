"""Metrics of competitions that need numbers of their own, for ``exps/metrics.py``: they are given a name there."""

from __future__ import annotations

import functools
import re
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


LUMBAR_GRADES = {"normal_mild": 1.0, "moderate": 2.0, "severe": 4.0}
LUMBAR_CONDITIONS = ("spinal", "foraminal", "subarticular")


def rsna_lumbar(any_severe_spinal: float = 1.0) -> Metric:
    """The score of RSNA 2024 Lumbar Spine, of a table with a row per study and a class per condition, level and grade.

    It is the mean of four log-losses. Three are of the conditions, spinal, foraminal and subarticular: of all their
    levels in all studies, each weighing 1, 2 or 4 by its true grade. The fourth says whether any level of a study's
    spinal canal is severe: the highest probability of severe, against the highest truth, with the highest weight of
    those levels. Levels without a grade are left out. So are conditions that no class is about, as where a model is
    trained for one of them.

    Args:
        any_severe_spinal: Weight of the fourth, where that of each condition is 1.

    Returns:
        The metric. Classes are named as the source ``table`` names grades of columns:
        ``spinal_canal_stenosis_l1_l2_normal_mild`` or ``..._Normal/Mild``, ``..._moderate``, ``..._severe``.

    Example:
        >>> rsna_lumbar().higher_is_better
        False
    """
    grades = np.array(list(LUMBAR_GRADES.values()))

    def value(columns: Columns, draws: np.ndarray) -> np.ndarray:
        losses, shares = [], []
        for condition, places in _lumbar_levels(columns.classes).items():
            truth, score = columns.truth[:, places], columns.probability[:, places]  # (n, levels, grades)
            weight = truth @ grades
            of_true = (truth * score).sum(2) / np.maximum(score.sum(2), _SMALLEST)
            loss = -np.log(np.clip(of_true, _SMALLEST, 1.0))
            losses.append(divide(draws @ (weight * loss).sum(1), draws @ weight.sum(1)))
            shares.append(1.0)
            if condition == "spinal":
                severe = np.where(weight > 0, score[..., -1], 0.0).max(1)
                loss = -np.log(np.clip(np.where(truth[..., -1].any(1), severe, 1 - severe), _SMALLEST, 1.0))
                losses.append(divide(draws @ (weight.max(1) * loss), draws @ weight.max(1)))
                shares.append(any_severe_spinal)
        return np.average(losses, axis=0, weights=shares)

    return Metric(
        "rsna_lumbar",
        "classification",
        False,
        "mean of weighted log-losses of conditions and of any severe spinal canal stenosis",
        "probability",
        whole=value,
        interval_scale="log",
    )


@functools.cache
def _lumbar_levels(classes: tuple[str, ...]) -> dict[str, list[list[int]]]:
    """By condition, the classes of every level in the order of the grades."""
    levels: dict[str, dict[str, dict[str, int]]] = {}
    for number, name in enumerate(classes):
        plain = re.sub(r"\W+", "_", name).casefold()
        condition = next((one for one in LUMBAR_CONDITIONS if one in plain), "")
        grade = next((one for one in LUMBAR_GRADES if plain.endswith(f"_{one}")), "")
        if not condition or not grade:
            raise UserError(
                f"rsna_lumbar: class {name!r} is no grade of a condition at a level: name classes such as "
                "spinal_canal_stenosis_l1_l2_severe"
            )
        levels.setdefault(condition, {}).setdefault(plain.removesuffix(grade), {})[grade] = number
    for of_level in levels.values():
        for level, found in of_level.items():
            if missing := [grade for grade in LUMBAR_GRADES if grade not in found]:
                raise UserError(
                    f"rsna_lumbar: there is no class {level}{missing[0]}: give every level all three grades"
                )
    return {
        condition: [[found[grade] for grade in LUMBAR_GRADES] for found in of_level.values()]
        for condition, of_level in levels.items()
    }


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
