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
from heldout.metrics.tables import check_cases, columns_of

if TYPE_CHECKING:
    import pandas as pd

FEWEST_PATIENTS = 5
_DRAWS = 1024  # evaluated at once: enough to pay for a call, few enough that a step of them stays in the cache
_CHUNK = 4_000_000  # weights held at once: 16 MB


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
    """Score with its 95 % interval over patients; see :func:`intervals`.

    Example:
        >>> import pandas as pd
        >>> ids = [f"p{n}" for n in range(40)]
        >>> table = pd.DataFrame({"case_id": ids, "patient_id": ids, "y_a": [0, 1] * 20, "p_a": [0.2, 0.8] * 20})
        >>> found = interval("roc_auc", table, ["a"])
        >>> found.value, found.low, found.high
        (1.0, 1.0, 1.0)
    """
    return intervals(name, [table], classes, draws, seed)[0]


def intervals(
    name: str, tables: Sequence[pd.DataFrame], classes: Sequence[str], draws: int = 2000, seed: int = 0
) -> list[Interval]:
    """Scores of several tables of the same cases, each with its 95 % interval over patients, from the same draws.

    Draws in which the score is undefined, such as an AUC without a positive, are left out. An interval is undefined
    where fewer than :data:`FEWEST_PATIENTS` patients stand behind the score: patients at all, and of every class those
    with a case of each kind that the score compares, such as positives and negatives for an AUC. Redrawing so few says
    nothing about others, and would show as a narrow range what nobody knows.

    Raises:
        UserError: as :func:`heldout.metrics.registry.score`; or the tables differ in cases, patients or labels.
    """
    frames = _aligned(tables, classes) if len(tables) > 1 else list(tables)
    drawn, supported = _draws(name, frames, classes, draws, seed)
    values = [score(name, frame, classes) for frame in frames]
    return [
        Interval(value, *_percentiles(row if enough else row[:0]))
        for value, row, enough in zip(values, drawn, supported, strict=True)
    ]


def compare(
    name: str,
    table_a: pd.DataFrame,
    table_b: pd.DataFrame,
    classes: Sequence[str],
    draws: int = 2000,
    seed: int = 0,
) -> Difference:
    """Paired difference of two tables of the same cases, a minus b.

    Interval and probability are undefined where those of :func:`intervals` are.

    Raises:
        UserError: the tables differ in cases, patients or labels.
    """
    frames = _aligned([table_a, table_b], classes)
    drawn, supported = _draws(name, frames, classes, draws, seed)
    value = score(name, frames[0], classes) - score(name, frames[1], classes)
    difference = drawn[0] - drawn[1]
    known = difference[np.isfinite(difference)] if supported.all() else difference[:0]
    better = known if get_metric(name).higher_is_better else -known
    chance = float(np.mean((better > 0) + 0.5 * (better == 0))) if len(better) else float("nan")
    return Difference(value, *_percentiles(known), chance)


def patient_weights(patients: pd.Series, draws: int, seed: int) -> Iterator[np.ndarray]:
    """Multiplicity of every case in each draw of as many patients as there are.

    Args:
        patients: (n,) patient of every case.
        draws: Number of draws.
        seed: Seed; the same draws come whatever their number.

    Yields:
        (some draws, n) float32 arrays of whole numbers, ``draws`` rows in all; in memory the draws of one case lie
        together, as a sum over cases wants them.
    """
    names, patient = np.unique(patients.to_numpy(str), return_inverse=True)
    random = np.random.default_rng(seed)
    step = max(1, min(_DRAWS, _CHUNK // max(1, len(patient))))
    for first in range(0, draws, step):
        count = min(step, draws - first)
        drawn = random.integers(0, len(names), (count, len(names)))
        drawn += np.arange(count)[:, None] * len(names)
        multiplicity = np.bincount(drawn.ravel(), minlength=count * len(names)).reshape(count, len(names))
        yield multiplicity.T.astype(np.float32)[patient].T


def _aligned(tables: Sequence[pd.DataFrame], classes: Sequence[str]) -> list[pd.DataFrame]:
    """The tables with their rows in one order, by case."""
    frames = []
    for table in tables:
        check_cases(table)
        frames.append(table.sort_values("case_id", kind="stable", ignore_index=True))
    keys = ["case_id", "patient_id", *(f"y_{name}" for name in classes)]
    first = frames[0][keys]
    if any(not first.equals(frame[keys].astype(first.dtypes)) for frame in frames[1:]):
        raise UserError("scores can only be compared on the same cases, patients and labels: use one fold table")
    return frames


def _draws(
    name: str, frames: Sequence[pd.DataFrame], classes: Sequence[str], draws: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """(tables, draws) scores, every draw of the same patients for all tables; (tables,) whether that is enough."""
    if any("patient_id" not in frame for frame in frames):
        raise UserError("a table of predictions has no column patient_id: intervals are over patients")
    metric, patients = get_metric(name), frames[0]["patient_id"]
    rows = [columns_of(metric.view(frame, classes), classes) for frame in frames]
    parts = [metric.evaluate_rows(rows, weights) for weights in patient_weights(patients, draws, seed)]
    enough = [metric.support(columns, patients.to_numpy(str)) >= FEWEST_PATIENTS for columns in rows]
    return np.concatenate(parts, axis=1), np.array(enough)


def _percentiles(values: np.ndarray) -> tuple[float, float]:
    known = values[np.isfinite(values)]
    if len(known) == 0:
        return float("nan"), float("nan")
    low, high = np.percentile(known, [2.5, 97.5])
    return float(low), float(high)
