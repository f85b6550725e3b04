"""Further columns of a dataset's own tables by case, such as site or age, and bins of their numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from heldout.data.sources.layout import read_table
from heldout.errors import UserError

if TYPE_CHECKING:
    from heldout.data.sources import Source

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


def values_of(source: Source, table: pd.DataFrame, name: str) -> pd.Series:
    """Text of a column for every row of a table of predictions, found by the id of the case or of the patient.

    Raises:
        UserError: no table of the dataset has the column beside such an id.
    """
    own = source.own_ids()
    keys = {str(own.get(case, case)): str(case) for case in table["case_id"]} | {c: c for c in table["case_id"]}
    seen: list[str] = []
    for path in source.tables():
        if path.suffix.lower() not in (".csv", ".tsv"):
            continue
        listed = read_table(path)
        seen += [column for column in listed.columns if column not in seen]
        if name not in listed.columns:
            continue
        for known, wanted in ((keys, "case_id"), ({one: one for one in table["patient_id"]}, "patient_id")):
            for column in listed.columns.drop(name):
                ids = listed[column].str.strip().map(known)
                if ids.notna().any():
                    value = dict(zip(ids, listed[name].str.strip(), strict=True))
                    return table[wanted].map(value).fillna("")
    raise UserError(
        f"no table of {source.root} has the column {name!r} beside an id of a case or patient: "
        f"{'it has ' + ', '.join(seen) if seen else 'it has no table'}; correct --by"
    )


def bins_of(values: pd.Series, name: str) -> pd.Series:
    """Category of every case: the value itself, or of ``age:5`` the interval of five quantiles that it lies in.

    Raises:
        UserError: a value to be binned is not a number.
    """
    column, bins = column_and_bins(name)
    text = values.where(values != "", UNKNOWN)
    if not bins:
        return text
    numbers = pd.to_numeric(values, errors="coerce")
    odd = values[(values != "") & numbers.isna()]
    if len(odd):
        raise UserError(f"{column} holds {odd.iloc[0]!r}, which is not a number: write {column} without bins")
    cut = pd.qcut(numbers, bins, duplicates="drop")
    return pd.Series([UNKNOWN if pd.isna(one) else str(one) for one in cut], index=values.index)
