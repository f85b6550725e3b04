"""How sure a score is: what it would be without each patient, and what cross-validation adds to that.

The standard error is the delete-one jackknife over patients, all cases of a patient together (Miller 1974; for the AUC
of clustered cases it is Obuchowski's estimate, 1997). It is turned into a 95 % interval by a Student quantile, on the
logit scale for shares, so that no bound leaves 0 ... 1, and on the log scale for errors without an upper limit.

The cases' own sampling error is not all: each network's training cases are the other networks' held-out cases, so that
the folds' scores err together, which no resampling of the scored cases can see (Bates, Hastie and Tibshirani 2023,
Cross-validation: what does it estimate and how well does it do it?). :func:`inflation` widens the interval of
cross-validated scores by what ``benchmarks/coverage.py`` measures. Their own remedy, nested cross-validation, would
train as many networks again for each fold.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from heldout.errors import UserError
from heldout.metrics import calibration, ranking
from heldout.metrics.left_out import LeftOut, ScoresLeftOut, score_blocks
from heldout.metrics.metric import Metric, Scale
from heldout.metrics.registry import get_metric, score
from heldout.metrics.tables import Columns, check_cases, columns_of

if TYPE_CHECKING:
    import pandas as pd

FEWEST_PATIENTS = 5
# What cross-validation adds to the half width: always, and divided by the number of patients.
_PROBABILITIES, _MASKS, _ORDER, _LABELS = (0.1, 5.0), (0.07, 4.0), (0.08, 0.0), (0.03, 0.0)
_TAIL = 0.025


@dataclass(frozen=True)
class Interval:
    """A score with the bounds of its 95 % interval; nan where undefined."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Difference:
    """Score of one table minus that of another on the same patients.

    Attributes:
        value: The difference, first minus second.
        low: Lower bound of its paired 95 % interval.
        high: Upper bound.
        probability_better: How surely the first scores better, by the Student distribution behind the interval: 0.975
            where the interval just leaves out 0.
    """

    value: float
    low: float
    high: float
    probability_better: float


def interval(name: str, table: pd.DataFrame, classes: Sequence[str]) -> Interval:
    """Score with its 95 % interval over patients; see :func:`intervals`.

    Example:
        >>> import pandas as pd
        >>> ids = [f"p{n}" for n in range(40)]
        >>> table = pd.DataFrame({"case_id": ids, "patient_id": ids, "y_a": [0, 1] * 20, "p_a": [0.2, 0.8] * 20})
        >>> found = interval("roc_auc", table, ["a"])
        >>> found.value, round(found.low, 3), found.high
        (1.0, 0.832, 1.0)
    """
    return intervals(name, [table], classes)[0]


def intervals(name: str, tables: Sequence[pd.DataFrame], classes: Sequence[str]) -> list[Interval]:
    """Scores of several tables of the same cases, each with its 95 % interval over patients.

    An interval is undefined where fewer than :data:`FEWEST_PATIENTS` patients contribute to the score: patients at all,
    and of every class those with a case of each kind that the score compares, such as positives and negatives for an
    AUC. So few patients say nothing about others: the interval would be narrow without reason.

    Args:
        name: Metric of :func:`heldout.metrics.registry.get_metric`.
        tables: One row per case, with ``patient_id``. Where ``fold`` names several folds, the cases were predicted by
            networks that trained on the other folds, and the interval is widened by :func:`inflation`.
        classes: Names of the classes.

    Raises:
        UserError: as :func:`heldout.metrics.registry.score`; or the tables differ in cases, patients or labels.
    """
    frames = _aligned(tables, classes) if len(tables) > 1 else list(tables)
    left_out, behind, widened = _leave_out(name, frames, classes)
    values = [score(name, frame, classes) for frame in frames]
    scale = get_metric(name).scale
    rows = zip(values, left_out, behind.tolist(), strict=True)
    return [Interval(value, *bounds(value, row, scale, count, widened)) for value, row, count in rows]


def compare(name: str, table_a: pd.DataFrame, table_b: pd.DataFrame, classes: Sequence[str]) -> Difference:
    """Paired difference of two tables of the same cases, a minus b; interval and probability as :func:`intervals`.

    Raises:
        UserError: the tables differ in cases, patients or labels.
    """
    frames = _aligned([table_a, table_b], classes)
    left_out, behind, widened = _leave_out(name, frames, classes)
    metric, count = get_metric(name), int(behind.min())
    value = score(name, frames[0], classes) - score(name, frames[1], classes)
    error = widened * standard_error(left_out[0] - left_out[1])
    if count < FEWEST_PATIENTS or not math.isfinite(error) or not math.isfinite(value):
        return Difference(value, math.nan, math.nan, math.nan)
    half = student_quantile(count - 1) * error
    most = 1.0 if metric.scale == "logit" else math.inf
    chance = _chance_above_zero(value if metric.higher_is_better else -value, error, count - 1)
    return Difference(value, max(value - half, -most), min(value + half, most), chance)


