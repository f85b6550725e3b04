"""From cases to studies and patients: the scores of a group's cases become one before members are blended.

``mean``, ``max`` and ``top`` (the mean of the highest few) are of any scores. Of probabilities, ``noisy_or`` says that
one case at least is positive if they were independent; ``power`` (a power mean) and ``log_sum_exp`` lie between mean
and maximum, the nearer to the latter the larger their exponent (Wang, Li and Metze 2019, A comparison of five multiple
instance learning pooling functions).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from heldout.blend.records import Pooling
from heldout.blend.values import SMALLEST
from heldout.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

    from heldout.blend.decision import Decision

CASES = "cases"  # column of a table of groups: the ids of each one's cases, as JSON
_OF_SCORES = (("mean", 0.0), ("max", 0.0), ("top", 2.0), ("top", 3.0), ("top", 5.0))
_OF_PROBABILITIES = (
    *(("noisy_or", 0.0), ("power", 2.0), ("power", 4.0), ("power", 8.0)),
    *(("log_sum_exp", 2.0), ("log_sum_exp", 5.0), ("log_sum_exp", 10.0)),
)


def poolings(level: str, kind: str) -> tuple[Pooling, ...]:
    """What is tried, the plainest first: of equal scores the earlier one is taken."""
    numbered = _OF_SCORES if kind == "regression" else (*_OF_SCORES, *_OF_PROBABILITIES)
    return tuple(Pooling(level=level, method=method, value=value) for method, value in numbered)


def pool(values: np.ndarray, pooling: Pooling, exclusive: bool) -> np.ndarray:
    """Scores (..., K) float64 of a group from those of its cases (..., n, K).

    One case alone keeps its scores. Of several exclusive classes the result is made to sum to one.

    Example:
        >>> pool(np.array([[0.1], [0.6], [0.8]]), Pooling(level="patient", method="top", value=2.0), False).tolist()
        [0.7]
    """
    values, power = np.asarray(values, float), float(pooling.value)
    if values.shape[-2] == 1:
        return values[..., 0, :]
    if pooling.method == "mean":
        pooled = values.mean(-2)
    elif pooling.method == "max":
        pooled = values.max(-2)
    elif pooling.method == "top":
        pooled = np.sort(values, axis=-2)[..., -int(power) :, :].mean(-2)
    elif pooling.method == "noisy_or":
        pooled = 1 - np.prod(1 - values, axis=-2)
    elif pooling.method == "power":
        pooled = (values**power).mean(-2) ** (1 / power)
    else:
        pooled = np.log(np.exp(power * values).mean(-2)) / power
    if exclusive and values.shape[-1] > 1:
        return pooled / np.maximum(pooled.sum(-1, keepdims=True), SMALLEST)
    return pooled


def group_rows(
    frame: pd.DataFrame, groups: Sequence[str], classes: Sequence[str], *, kind: str, exclusive: bool
) -> pd.DataFrame:
    """A row per group: case_id, which is its name, patient_id, fold where cases have one, labels, and its cases.

    A group is positive for a class where any of its cases is, and unknown where all of them are. Numbers are averaged.

    Args:
        frame: case_id, patient_id, perhaps fold, and ``y_<class>`` of the cases.
        groups: The group of each.
        classes: Names of the classes.
        kind: ``classification`` or ``regression``.
        exclusive: The classes exclude each other.

    Raises:
        UserError: cases of a group are in several folds, or of classes that exclude each other.
    """
    labels = [f"y_{name}" for name in classes]
    named = frame.assign(of=list(groups)).groupby("of", sort=False)
    kept = [name for name in ("patient_id", "fold") if name in frame]
    rows = named[kept].first()
    if "fold" in frame and (torn := named["fold"].nunique() > 1).any():
        raise UserError(
            f"{torn.idxmax()} has cases in several folds, which would tell of each other: name its column in the "
            "experiment's field group, so that folds keep it together, and train again"
        )
    truth = named[labels].mean() if kind == "regression" else named[labels].max()
    if kind != "regression" and exclusive and len(classes) > 1 and (truth.sum(axis=1) > 1).any():
        name = (truth.sum(axis=1) > 1).idxmax()
        both = [label for label in classes if truth.loc[name, f"y_{label}"] == 1][:2]
        raise UserError(
            f"{name} has cases of the classes {' and '.join(both)}, which exclude each other: score cases, or correct "
            "the labels"
        )
    cases = named["case_id"].agg(lambda ids: json.dumps(list(ids)))
    return rows.join(truth).assign(**{CASES: cases}).rename_axis("case_id").reset_index()


def scored_rows(decision: Decision, cases: pd.DataFrame, groups: Mapping[str, str]) -> pd.DataFrame:
    """What a decision is scored on: the cases with their labels, or their groups as :func:`group_rows` makes them."""
    if not decision.pooling:
        return cases
    named = [groups[case_id] for case_id in cases["case_id"]]
    return group_rows(cases, named, decision.classes, kind=decision.kind, exclusive=decision.exclusive)
