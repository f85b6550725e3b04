"""How sure a score is: patients drawn with replacement, all cases of a patient together.

Cases of one patient resemble each other; drawing cases one by one would make intervals too narrow (Field and Welsh
2007 on the cluster bootstrap).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from heldout.errors import UserError
from heldout.metrics.registry import get_metric, score
from heldout.metrics.tables import Columns, columns_of

if TYPE_CHECKING:
    import pandas as pd

_CHUNK = 4_000_000  # weights held at once: 32 MB


@dataclass(frozen=True)
class Interval:
    """A score with the 2.5 and 97.5 percentiles of its bootstrap distribution; nan where undefined."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Difference:
    """Score of one table minus that of another on the same patients.

    Attributes:
        value: The difference, first minus second.
        low: 2.5 percentile of its paired bootstrap distribution.
        high: 97.5 percentile.
        probability_better: Share of the draws in which the first scores better, ties counting half.
    """

    value: float
    low: float
    high: float
    probability_better: float


def interval(name: str, table: pd.DataFrame, classes: Sequence[str], draws: int = 2000, seed: int = 0) -> Interval:
    """Score with its 95 % interval over patients.

    Draws in which the score is undefined, such as an AUC without a positive, are left out.

    Raises:
        UserError: as :func:`heldout.metrics.registry.score`.
    """
    value = score(name, table, classes)
    drawn = _draws(name, [columns_of(table, classes)], table, draws, seed)[0]
    return Interval(value, *_percentiles(drawn))


def compare(
    name: str,
    table_a: pd.DataFrame,
    table_b: pd.DataFrame,
    classes: Sequence[str],
    draws: int = 2000,
    seed: int = 0,
) -> Difference:
    """Paired difference of two tables of the same cases, a minus b.

    Raises:
        UserError: the tables differ in cases, patients or labels.
    """
    both = []
    for table in (table_a, table_b):
        columns_of(table, classes)
        both.append(table.set_index("case_id").sort_index())
    keys = ["patient_id", *(f"y_{c}" for c in classes)]
    if not both[0][keys].equals(both[1][keys].astype(both[0][keys].dtypes)):
        raise UserError("two scores can only be compared on the same cases, patients and labels: use one fold table")
    frames = [frame.reset_index() for frame in both]
    drawn = _draws(name, [columns_of(frame, classes) for frame in frames], frames[0], draws, seed)
    value = score(name, frames[0], classes) - score(name, frames[1], classes)
    difference = drawn[0] - drawn[1]
    known = difference[np.isfinite(difference)]
    better = known if get_metric(name).higher_is_better else -known
    chance = float(np.mean((better > 0) + 0.5 * (better == 0))) if len(better) else float("nan")
    return Difference(value, *_percentiles(difference), chance)


def patient_weights(patients: pd.Series, draws: int, seed: int) -> Iterator[np.ndarray]:
    """Multiplicity of every case in each draw of as many patients as there are.

    Args:
        patients: (n,) patient of every case.
        draws: Number of draws.
        seed: Seed; the same draws come whatever their number.

    Yields:
        (some draws, n) float64 arrays, ``draws`` rows in all.
    """
    names, patient = np.unique(patients.to_numpy(str), return_inverse=True)
    random = np.random.default_rng(seed)
    step = max(1, _CHUNK // max(1, len(patient)))
    for first in range(0, draws, step):
        count = min(step, draws - first)
        drawn = random.integers(0, len(names), (count, len(names)))
        drawn += np.arange(count)[:, None] * len(names)
        multiplicity = np.bincount(drawn.ravel(), minlength=count * len(names)).reshape(count, len(names))
        yield multiplicity[:, patient].astype(float)


def _draws(name: str, tables: list[Columns], frame: pd.DataFrame, draws: int, seed: int) -> np.ndarray:
    """(tables, draws) scores, every draw of the same patients for all tables."""
    if "patient_id" not in frame:
        raise UserError("a table of predictions has no column patient_id: intervals are over patients")
    metric = get_metric(name)
    parts = [
        [metric.evaluate(columns, weights) for columns in tables]
        for weights in patient_weights(frame["patient_id"], draws, seed)
    ]
    return np.concatenate(parts, axis=1)


def _percentiles(values: np.ndarray) -> tuple[float, float]:
    known = values[np.isfinite(values)]
    if len(known) == 0:
        return float("nan"), float("nan")
    low, high = np.percentile(known, [2.5, 97.5])
    return float(low), float(high)