def inflation(metric: Metric, patients: int, folds: int) -> float:
    """Factor on the half width of a cross-validated score's interval; 1 where no network trained on another's cases.

    Measured in ``benchmarks/coverage.py``: probabilities suffer more than their order, their order more than predicted
    labels. The fewer the patients, the more a case weighs in the networks that it trained; where a score compares
    classes, Student's quantile for the patients of the rarer class covers that already.

    Args:
        metric: The score.
        patients: Number of patients in all folds.
        folds: Number of folds that were scored.
    """
    if folds < 2:
        return 1.0
    always, one_patient = _LABELS
    if metric.within_folds is ranking.roc_auc_within_folds:
        always, one_patient = _ORDER
    elif metric.kind == "segmentation":
        always, one_patient = _MASKS
    elif metric.scale != "logit" or metric.one_class is calibration.brier:
        always, one_patient = _PROBABILITIES
    return 1 + always + one_patient / max(patients, FEWEST_PATIENTS)


def bounds(value: float, left_out: np.ndarray, scale: Scale, patients: int, widened: float) -> tuple[float, float]:
    """Bounds of a score's 95 % interval.

    Args:
        value: The score.
        left_out: (groups,) the score without each group of patients.
        scale: Where the interval is symmetric.
        patients: Number of patients that the weakest part of the score is computed from.
        widened: Factor on the half width.

    Returns:
        Lower and upper bound, nan where unknown. A share of exactly 0 or 1 that no patient changes has the bounds of
        as many trials that all failed or succeeded (Clopper and Pearson 1934).
    """
    error = standard_error(left_out)
    if patients < FEWEST_PATIENTS or not math.isfinite(value) or not math.isfinite(error):
        return math.nan, math.nan
    if scale == "logit" and value in (0.0, 1.0):
        edge = _TAIL ** (1 / patients)
        return (edge, 1.0) if value else (0.0, 1 - edge)
    half = student_quantile(patients - 1) * widened * error
    if scale == "logit":
        logit, half = math.log(value / (1 - value)), half / (value * (1 - value))
        return _logistic(logit - half), _logistic(logit + half)
    if scale == "log" and value > 0:
        ratio = math.exp(min(half / value, 700.0))
        return value / ratio, value * ratio
    return (value - half if scale == "real" else max(value - half, 0.0)), value + half


def standard_error(left_out: np.ndarray) -> float:
    """Jackknife standard error of (groups,) scores without each group; nan where one of them is undefined."""
    count = len(left_out)
    return math.sqrt((count - 1) / count * np.square(left_out - left_out.mean()).sum()) if count > 1 else math.nan


def interval_of(function: Callable[[np.ndarray], np.ndarray], patients: np.ndarray, like: str, folds: int) -> Interval:
    """Interval of any score of weighted cases.

    Args:
        function: (draws,) scores under (draws, n) weights.
        patients: (n,) patient of every case.
        like: Name of a metric of the same kind.
        folds: Number of folds whose networks predicted the cases.
    """
    metric = get_metric(like)
    value = float(function(np.ones((1, len(patients)), np.float32))[0])
    groups = LeftOut(patients)
    left_out = np.concatenate([function(groups.weights(block)) for block in range(groups.blocks)])
    count = len(np.unique(patients.astype(str)))
    return Interval(value, *bounds(value, left_out, metric.scale, count, inflation(metric, count, folds)))


def student_quantile(freedom: int) -> float:
    """97.5 % quantile of the Student distribution."""
    from scipy.special import stdtrit

    return float(stdtrit(freedom, 1 - _TAIL))


def _chance_above_zero(value: float, error: float, freedom: int) -> float:
    from scipy.special import stdtr

    if error == 0:
        return 0.5 if value == 0 else float(value > 0)
    return float(stdtr(freedom, value / error))


def _logistic(value: float) -> float:
    return 1 / (1 + math.exp(-max(value, -700.0)))


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


def _leave_out(
    name: str, frames: Sequence[pd.DataFrame], classes: Sequence[str]
) -> tuple[np.ndarray, np.ndarray, float]:
    """(tables, groups) scores without each group, (tables,) patients behind each score, and the inflation."""
    if any("patient_id" not in frame for frame in frames):
        raise UserError("a table of predictions has no column patient_id: intervals are over patients")
    metric, patients = get_metric(name), frames[0]["patient_id"].to_numpy(str)
    numbers = metric.kind == "regression"
    rows = [columns_of(metric.view(frame, classes), classes, regression=numbers) for frame in frames]
    blocks = score_blocks(ScoresLeftOut(name, tuple(rows), patients))
    behind = np.array([metric.support(columns, patients) for columns in rows])
    widened = inflation(metric, len(np.unique(patients)), max(map(_folds, rows)))
    return np.concatenate(list(blocks), axis=1), behind, widened


def _folds(columns: Columns) -> int:
    return 1 if columns.folds is None else len(np.unique(columns.folds))
