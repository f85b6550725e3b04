"""Further columns of a dataset's own tables, such as site, age or scanner, by case."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import TYPE_CHECKING

import numpy as np

from heldout.data.sources.layout import read_table
from heldout.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

    from heldout.config import BaseConfig
    from heldout.data.sources import Source

PREFIX = "c_"  # of such a column in cases.parquet
LABEL, PATIENT = "label", "patient"  # words for what is balanced and kept together anyway
UNKNOWN = "unknown"  # shown for an empty value


def column_and_bins(name: str) -> tuple[str, int]:
    """A column's name and the number of bins that its numbers are divided into; 0 for a column of words.

    Raises:
        UserError: the number of bins is not 2 or more.

    Example:
        >>> column_and_bins("age:5"), column_and_bins("site")
        (('age', 5), ('site', 0))
    """
    column, colon, bins = name.rpartition(":")
    if not colon:
        return name, 0
    if not column or not bins.isdigit() or int(bins) < 2:
        raise UserError(f"{name!r} is not a column with a number of bins: write it as age:5, with 2 bins or more")
    return column, int(bins)


def wanted_columns(config: BaseConfig) -> list[str]:
    """Names of the columns by which an experiment stratifies, groups or makes folds."""
    names = [column_and_bins(name)[0] for name in config.stratify] + list(config.group) + [config.fold_by or ""]
    return [name for name in dict.fromkeys(names) if name not in (LABEL, PATIENT, "")]


def further_columns(
    source: Source, cases: pd.DataFrame, names: Sequence[str], asked_by: str = "stratify, group or fold_by"
) -> pd.DataFrame:
    """Values of columns of the source's tables, found by case id, or by patient where a table lists patients.

    Args:
        source: The dataset's source.
        cases: Rows with case_id and patient_id.
        names: The columns.
        asked_by: Where they were named, for messages.

    Returns:
        Texts, stripped, in the order of ``cases``, one column per name; "" where a table says nothing.

    Raises:
        UserError: no table has the column, or it holds several values for one case.
    """
    import pandas as pd

    found = {name: _column(source, cases, name, asked_by) for name in names}
    return pd.DataFrame(found, index=cases.index)


def bins_of(values: pd.Series, name: str) -> pd.Series:
    """Category of every case: the value itself, or of ``age:5`` the interval of five quantiles that it lies in.

    Raises:
        UserError: a value to be binned is not a number.
    """
    import pandas as pd

    column, bins = column_and_bins(name)
    text = values.where(values != "", UNKNOWN)
    if not bins:
        return text
    numbers = pd.to_numeric(values, errors="coerce").replace([np.inf, -np.inf], np.nan)
    odd = values[(values != "") & numbers.isna()]
    if len(odd):
        raise UserError(f"{column} holds {odd.iloc[0]!r}, which is not a number: write {column} without bins")
    if numbers.notna().sum() == 0:
        return text
    cut = pd.qcut(numbers, bins, duplicates="drop")
    return pd.Series([UNKNOWN if pd.isna(one) else str(one) for one in cut], index=values.index)


def _column(source: Source, cases: pd.DataFrame, name: str, asked_by: str) -> list[str]:
    own, seen = source.own_ids(), []
    by_case = {str(own.get(case_id, case_id)): case_id for case_id in cases["case_id"]}
    keys = (
        {**by_case, **{case_id: case_id for case_id in cases["case_id"]}},
        {one: one for one in cases["patient_id"]},
    )
    for path in source.tables():
        if path.suffix.lower() not in (".csv", ".tsv"):
            continue
        table = read_table(path)
        seen += [column for column in table.columns if column not in seen]
        if name not in table.columns:
            continue
        for ids, wanted in zip(keys, ("case_id", "patient_id"), strict=True):
            value_of = values_of(table, name, ids, str(path))
            if value_of is not None:
                return [value_of.get(one, "") for one in cases[wanted]]
    raise UserError(
        f"no table of {source.root} has the column {name!r} beside an id of a case or patient: "
        f"{'it has ' + ', '.join(seen) if seen else 'it has no table'}; correct {asked_by}"
    )


def values_of(table: pd.DataFrame, name: str, ids: Mapping[str, str], where: str) -> dict[str, str] | None:
    """Values of a column, stripped, by what another column names; None where none names anything.

    Args:
        table: Texts.
        name: The column.
        ids: What a row may name, or the file of which it may, and what that stands for.
        where: What messages call the table.

    Raises:
        UserError: it holds several values for one.
    """
    import pandas as pd

    for column in table.columns:
        key = [ids.get(text.strip()) or ids.get(PurePath(text.strip()).stem) for text in table[column]]
        if column == name or not any(key):
            continue
        values = pd.DataFrame({"of": key, "value": table[name].str.strip()}).dropna().drop_duplicates()
        twice = values.of[values.of.duplicated()]
        if len(twice):
            raise UserError(
                f"{where} has several values of {name} for {twice.iloc[0]}: give each case, or patient, one"
            )
        return dict(values.itertuples(index=False))
    return None
