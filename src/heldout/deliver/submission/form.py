"""The form of a submission: read the sample, match its ids with the cases, arrange the values, check the file."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
import pandas as pd

from heldout.data.sources import identifier
from heldout.deliver.submission import rle
from heldout.errors import UserError

AGAIN = "write it again with `submit`"


def read_sample(path: Path) -> pd.DataFrame:
    """Read a sample submission as text, so that an id ``001`` stays ``001``.

    Raises:
        UserError: the file is missing, empty or repeats a row.
    """
    try:
        sample = pd.read_csv(path, dtype=str, keep_default_na=False)
    except FileNotFoundError:
        raise UserError(
            f"sample submission {path} does not exist: correct sample_submission, or set it to None"
        ) from None
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise UserError(
            f"sample submission {path} is not a CSV table ({str(error).strip()}): download it again"
        ) from None
    if sample.empty or len(sample.columns) < 2:
        raise UserError(f"sample submission {path} needs an id column, a value column and rows: download it again")
    keys = list(sample.columns[: 2 if has_class_column(sample) else 1])
    repeated = sample[keys].duplicated()
    if repeated.any():
        raise UserError(f"sample submission {path} repeats id {sample[keys[0]][repeated].iloc[0]!r}: download it again")
    return sample


def case_names(cases: pd.DataFrame, sample: pd.DataFrame | None, classes: tuple[str, ...]) -> dict[str, str]:
    """Map the names a competition uses for its cases to case ids.

    A sample submission may name a case by its id, by its file, or by its file without the ending, and may append
    ``_<class>``.

    Raises:
        UserError: the sample's ids are not those of the cases.
    """
    if sample is None:
        return dict(zip(cases.case_id, cases.case_id, strict=True))
    ids = set(sample.iloc[:, 0])
    paths = [Path(image_paths(text)[0]) for text in cases.image]
    spelled = {identifier(name): name for name in ids}  # a case id is an id without characters that files cannot bear
    ways = [
        [spelled.get(case, case) for case in cases.case_id],
        [path.name for path in paths],
        [path.name.partition(".")[0] for path in paths],
    ]
    ways = [names for names in ways if len(set(names)) == len(names)]
    expected = [ids_of(names, sample, classes) for names in ways]
    best = max(range(len(ways)), key=lambda way: len(ids & expected[way]))
    unknown, missing = sorted(ids - expected[best]), sorted(expected[best] - ids)
    if unknown:
        raise UserError(
            f"the sample submission asks for id {unknown[0]!r} ({len(unknown)} of {len(ids)} ids have no case): "
            f"add that case to the dataset or correct sample_submission"
        )
    if missing:
        raise UserError(
            f"the sample submission lacks id {missing[0]!r} ({len(missing)} in all): add its rows, or set "
            "sample_submission = None"
        )
    return dict(zip(ways[best], cases.case_id, strict=True))


def asked_for(cases: pd.DataFrame, sample: pd.DataFrame, classes: tuple[str, ...]) -> pd.DataFrame:
    """The cases that a sample submission names; all where it names none, so that :func:`case_names` can say so."""
    ids = set(sample.iloc[:, 0])
    paths = [Path(image_paths(text)[0]) for text in cases.image]
    ways = zip(cases.case_id, (p.name for p in paths), (p.name.partition(".")[0] for p in paths), strict=True)
    named = [bool(ids & ids_of(names, sample, classes)) for names in ways]
    return cases[named].reset_index(drop=True) if any(named) else cases


def ids_of(names: Iterable[str], sample: pd.DataFrame, classes: tuple[str, ...]) -> set[str]:
    """Entries that the sample's first column should hold for these case names."""
    if _has_class_suffix(sample, classes):
        return {f"{name}_{label}" for name in names for label in classes}
    return set(names)


