"""What cases belong together where a study or a patient is scored and submitted, not every image of it."""

from __future__ import annotations

from collections import defaultdict
from contextlib import suppress
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

from heldout.data.columns import PATIENT, values_of
from heldout.data.sources.layout import image_paths, read_table
from heldout.data.sources.table.columns import with_id
from heldout.data.sources.template import Template
from heldout.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

    from heldout.data.sources import Source

CASE = "case"


def groups_of(source: Source, cases: pd.DataFrame, level: str) -> list[str]:
    """The group of every case.

    A patient is known from the dataset's index. Any other group, and a patient whom that does not name, is a value of a
    column of a table of the dataset's folder, or of several by a template, in the row of the case's id or file.

    Args:
        source: Reads the folder of the cases.
        cases: case_id, patient_id and image of the cases, and perhaps own_id.
        level: ``patient``, the column, or a template such as ``{patient_id}_{side}``.

    Raises:
        UserError: a case has no value, or several; or cases of several patients have the same.
    """
    column = _column(source, level)
    known = _known(source, cases, column)
    pairs = list(zip(cases["case_id"], cases["patient_id"], strict=True))
    if level == PATIENT:
        return [patient if patient != case_id else known.get(case_id, patient) for case_id, patient in pairs]
    person: dict[str, str] = {}
    for case_id, patient in pairs:
        group = known.get(case_id, "")
        if not group:
            raise UserError(
                f"no table of {source.root} gives case {case_id} a {level}: add its row to a CSV file with the columns "
                f"id and {level}, or correct level"
            )
        if patient != case_id and person.setdefault(group, patient) != patient:  # else no patient is known
            raise UserError(
                f"{level} {group} has cases of the patients {person[group]} and {patient}: correct the table, or level"
            )
    return [known[case_id] for case_id, _ in pairs]


def tables_with(source: Source, level: str) -> list[Path]:
    """Tables of the folder that say which cases belong together."""
    return list(_tables(source, _column(source, level)))


def _column(source: Source, level: str) -> str:
    return str(source.options.get("patient", "")) if level == PATIENT else level


def _known(source: Source, cases: pd.DataFrame, column: str) -> dict[str, str]:
    """Values of a column in all tables of the folder, by case id."""
    own = dict(zip(cases["case_id"], cases["own_id"], strict=True)) if "own_id" in cases else {}
    with suppress(UserError):  # a folder of new files has no table of the dataset's layout
        own = {**source.own_ids(), **own}
    known_as: dict[str, set[str]] = defaultdict(set)
    for case_id, image in zip(cases["case_id"], cases["image"], strict=True):
        paths = image_paths(image) if image.startswith("[") else [image]
        path = PurePath(paths[0])
        for name in (str(own.get(case_id, case_id)), path.name.partition(".")[0], path.stem):
            known_as[name].add(case_id)
    ids = {name: min(few) for name, few in known_as.items() if len(few) == 1}  # else it is the name of no case
    ids |= {case_id: case_id for case_id in cases["case_id"]}
    found = dict[str, str]()
    for path, table in _tables(source, column).items():
        found |= values_of(table, column, ids, str(path)) or {}
    return found


def _tables(source: Source, column: str) -> dict[Path, pd.DataFrame]:
    """Tables of the folder that have a column, by their files."""
    listed: list[Path] = []
    with suppress(UserError):
        listed = source.tables()
    beside = sorted(path for path in source.root.iterdir() if path.is_file() and path not in listed)
    found: dict[Path, pd.DataFrame] = {}
    for path in [*listed, *beside] if column else []:
        if path.suffix.lower() in (".csv", ".tsv"):
            with suppress(UserError):  # what cannot be read as a table is none that says so
                table = read_table(path)
                if set(Template(column).fields) <= set(table.columns):
                    table = with_id(table, column)
                if column in table.columns:
                    found[path] = table
    return found
