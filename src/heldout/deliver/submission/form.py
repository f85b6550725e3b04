"""The form of a submission: read the sample, match its ids with the cases, arrange the values, check the file."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from heldout.data.rle import COLUMNS, RunLengths
from heldout.data.sources import identifier
from heldout.data.sources.layout import image_paths
from heldout.deliver.submission.grades import groups_of_ids, texts_of_classes
from heldout.errors import UserError
from heldout.files import require_regular

if TYPE_CHECKING:
    from heldout.tasks import Task

AGAIN = "write it again with `submit`"


def read_sample(path: Path) -> pd.DataFrame:
    """Read a sample submission as text, so that an id ``001`` stays ``001``.

    Raises:
        UserError: the file is missing or empty, or repeats a column or a row.
    """
    require_regular(path, "name a CSV file in sample_submission")
    try:
        sample = _as_text(path)
    except FileNotFoundError:
        raise UserError(f"sample {path} does not exist: correct sample_submission, or set it to None") from None
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise UserError(f"sample {path} is not a CSV table ({str(error).strip()}): download it again") from None
    if sample.empty or len(sample.columns) < 2:
        raise UserError(f"sample submission {path} needs an id column, a value column and rows: download it again")
    if twice := [name for place, name in enumerate(sample.columns) if name in sample.columns[:place]]:
        raise UserError(f"sample submission {path} has two columns {twice[0]!r}: keep one of them")
    keys = list(sample.columns[: 2 if has_class_column(sample) else 1])
    repeated = sample[keys].duplicated()
    if repeated.any():
        raise UserError(
            f"sample submission {path} repeats id {sample[keys[0]][repeated].iloc[0]!r}: keep one of its rows, or name "
            f"another file in sample_submission"
        )
    return sample


def _as_text(source: Path | IO[str] | str) -> pd.DataFrame:
    """A CSV table whose names of columns, blank ones too, and values are the text that stands there."""
    table = pd.read_csv(source, header=None, dtype=str, keep_default_na=False, encoding="utf-8-sig").fillna("")
    return table.iloc[1:].set_axis(table.iloc[0].tolist(), axis=1).reset_index(drop=True)


def find_sample(folder: Path, name: str) -> Path:
    """The sample submission of a folder of cases; where it is not there, of one of the two folders above it."""
    places = [folder / name, *(above / name for above in list(folder.resolve().parents)[:2])]
    return next((place for place in places if place.is_file()), places[0])


@dataclass(frozen=True)
class SampleForm:
    """Which case and which class the places of a sample submission are for.

    Attributes:
        names: What the sample calls the case of each row.
        labels: Class of each row; empty where a row holds a value of every class.
        columns: The class of each value column, where a row holds a value of every class.
        grades: What the one value column holds for each class, where it holds the class itself, or a list of them;
            else empty.
        groups: The group of each row's classes, where a row holds a value for each grade of a group: its class is
            ``<group>_<column>``; else empty.
    """

    names: tuple[str, ...]
    labels: tuple[str, ...]
    columns: dict[str, str]
    grades: dict[str, str] = field(default_factory=dict)
    groups: tuple[str, ...] = ()

    @property
    def parts(self) -> tuple[str, ...]:
        """What each row is about beside its case: a class, or a group of classes; empty where it is about all."""
        return self.labels or self.groups

    def class_of(self, group: str, column: str) -> str:
        """Name, without regard to case, of the class of a column in a row of a group."""
        return identifier(f"{group}_{column}").casefold()


def sample_form(sample: pd.DataFrame, classes: tuple[str, ...]) -> SampleForm:
    """Read the layout of a sample submission.

    Beside an id column it has one column per class (of any name where there is one class), or one value column and
    ``<case>_<class>`` as the id, or a class column and a value column. A value column beside ids that name no class
    holds the class itself: its name, or its number where the sample holds numbers. Classes ``<group>_<grade>`` may have
    rows ``<case>_<group>`` with a column per grade.

    A class is recognized by its name with the characters that a class of a source cannot have replaced, so that
    ``CVC - Normal`` means ``CVC_-_Normal``.

    Raises:
        UserError: it has none of these layouts, or names other classes.
    """
    key, *columns = sample.columns
    ids = tuple(sample[key])
    known = {identifier(label).casefold(): label for label in classes}
    found = {column: known[name] for column in columns if (name := identifier(column).casefold()) in known}
    if len(found) == len(columns) == len(classes) == len(set(found.values())):
        return SampleForm(ids, (), found)
    if len(columns) == len(classes) == 1:
        return SampleForm(ids, (), {columns[0]: classes[0]})
    if len(columns) == 1:
        pairs = [_split_suffix(entry, known) for entry in ids]
        if not any(label for _, label in pairs):
            return SampleForm(ids, (), {}, texts_of_classes(sample[columns[0]], classes))
        return SampleForm(tuple(name for name, _ in pairs), tuple(label for _, label in pairs), {})
    if groups := groups_of_ids(ids, columns, known, _split_suffix):
        return SampleForm(tuple(name for name, _ in groups), (), {}, groups=tuple(group for _, group in groups))
    if len(columns) == 2:
        labels = [known.get(identifier(text).casefold(), "") for text in sample[columns[0]]]
        if set(labels) == set(classes):
            return SampleForm(ids, tuple(labels), {})
    names = sorted(set(sample[columns[0]])) if has_class_column(sample) else columns
    raise UserError(
        f"the sample submission's columns {', '.join(columns)} do not fit the classes {', '.join(classes)}: name the "
        f'source\'s classes after them, such as source_options = {{"labels": "{", ".join(names)}"}} for a table'
    )


def _split_suffix(entry: str, known: Mapping[str, str]) -> tuple[str, str]:
    """``a 1_epi`` to case and class; a class that is not known stays part of the name, of no class."""
    for place in (place for place, letter in enumerate(entry) if letter == "_"):
        label = known.get(identifier(entry[place + 1 :]).casefold())
        if label is not None:
            return entry[:place], label
    return entry, ""


def case_names(cases: pd.DataFrame, sample: pd.DataFrame | None, classes: tuple[str, ...]) -> dict[str, str]:
    """Map the names a competition uses for its cases to case ids.

    A sample submission may name a case by its id, by its file, or by its file without the ending. Without one, cases
    have the names of the dataset itself, in the column ``own_id``, where there is one.

    Raises:
        UserError: the sample's ids are not those of the cases.
    """
    if sample is None:
        return dict(zip(cases.get("own_id", cases.case_id), cases.case_id, strict=True))
    form = sample_form(sample, classes)
    ids = set(form.names)
    ways = [names for names in _ways(cases, ids) if len(set(names)) == len(names)]
    best = max(ways, key=lambda names: len(ids.intersection(names)))
    unknown, missing = sorted(ids.difference(best)), sorted(set(best) - ids)
    if unknown:
        raise UserError(
            f"the sample submission asks for id {unknown[0]!r} ({len(unknown)} of {len(ids)} ids have no case): "
            f"add that case to the dataset or correct sample_submission"
        )
    if not missing and form.parts:
        cells = set(zip(form.names, form.parts, strict=True))
        asked = classes if form.labels else sorted(set(form.parts))
        missing = sorted(f"{name}_{part}" for name in ids for part in asked if (name, part) not in cells)
    if missing:
        raise UserError(
            f"the sample submission lacks id {missing[0]!r} ({len(missing)} in all): add its rows, or set "
            "sample_submission = None"
        )
    return dict(zip(best, cases.case_id, strict=True))


def with_own_ids(cases: pd.DataFrame, config: Task) -> pd.DataFrame:
    """The cases, called as the experiment's ``file_id`` says, in the column ``own_id``."""
    own = [config.file_id(image_paths(image)[0]) for image in cases["image"]]
    if not any(own):
        return cases
    held = cases.get("own_id", cases["case_id"])
    return cases.assign(own_id=[other if name is None else name for name, other in zip(own, held, strict=True)])


