"""Where a run or a blend fails: its worst cases, its largest inventions and what it missed, from the table alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

MOST = 10


@dataclass(frozen=True)
class Failure:
    """A case that went wrong in one class.

    Attributes:
        case_id: The case.
        patient_id: Its patient.
        fold: The fold that held it out.
        label: The class.
        score: Dice of the class, or what was stated of its probability.
        true: Voxels of the class, or 1 where a classified case is of the class.
        said: Voxels that were called so, or the call, 0 or 1.
    """

    case_id: str
    patient_id: str
    fold: int
    label: str
    score: float
    true: int
    said: int


@dataclass(frozen=True)
class Failures:
    """What went wrong.

    Attributes:
        worst: Of the cases that hold a class and were not missed, those of the least Dice; of a classification, the
            wrong calls that were made most surely.
        invented: Cases without the class in which most was found, or that were called surely.
        missed: Cases of which nothing was found, the largest first; of a classification the least probable first.
        counts: Number of ``positive`` and ``negative`` cases, of those ``missed`` and ``invented``.
    """

    worst: list[Failure]
    invented: list[Failure]
    missed: list[Failure]
    counts: dict[str, int]


def find_failures(table: pd.DataFrame, classes: Sequence[str], called: np.ndarray, most: int = MOST) -> Failures:
    """Sort out what went wrong, over all classes.

    Args:
        table: Held-out predictions.
        classes: The K classes.
        called: (n, K) bool: what is called; of a segmentation, whether any voxel is.
        most: Cases in each list.
    """
    masks = f"tp_{classes[0]}" in table
    rows = pd.concat([_of_class(table, name, called[:, k], masks) for k, name in enumerate(classes)])
    positive, said = rows["true"] > 0, rows["said"] > 0
    missed, invented = rows[positive & ~said], rows[~positive & said]
    if masks:
        worst = rows[positive & said].sort_values("score", kind="stable")
        missed = missed.sort_values("true", ascending=False, kind="stable")
        invented = invented.sort_values("said", ascending=False, kind="stable")
    else:
        wrong = rows[positive != said]
        worst = wrong.assign(margin=(wrong["true"] - wrong["score"]).abs()).sort_values(
            "margin", ascending=False, kind="stable"
        )
        missed = missed.sort_values("score", kind="stable")
        invented = invented.sort_values("score", ascending=False, kind="stable")
    counts = {
        "positive": int(positive.sum()),
        "negative": int((~positive).sum()),
        "missed": len(missed),
        "invented": len(invented),
    }
    lists = [[_failure(row) for row in part.head(most).to_dict("records")] for part in (worst, invented, missed)]
    return Failures(*lists, counts=counts)


def _of_class(table: pd.DataFrame, name: str, called: np.ndarray, masks: bool) -> pd.DataFrame:
    rows = table[["case_id", "patient_id", "fold"]].assign(label=name)
    if not masks:
        return rows.assign(score=table[f"p_{name}"], true=(table[f"y_{name}"] > 0).astype(int), said=called.astype(int))
    found, extra, lost = (table[f"{kind}_{name}"] for kind in ("tp", "fp", "fn"))
    dice = 2 * found / np.maximum(2 * found + extra + lost, 1)
    return rows.assign(score=dice, true=found + lost, said=found + extra)


def _failure(row: dict) -> Failure:
    kept = {key: row[key] for key in ("case_id", "patient_id", "label", "score")}
    return Failure(**kept, fold=int(row["fold"]), true=int(row["true"]), said=int(row["said"]))
