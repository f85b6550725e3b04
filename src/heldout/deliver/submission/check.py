"""A submission's file, held against what a competition reads: columns, ids, order, numbers, run lengths."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import IO

import numpy as np
import pandas as pd

from heldout.data.rle import COLUMNS, RunLengths
from heldout.deliver.submission.form import AGAIN, as_text, has_class_column
from heldout.errors import UserError
from heldout.files import require_regular


def read_submission(source: IO[str] | str, name: str) -> pd.DataFrame:
    """Read a submission as text, so that an id ``001`` stays ``001`` and an empty mask stays empty.

    Raises:
        UserError: it is missing or no CSV table.
    """
    if isinstance(source, str):
        require_regular(Path(source), "name the CSV file itself")
    try:
        return as_text(source)
    except FileNotFoundError:
        raise UserError(f"submission {name} does not exist: write it with `submit`") from None
    except OSError as error:
        raise UserError(f"submission {name} cannot be read ({error.strerror}): name the CSV file itself") from None
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise UserError(f"submission {name} is not a CSV table ({str(error).strip()}): {AGAIN}") from None


def check(
    table: pd.DataFrame,
    expected: pd.DataFrame | None,
    form: str,
    sizes: Mapping[str, tuple[int, int]] | None = None,
    name: str = "the submission",
    runs: RunLengths = COLUMNS,
    grades: Collection[str] = (),
    separator: str = "",
) -> None:
    """Refuse a table that a competition would not score as meant.

    Args:
        table: The submission.
        expected: A table with its columns, ids and order, such as the sample submission; None where nothing is known.
        form: ``csv`` (probabilities), ``number``, ``rle``, or ``class``.
        sizes: (H, W) of the image behind a row, by the row's id; masks of other rows are only read, not placed.
        name: What messages call the table.
        runs: How run lengths count pixels.
        grades: Texts of the classes, for ``class``.
        separator: Between several of them in a cell; "" where it holds one.

    Raises:
        UserError: naming the row (2 is the first below the header), the column and the remedy.
    """
    if expected is not None and list(table.columns) != list(expected.columns):
        raise UserError(f"{name} has columns {list(table.columns)}, the sample {list(expected.columns)}: {AGAIN}")
    form_of = table if expected is None else expected
    keys = list(form_of.columns[: 2 if has_class_column(form_of) else 1])
    _check_ids(table[keys].astype(str), None if expected is None else expected[keys].astype(str), name)
    ids = table[keys[0]].astype(str)
    for column in [column for column in table.columns if column not in keys]:
        for row, (one, value) in enumerate(zip(ids, table[column], strict=True), start=2):
            if form == "class":
                parts = value.split(separator) if separator else [value]
                strange = next((part for part in parts if part not in grades or parts.count(part) > 1), None)
                problem = "" if strange is None else f"{strange!r} is none of the classes {', '.join(grades)}, once"
            else:
                problem = _problem(value, form, (sizes or {}).get(one), runs)
            if problem:
                raise UserError(f"{name} row {row}, id {one!r}, column {column}: {problem}; {AGAIN}")


def _check_ids(keys: pd.DataFrame, expected: pd.DataFrame | None, name: str) -> None:
    repeated = keys.duplicated()
    if repeated.any():
        row = int(np.flatnonzero(repeated)[0])
        raise UserError(f"{name} row {row + 2} repeats id {keys.iloc[row, 0]!r}: every id may occur once")
    if expected is None or keys.equals(expected.reset_index(drop=True)):
        return
    found, wanted = (list(frame.itertuples(index=False, name=None)) for frame in (keys, expected))
    if missing := sorted(set(wanted) - set(found)):
        raise UserError(f"{name} lacks id {' '.join(missing[0])!r} ({len(missing)} in all): {AGAIN}")
    if unknown := sorted(set(found) - set(wanted)):
        raise UserError(f"{name} has id {' '.join(unknown[0])!r}, which the sample does not ask for: {AGAIN}")
    row = next(number for number, pair in enumerate(zip(found, wanted, strict=True)) if pair[0] != pair[1])
    raise UserError(f"{name} row {row + 2}: the order of the ids differs from the sample's: {AGAIN}")


def _problem(value: object, form: str, size: tuple[int, int] | None, runs: RunLengths) -> str:
    """What is wrong with a value; empty where nothing is."""
    if form in ("csv", "number"):
        text = str(value)
        try:
            number = float(text)
        except ValueError:
            return f"{value!r} is not a number"
        if not text.isascii() or "_" in text:  # Python reads them, a competition does not
            return f"{value!r} is not a number"
        if form == "number":
            return "" if np.isfinite(number) else f"{value} is not finite"
        return "" if np.isfinite(number) and 0 <= number <= 1 else f"probability {value} lies outside 0 ... 1"
    text = str(value)
    if text == "-1":
        return ""
    try:
        if size is None:
            runs.runs(text)
        elif runs.encode(runs.decode(text, size)) != text:
            return f"run-length text {text[:40]!r} could be written with fewer or tidier runs"
    except UserError as error:
        return str(error)
    return ""