def asked_for(cases: pd.DataFrame, sample: pd.DataFrame, classes: tuple[str, ...]) -> pd.DataFrame:
    """The cases that a sample submission names; all where it names none, so that :func:`case_names` can say so."""
    ids = set(sample_form(sample, classes).names)
    named = [bool(ids.intersection(names)) for names in zip(*_ways(cases, ids), strict=True)]
    return cases[named].reset_index(drop=True) if any(named) else cases


def with_missing(cases: pd.DataFrame, sample: pd.DataFrame, classes: tuple[str, ...]) -> pd.DataFrame:
    """The cases, and one without a file for every id of a sample submission that names no other; none where all do."""
    ids = set(sample_form(sample, classes).names)
    ways = [names for names in _ways(cases, ids) if len(set(names)) == len(names)]
    missing = sorted(ids.difference(max(ways, key=lambda names: len(ids.intersection(names)))))
    if len(missing) in (0, len(ids)):
        return cases
    absent = pd.DataFrame([dict.fromkeys(cases.columns, name) | {"case_id": identifier(name)} for name in missing])
    return pd.concat([cases, absent], ignore_index=True)


def _names_in_path(path: Path) -> list[str]:
    """Names made of a folder and a file: ``case1_slice_07`` for ``case1/scans/slice_07_266_266.png``."""
    words = path.name.partition(".")[0].split("_")
    stems = ["_".join(words[:count]) for count in range(len(words), 0, -1)]
    return [f"{folder}_{stem}" for folder in reversed(path.parts[:-1]) for stem in stems]