def arrange(
    values: dict[str, dict[str, Any]],
    names: dict[str, str],
    classes: tuple[str, ...],
    sample: pd.DataFrame | None,
    kind: str,
) -> pd.DataFrame:
    """Lay values out in the sample's columns and order.

    Args:
        values: For each case id, its value (probability or run-length text) of every class.
        names: The competition's case names and their case ids.
        classes: Names of the classes.
        sample: Sample submission: an id column and either one column per class, or one value column with a row per
            case and class (``<case>_<class>`` as id, or a class column in between). None: own layout.
        kind: ``csv`` (probabilities) or ``rle``.

    Raises:
        UserError: the sample's columns fit none of these layouts, or it names an unknown class.
    """
    if sample is None and (kind == "csv" or len(classes) == 1):
        columns = classes if kind == "csv" else ("rle",)
        rows = [[name, *(values[case][label] for label in classes)] for name, case in names.items()]
        return pd.DataFrame(rows, columns=["id", *columns])
    if sample is None:
        rows = [[name, label, values[case][label]] for name, case in names.items() for label in classes]
        return pd.DataFrame(rows, columns=["id", "class", "rle"])

    key, *columns = sample.columns
    if set(columns) == set(classes) or (len(columns) == 1 and len(classes) == 1):
        order = columns if set(columns) == set(classes) else classes
        rows = [[name, *(values[names[name]][label] for label in order)] for name in sample[key]]
    elif _has_class_suffix(sample, classes):
        keys = {f"{name}_{label}": values[case][label] for name, case in names.items() for label in classes}
        rows = [[entry, keys[entry]] for entry in sample[key]]
    elif has_class_column(sample) and set(sample[columns[0]]) == set(classes):
        pairs = zip(sample[key], sample[columns[0]], strict=True)
        rows = [[name, label, values[names[name]][label]] for name, label in pairs]
    else:
        raise UserError(
            f"the sample submission's columns {', '.join(columns)} do not fit the classes {', '.join(classes)}: "
            f"name the source's classes after them"
        )
    return pd.DataFrame(rows, columns=list(sample.columns))


def image_paths(text: str) -> list[str]:
    """Paths of a case's images, from the ``image`` column of the case table."""
    return json.loads(text) if text.startswith("[") else [text]


def empty_text(sample: pd.DataFrame | None) -> str:
    """How the competition writes an empty mask: ``-1`` where its sample holds nothing else, or empty text."""
    return "-1" if sample is not None and set(sample.iloc[:, -1]) == {"-1"} else ""


def has_class_column(sample: pd.DataFrame) -> bool:
    """Whether each row of the sample is one case and class: id, class, value."""
    return len(sample.columns) == 3 and sample.iloc[:, 0].duplicated().any()


def _has_class_suffix(sample: pd.DataFrame, classes: tuple[str, ...]) -> bool:
    return len(sample.columns) == 2 and len(classes) > 1


def read_submission(source: IO[str] | str, name: str) -> pd.DataFrame:
    """Read a submission as text, so that an id ``001`` stays ``001`` and an empty mask stays empty.

    Raises:
        UserError: it is missing or no CSV table.
    """
    try:
        return pd.read_csv(source, dtype=str, keep_default_na=False)
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
) -> None:
    """Refuse a table that a competition would not score as meant.

    Args:
        table: The submission.
        expected: A table with its columns, ids and order, such as the sample submission; None where nothing is known.
        form: ``csv`` (probabilities) or ``rle``.
        sizes: (H, W) of the image behind a row, by the row's id; masks of other rows are only read, not placed.
        name: What messages call the table.

    Raises:
        UserError: naming the row (2 is the first below the header), the column and the remedy.
    """
    if expected is not None and list(table.columns) != list(expected.columns):
        raise UserError(f"{name} has columns {list(table.columns)}, the sample {list(expected.columns)}: {AGAIN}")
    keys = [column for column in table.columns[:2] if column in ("id", "class")] or [table.columns[0]]
    if expected is not None:
        keys = list(expected.columns[: 2 if has_class_column(expected) else 1])
    _check_ids(table[keys].astype(str), None if expected is None else expected[keys].astype(str), name)
    ids = table[keys[0]].astype(str)
    for column in [column for column in table.columns if column not in keys]:
        for row, (one, value) in enumerate(zip(ids, table[column], strict=True), start=2):
            problem = _problem(value, form, (sizes or {}).get(one))
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


def _problem(value: object, form: str, size: tuple[int, int] | None) -> str:
    """What is wrong with a value; empty where nothing is."""
    if form == "csv":
        text = str(value)
        try:
            number = float(text)
        except ValueError:
            return f"{value!r} is not a number"
        if not text.isascii() or "_" in text:  # Python reads them, a competition does not
            return f"{value!r} is not a number"
        return "" if np.isfinite(number) and 0 <= number <= 1 else f"probability {value} lies outside 0 ... 1"
    text = str(value)
    if text == "-1":
        return ""
    try:
        if size is None:
            rle.runs(text)
        elif rle.encode(rle.decode(text, size)) != text:
            return f"run-length text {text[:40]!r} could be written with fewer or tidier runs"
    except UserError as error:
        return str(error)
    return ""
