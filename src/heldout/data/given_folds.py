"""Folds that are given, not made: those of a dataset, of a shared table, or one per site; checked for leaks."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from heldout import files
from heldout.data.columns import PREFIX
from heldout.data.folds import NO_CLASS, class_table
from heldout.data.sources.layout import natural_key, read_table
from heldout.errors import UserError

if TYPE_CHECKING:
    from heldout.data.sources import Source

FOLD_COLUMNS = ("fold", "folds", "kfold", "fold_id")
OWN = "the dataset's own folds"
MADE = "leave them out of source_options, so that folds are made, or fix the file"


def folds_path(source: Source, name: str) -> Path:
    """The table of folds that an experiment names: below the dataset, or as an absolute path, or below ``input/``.

    Raises:
        UserError: there is no such file.
    """
    places = [source.root / name, files.home() / "input" / name]
    found = next((place for place in places if place.is_file()), None)
    if found is None:
        raise UserError(f"folds_file {places[0]} does not exist, nor does {places[1]}: correct folds_file")
    return found


def read_folds_file(path: Path, cases: pd.DataFrame, own_ids: Mapping[str, str]) -> dict[str, int]:
    """Fold of every case of a table that others made: a column of folds beside one of case ids, or of patients.

    Args:
        path: The table, CSV or TSV.
        cases: Training cases, with case_id and patient_id.
        own_ids: What the dataset calls its cases, by case id, where that is another text.

    Returns:
        Folds from 0, also where the table counts from 1; cases that are not in ``cases`` are left out.

    Raises:
        UserError: a column or a case is missing, a case has two folds, or a fold is not a whole number from 0 or 1 on.
    """
    table = read_table(path)
    column = next((name for name in table.columns if name.strip().lower() in FOLD_COLUMNS), None)
    if column is None:
        raise UserError(f"{path} has no column fold: it has {', '.join(table.columns)}; rename the one of the folds")
    folds = table[column].str.strip()
    odd = folds[~folds.str.fullmatch(r"\d+(\.0)?")]
    if len(odd):
        raise UserError(
            f"{path} row {odd.index[0] + 2} has {column} = {odd.iloc[0]!r}: folds are whole numbers from 0, and each "
            f"case is in one; take out rows of other cases"
        )
    best: tuple[int, str, str, pd.Series] | None = None
    for wanted in ("case_id", "patient_id"):
        known = {**{str(own_ids.get(one, one)): one for one in cases[wanted]}, **{one: one for one in cases[wanted]}}
        for name in table.columns.drop(column):
            text = table[name].str.strip()
            keys = text.map(known).fillna(text.map(lambda one: Path(one).stem).map(known))
            covered = int(cases[wanted].isin(set(keys.dropna())).sum())
            if covered and (best is None or covered > best[0]):
                best = (covered, wanted, name, keys)
    if best is None:
        raise UserError(f"{path} has no column of case ids or patients such as {cases['case_id'].iloc[0]}: add one")
    _, wanted, name, keys = best
    listed = pd.DataFrame({"key": keys, "fold": folds.astype(float).astype(int)}).dropna().drop_duplicates()
    twice = listed["key"][listed["key"].duplicated()]
    if len(twice):
        raise UserError(f"{path} puts {name} {twice.iloc[0]} into several folds: give each one fold")
    fold_of = dict(zip(listed["key"], listed["fold"], strict=True))
    missing = sorted(cases["case_id"][~cases[wanted].isin(set(fold_of))])
    if missing:
        raise UserError(
            f"{path} has no fold for {len(missing)} training cases, such as {missing[0]}: add their rows, or set "
            f"test_fraction or the split column so that they are not trained on"
        )
    first = min(fold_of[one] for one in cases[wanted])
    return {case: fold_of[one] - (first == 1) for case, one in zip(cases["case_id"], cases[wanted], strict=True)}


def folds_by(cases: pd.DataFrame, column: str) -> dict[str, int]:
    """A fold for each value of a column, in natural order: leave-one-site-out.

    Raises:
        UserError: a case has no value.
    """
    values = cases[PREFIX + column]
    empty = cases["case_id"][values == ""]
    if len(empty):
        raise UserError(f"case {empty.iloc[0]} has no {column}, by which fold_by makes folds: fill it in")
    number = {value: fold for fold, value in enumerate(sorted(set(values), key=natural_key))}
    return dict(zip(cases["case_id"], values.map(number), strict=True))


def given_folds(
    cases: pd.DataFrame,
    given: Mapping[str, int],
    fold_count: int,
    *,
    where: str = OWN,
    remedy: str = MADE,
    accepted: str = "",
) -> pd.Series:
    """Folds that were given, checked.

    Args:
        cases: Columns case_id, patient_id, group_id and labels ``y_*``.
        given: Fold of every case.
        fold_count: What the experiment says.
        where: What the folds are, for messages.
        remedy: What to do about folds that leak or lack a class.
        accepted: Reason for which groups may be in several folds; "" for none.

    Returns:
        As :func:`heldout.data.folds.make_folds`.

    Raises:
        UserError: there are other folds than the experiment says, a group is in several, or a fold lacks a class.
    """
    count = max(given.values()) + 1
    if count != fold_count:
        raise UserError(f"{where} are {count}, fold_count = {fold_count}: set fold_count = {count}")
    fold = cases["case_id"].map(given)
    lost = sorted(set(range(count)) - set(fold))
    if lost:
        raise UserError(f"{where} hold no training case in fold {lost[0]}: {remedy}")
    leaks = leak_text(cases, fold)
    if leaks and not accepted:
        raise UserError(f"{where} leak, {leaks}: {remedy}")
    table = class_table(cases).drop(columns=NO_CLASS)
    for name in table.columns[table.any()]:
        lacking = sorted(set(range(count)) - set(fold[table[name] > 0]))
        if lacking:
            raise UserError(
                f"fold {lacking[0]} of {where} holds no case of class {name.removeprefix('class ')}: {remedy}"
            )
    return pd.Series(fold.to_numpy(), index=pd.Index(cases["case_id"], name="case_id"), name="fold").sort_index()


def leak_text(cases: pd.DataFrame, fold: pd.Series) -> str:
    """How many patients, copies and further groups are in several folds, with examples; "" where none is.

    Args:
        cases: Columns case_id, patient_id and group_id, and content_hash where copies are to be told from likeness.
        fold: Fold of every row.
    """
    found: list[str] = []
    seen: set[str] = set()
    kinds = {
        "patient_id": "patient",
        "content_hash": "set of equal images",
        "group_id": "group of near-duplicates or of a column",
    }
    for column, what in kinds.items():
        if column not in cases:
            continue
        several = fold.groupby(cases[column]).transform("nunique") > 1
        groups = set(cases["group_id"][several])
        if groups - seen:
            found.append(_example(cases, fold, several & ~cases["group_id"].isin(seen), column, what))
        seen |= groups
    return f"several folds share {', '.join(found)}" if found else ""


def _example(cases: pd.DataFrame, fold: pd.Series, several: pd.Series, column: str, what: str) -> str:
    values = sorted(set(cases[column][several]))
    rows = cases[several & (cases[column] == values[0])]
    folds = fold[rows.index]
    pair = [rows.index[0], folds[folds != folds.iloc[0]].index[0]]
    shown = ", ".join(f"{rows['case_id'][one]} in fold {folds[one]}" for one in pair)
    name = f"{values[0]}: " if column == "patient_id" else ""
    head, of, tail = what.partition(" of ")
    return f"{len(values)} {head}{'' if len(values) == 1 else 's'}{of}{tail} ({name}{shown})"