def _ways(cases: pd.DataFrame, ids: Collection[str]) -> list[list[str]]:
    """What a sample may call the cases: ids as it spells them, files, these without ending, or with their folder."""
    paths = [Path(image_paths(text)[0]) for text in cases.image]
    spelled = {identifier(name): name for name in ids}  # a case id is an id without characters that files cannot bear
    return [
        [spelled.get(case, case) for case in cases.case_id],
        list(cases.get("own_id", cases.case_id)),
        [path.name for path in paths],
        [path.name.partition(".")[0] for path in paths],
        [re.sub(r"(\.nii)?\.[A-Za-z]+$", "", path.name) for path in paths],  # a name such as a UID has dots of its own
        [next((name for name in _names_in_path(path) if name in ids), path.name) for path in paths],
    ]


def arrange(
    values: dict[str, dict[str, Any]],
    names: dict[str, str],
    classes: tuple[str, ...],
    sample: pd.DataFrame | None,
    kind: str,
    separator: str = "",
) -> pd.DataFrame:
    """Lay values out in the sample's columns and order, with the sample's ids and class names as they are written.

    Args:
        values: For each case id, its value (probability or run-length text) of every class.
        names: The competition's case names and their case ids.
        classes: Names of the classes.
        sample: Sample submission, see :func:`sample_form`. None: own layout.
        kind: ``csv`` (probabilities) or ``rle``.
        separator: Of the classes in a cell that may hold several: those whose value is 1.

    Raises:
        UserError: the sample has no known layout, or names other classes.
    """
    if sample is None and (kind == "csv" or len(classes) == 1):
        columns = classes if kind == "csv" else ("rle",)
        rows = [[name, *(values[case][label] for label in classes)] for name, case in names.items()]
        key = next(name for name in ("id", "case_id", "case") if name not in columns)
        return pd.DataFrame(rows, columns=[key, *columns])
    if sample is None:
        rows = [[name, label, values[case][label]] for name, case in names.items() for label in classes]
        return pd.DataFrame(rows, columns=["id", "class", "rle"])
    form = sample_form(sample, classes)
    if form.labels:
        last = [values[names[name]][label] for name, label in zip(form.names, form.labels, strict=True)]
        return sample.assign(**{sample.columns[-1]: last})
    if form.groups:
        known = {identifier(label).casefold(): label for label in classes}
        rows = [
            [values[names[name]][known[form.class_of(group, column)]] for column in sample.columns[1:]]
            for name, group in zip(form.names, form.groups, strict=True)
        ]
        shares = [[round(value / max(sum(row), 1e-9), 6) for value in row] for row in rows]  # grades exclude each other
        return sample.assign(**dict(zip(sample.columns[1:], map(list, zip(*shares, strict=True)), strict=True)))
    if form.grades:
        cells = [values[names[name]] for name in form.names]
        best = [
            [label for label in form.grades if cell[label] == 1]
            if separator
            else [max(form.grades, key=cell.__getitem__)]
            for cell in cells
        ]
        texts = [separator.join(form.grades[label] for label in chosen) for chosen in best]
        return sample.assign(**{sample.columns[-1]: texts})
    filled = {column: [values[names[name]][label] for name in form.names] for column, label in form.columns.items()}
    return sample.assign(**filled)


def empty_text(sample: pd.DataFrame | None) -> str:
    """How the competition writes an empty mask: ``-1`` where its sample holds nothing else, or empty text."""
    return "-1" if sample is not None and set(sample.iloc[:, -1]) == {"-1"} else ""


def has_class_column(sample: pd.DataFrame) -> bool:
    """Whether each row of the sample is one case and class: id, class, value."""
    if len(sample.columns) != 3:
        return False
    return (
        bool(sample.iloc[:, 0].duplicated().any())
        or not sample.iloc[:, 1].astype(str).str.fullmatch(r"[\d .eE+-]*").any()
    )


def read_submission(source: IO[str] | str, name: str) -> pd.DataFrame:
    """Read a submission as text, so that an id ``001`` stays ``001`` and an empty mask stays empty.

    Raises:
        UserError: it is missing or no CSV table.
    """
    if isinstance(source, str):
        require_regular(Path(source), "name the CSV file itself")
    try:
        return _as_text(source)
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
