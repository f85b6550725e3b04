"""Scores by subgroup, such as site, sex and age in thirds, each with its interval over patients."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from heldout.data.columns import bins_of, column_and_bins, further_columns
from heldout.errors import UserError
from heldout.records import finite

if TYPE_CHECKING:
    import pandas as pd

    from heldout.data.sources import Source

ALL = "all cases"
FOLD = "fold"


@dataclass(frozen=True)
class Subgroup:
    """The score of some cases.

    Attributes:
        by: Column that they have in common, as it was asked for; :data:`ALL` of all cases.
        value: Their value of it.
        cases, patients: How many.
        score: None where undefined on them.
        low, high: 95 % interval over patients; None where undefined.
    """

    by: str
    value: str
    cases: int
    patients: int
    score: float | None
    low: float | None
    high: float | None


def score_subgroups(
    metric: str, table: pd.DataFrame, classes: Sequence[str], source: Source, by: Sequence[str]
) -> list[Subgroup]:
    """Score a table of predictions as a whole and by every value of columns of the dataset's own tables.

    Args:
        metric: Name of the score.
        table: A row per case.
        classes: Names of the classes.
        source: Reads the dataset's tables.
        by: ``site``, or ``age:3`` for numbers in thirds; ``fold`` for the folds.

    Raises:
        UserError: no table has such a column, or the metric cannot score the table.
    """
    found = [_subgroup(metric, table, classes, ALL, "")]
    for name in by:
        column, _ = column_and_bins(name)
        if column == FOLD and FOLD in table:
            values = table[FOLD].astype(str)
        else:
            values = bins_of(further_columns(source, table, [column], "--by")[column], name)
        for value in sorted(set(values), key=_order):
            part = table[(values == value).to_numpy()].reset_index(drop=True)
            found.append(_subgroup(metric, part, classes, name, str(value)))
    return found


def check_by(source: Source, cases: pd.DataFrame, by: Sequence[str]) -> None:
    """Refuse columns that no table has, before an evaluation is spent on them; arguments as :func:`score_subgroups`.

    Raises:
        UserError: naming the column.
    """
    for name in by:
        bins_of(further_columns(source, cases, [column_and_bins(name)[0]], "--by").iloc[:, 0], name)


def _order(value: str) -> tuple[float, str]:
    """Bins of numbers, ``(12.0, 40.5]``, by their lower end; texts by the alphabet."""
    try:
        return float(value.partition(",")[0].strip("([")), value
    except ValueError:
        return float("inf"), value


def _subgroup(metric: str, table: pd.DataFrame, classes: Sequence[str], by: str, value: str) -> Subgroup:
    from heldout.metrics import interval

    found = interval(metric, table, classes)
    numbers = map(finite, (found.value, found.low, found.high))
    return Subgroup(by, value, len(table), int(table["patient_id"].nunique()), *numbers)


def parse_by(text: str | None) -> list[str]:
    """Columns of ``site,sex,age:3``.

    Raises:
        UserError: one of them is empty or named twice.
    """
    names = [name.strip() for name in (text or "").split(",")] if text else []
    if "" in names or len(set(names)) < len(names):
        raise UserError(f"--by {text!r} must name columns once each, separated by commas: site,sex,age:3")
    return names
