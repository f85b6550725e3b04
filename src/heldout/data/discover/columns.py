"""What the columns of a table hold: patients, labels of many forms, run lengths, boxes, measurements."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from heldout.data.discover.box_cells import CellsOfBoxes, box_cells
from heldout.data.sources.layout import identifier, label_value
from heldout.data.sources.table.boxes import NOTHING as NO_BOX
from heldout.data.sources.table.labels import BLANK, LISTED, UNCERTAIN, is_binary, names_in

if TYPE_CHECKING:
    import pandas as pd

_PERSON = re.compile(r"patient|subject|participant|person|^pid$", re.IGNORECASE)
PATIENT = re.compile(r"patient|subject|participant|person|case.?id|lesion.?id|^pid$", re.IGNORECASE)
_STUDY = re.compile(r"(study|exam|accession|visit)([ _]?(id|uid|name|number|instance.?uid))?", re.IGNORECASE)
_IDENTIFIES = re.compile(rf"({_STUDY.pattern}|(series|sop)[ _]?(id|uid|instance.?uid))", re.IGNORECASE)
_PARTS = {"train", "training", "val", "valid", "validate", "validation", "dev", "test", "testing", "holdout"}
_OF_A_PERSON = re.compile(r"age|birth|sex|gender|weight|height|size|position|orientation|race|ethnic", re.IGNORECASE)
_ABOUT = re.compile(
    r"(^|[^a-z])(age|sex|gender|male|female|view|width|height|organ|site|fold|weight|spacing|manufacturer|modality|"
    r"laterality|frontal|ap/pa|follow|pixel|source|provider|scanner|date|thickness|version|url|license|rad|rad_id|"
    r"attribution|hospital|center|device|position|time|plate|unnamed|x|y|z|id|uid)($|[^a-z])|frontal/lateral",
    re.IGNORECASE,
)
_LABEL = re.compile(
    r"^(y|dx|target|labels?|class(es|_?name)?|diagnos(is|tics?)|grade|level|category|findings?.*|.*_grade|isup.*)$",
    re.IGNORECASE,
)
NOTHING = re.compile(
    r"^(no[ _-]?(finding|tumou?r|disease|dr)s?|normal|healthy|none|negative|benign|no|nofinding|controls?|hc)$",
    re.IGNORECASE,
)
_BOXES = (
    (("x", "y", "width", "height"), False),
    (("x", "y", "w", "h"), False),
    (("left", "top", "width", "height"), False),
    (("x_min", "y_min", "x_max", "y_max"), True),
    (("xmin", "ymin", "xmax", "ymax"), True),
    (("x1", "y1", "x2", "y2"), True),
    (("bbox_x", "bbox_y", "bbox_w", "bbox_h"), False),
)
_POINTS = (("coordx", "coordy", "coordz"), ("x", "y", "z"), ("x_mm", "y_mm", "z_mm"), ("world_x", "world_y", "world_z"))
_PLACE = re.compile(r"coord", re.IGNORECASE)  # where something is, which is no class
_RUNS = re.compile(r"-1|\d+ +\d+( +\d+)*")
_MOST_NAMES, _MOST_GRADES = 50, 12


@dataclass(frozen=True)
class Reading:
    """A way to read labels from a table.

    Attributes:
        kind: ``classification``, ``segmentation`` or ``regression``.
        text: What it reads, with counts.
        options: Of the source ``table``.
        columns: What it reads.
        rank: The lower, the likelier.
    """

    kind: str
    text: str
    options: dict[str, Any]
    columns: tuple[str, ...]
    rank: int = 9
    fields: dict[str, Any] = field(default_factory=dict)


def filled(values: pd.Series) -> list[str]:
    """Values of a column that are not blank."""
    return [text for value in values if (text := value.strip()).casefold() not in BLANK]


def about_patients(frame: pd.DataFrame) -> list[str]:
    """Columns that name patients, lesions or cases by their heading, and are no label such as ``patient_overall``."""
    named = [name for name in frame.columns if PATIENT.search(name) and not _OF_A_PERSON.search(name)]
    return [name for name in named if not _is_binary(frame[name])]


def names_parts(values: pd.Series) -> bool:
    """Whether a column says which part of the dataset a row is of."""
    found = {text.casefold() for text in filled(values)}
    return len(found) > 1 and found <= _PARTS


def study_column(frame: pd.DataFrame, ids: str) -> str:
    """The column that names studies of several images, or ""."""
    named = [name for name in frame.columns if name != ids and _STUDY.fullmatch(name)]
    several = (name for name in named if len(filled(frame[name])) == len(frame) > frame[name].nunique() > 1)
    return min(several, key=lambda name: frame[name].nunique(), default="")


def patient_column(frame: pd.DataFrame, used: Sequence[str]) -> str:
    """The column that names patients, before one of lesions or cases, or ""."""
    names = [name for name in about_patients(frame) if name not in used]
    full = [name for name in names if len(filled(frame[name])) == len(frame)]
    return max(full, key=lambda name: (bool(_PERSON.search(name)), frame[name].nunique()), default="")


def is_runs(values: pd.Series) -> bool:
    """Whether a column holds run lengths."""
    texts = filled(values)
    long = sum(len(text.split()) > 2 for text in texts)
    return bool(texts) and all(_RUNS.fullmatch(text) for text in texts[:500]) and long > 0


def readings(frame: pd.DataFrame, ids: str, used: Sequence[str], wanted: Sequence[str]) -> list[Reading]:
    """Ways to read labels from a table, the likeliest first.

    Args:
        frame: The table.
        ids: Its column of ids.
        used: Columns that are not labels: patient, paths.
        wanted: Columns of the sample submission.
    """
    free = [name for name in frame.columns if name not in {ids, *used} and not _IDENTIFIES.fullmatch(name)]
    free = [name for name in free if not names_parts(frame[name])]
    cells = box_cells(frame, free)
    free = [name for name in free if name not in {cell.column for cell in cells}]
    runs = _run_lengths(frame, free, ids)
    found = [*runs, *(_boxes(frame, free) or _points(frame, free) or _in_cells(frame, free, cells))]
    if found and frame[ids].duplicated().any():
        return sorted(found, key=lambda reading: reading.rank)
    placed = {name for reading in found for name in reading.columns}
    free = [name for name in free if not _PLACE.search(name) and name not in placed]
    found += [reading for name in free if (reading := _names(frame, name))]
    binary = [name for name in free if _is_binary(frame[name])]
    plain = [name for name in binary if not _ABOUT.search(name)] or binary
    submitted = {name.casefold() for name in wanted}
    sent = [name for name in binary if name.casefold() in submitted]
    if len(plain) > 1:
        found.append(_several(frame, plain))
    if 1 < len(sent) == len(submitted) and sent != plain:
        found.append(_several(frame, sent))
    found += _graded(frame, free, wanted)
    found += [_binary(frame, name) for name in binary]
    found += [_numbers(frame, name) for name in free if _is_number(frame[name])]
    asked = {name.casefold() for name in wanted}

    def rank(reading: Reading) -> tuple[int, int]:
        read = {name.casefold() for name in reading.columns}
        submitted = bool(asked) and read >= asked
        return (
            -1 if submitted and read == asked else 0 if submitted else 2 if only_about(reading) else 1,
            reading.rank,
        )

    return sorted(found, key=rank)


def only_about(reading: Reading) -> bool:
    """Whether a reading is of columns such as age and sex, which describe a case and are seldom what is asked for."""
    return all(_ABOUT.search(name) and not _LABEL.match(name) for name in reading.columns)


def clear(found: Sequence[Reading], wanted: Sequence[str]) -> bool:
    """Whether the first reading is the only sensible one."""
    asked, first = {name.casefold() for name in wanted}, found[0]
    same = [one for one in found[1:] if one.columns == first.columns and one.kind != first.kind]  # boxes as what else
    rest = [one for one in found[1:] if one not in same]
    if asked and {name.casefold() for name in first.columns} >= asked:
        exact = {name.casefold() for name in first.columns} == asked
        others = [one for one in rest if {name.casefold() for name in one.columns} >= asked]
        others = [one for one in others if not exact or len(one.columns) == len(asked)]
    else:
        others = [one for one in rest if not all(_ABOUT.search(name) for name in one.columns)]
        if all(map(_LABEL.match, first.columns)):
            others = [one for one in others if all(map(_LABEL.match, one.columns))]
        if first.kind == "classification" and len(first.columns) > 1:
            others = [one for one in others if not set(one.columns) <= set(first.columns)]
    others += same if "submission" not in first.fields else []
    return not others


def _run_lengths(frame: pd.DataFrame, free: list[str], ids: str) -> list[Reading]:
    found = []
    for name in free:
        if not is_runs(frame[name]):
            continue
        rows, cases = len(frame), frame[ids].nunique()
        options: dict[str, Any] = {"mask": name}
        text = f"run-length masks in {name} ({len(filled(frame[name])):,} of {rows:,} rows)"
        others = [other for other in free if other != name and not _ABOUT.search(other)]
        kinds = [
            other for other in others if 1 < frame[other].nunique() <= _MOST_NAMES and not _is_number(frame[other])
        ]
        changing = [other for other in kinds if rows > cases and frame.groupby(ids)[other].nunique().max() > 1]
        if changing:
            options["class"] = changing[0]
            text += f", one row per class of {changing[0]}: {', '.join(sorted(set(filled(frame[changing[0]]))))}"
        elif rows > cases:
            text += f", several rows per image are united: {cases:,} images"
        found.append(Reading("segmentation", text, options, (name,), 0))
    return found


def _boxes(frame: pd.DataFrame, free: list[str]) -> list[Reading]:
    lower = {name.casefold(): name for name in free}
    for names, corners in _BOXES:
        if not all(name in lower for name in names):
            continue
        columns = [lower[name] for name in names]
        if not all(_is_number(frame[name], 1) for name in columns):
            continue
        options: dict[str, Any] = {"box": ", ".join(columns)} | ({"corners": True} if corners else {})
        blank = {row for row, text in enumerate(frame[columns[0]]) if text.strip().casefold() in BLANK}
        text = f"boxes in {', '.join(columns)} ({len(frame) - len(blank):,} of {len(frame):,} rows)"
        return _of_boxes(frame, [name for name in free if name not in columns], text, options, tuple(columns), blank)
    return []


def _in_cells(frame: pd.DataFrame, free: Sequence[str], cells: Sequence[CellsOfBoxes]) -> list[Reading]:
    """Boxes of the column that says the most of them."""
    for cell in cells[:1]:
        blank = {row for row, text in enumerate(frame[cell.column]) if text.strip().casefold() in NO_BOX}
        names = () if cell.classes else free
        return _of_boxes(frame, names, cell.text, dict(cell.options), (cell.column,), blank)
    return []


def _of_boxes(
    frame: pd.DataFrame,
    free: Sequence[str],
    text: str,
    options: dict[str, Any],
    columns: tuple[str, ...],
    blank: set[int],
) -> list[Reading]:
    """Boxes as masks and as presence, with the column of their classes where there is one; some rows have none."""
    rest = [name for name in free if not _ABOUT.search(name) and not _is_number(frame[name], 1)]
    kinds = sorted(
        (name for name in rest if 1 < len(set(filled(frame[name]))) <= min(_MOST_NAMES, len(frame) // 2)),
        key=lambda name: not _LABEL.match(name),
    )
    if kinds:
        values = frame[kinds[0]].str.strip()
        boxed = {value for row, value in enumerate(values) if row not in blank}
        if nothing := sorted({values.iloc[row] for row in blank} - boxed):
            options["nothing"] = "|".join(nothing)
        options["class"] = kinds[0]
        text += f" of {len(boxed)} classes in {kinds[0]}"
    return [
        Reading("segmentation", f"{text}, filled as masks", options, columns, 1),
        Reading("classification", f"{text}, as presence per image", options, columns, 2),
    ]


def _points(frame: pd.DataFrame, free: list[str]) -> list[Reading]:
    """Points of volumes; a column of 0 and 1 beside them says that some are of nothing, and they are not taken."""
    lower = {name.casefold(): name for name in free}
    for names in _POINTS:
        columns = [lower[name] for name in names if name in lower]
        rest = [name for name in free if name not in columns and not _ABOUT.search(name)]
        if len(columns) < len(names) or not all(_is_number(frame[name], 1) for name in columns):
            continue
        if any(set(filled(frame[name])) == {"0", "1"} for name in rest):
            continue
        options = {"point": ", ".join(columns)}
        text = f"points in {', '.join(columns)} ({len(frame):,} rows)"
        return [
            Reading("segmentation", f"{text}, balls as masks", options, tuple(columns), 1),
            Reading("classification", f"{text}, as presence per volume", options, tuple(columns), 2),
        ]
    return []


def _names(frame: pd.DataFrame, name: str) -> Reading | None:
    """Class names, grades or lists of names in one column."""
    texts = filled(frame[name])
    counts = Counter(texts)
    if len(counts) < 2 or _is_binary(frame[name]):
        return None
    separator = _separator(counts)
    parts = Counter(part for text in texts for part in names_in(text, separator))
    if not 2 <= len(parts) <= _MOST_NAMES or max(parts.values()) < 2 or len(texts) < 2 * len(parts):
        return None
    options: dict[str, Any] = {"labels": name} | ({"separator": separator} if separator else {})
    nothing = [part for part in parts if NOTHING.match(part)]
    if len(nothing) == 1 and (separator or len(parts) == 2):
        options["nothing"] = nothing[0]
    shown = ", ".join(f"{part} {count:,}" for part, count in sorted(parts.items())[:8]) + (
        ", ..." if len(parts) > 8 else ""
    )
    what = f"lists of {len(parts)} classes, separated by {separator!r}," if separator else f"{len(parts)} classes"
    return Reading("classification", f"{what} in {name}: {shown}", options, (name,), 2 if _LABEL.match(name) else 5)


def _graded(frame: pd.DataFrame, free: Sequence[str], wanted: Sequence[str]) -> list[Reading]:
    """Columns with the same few grades, each of something else: a competition's columns are then the grades."""
    alike: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for name in free:
        names = sorted(set(filled(frame[name])))
        if 2 <= len(names) <= _MOST_GRADES and not _is_binary(frame[name]) and not _is_number(frame[name], 1):
            alike[tuple(names)].append(name)
    asked, found = {identifier(name).casefold() for name in wanted}, []
    for grades, names in alike.items():
        if len(names) > 1:
            options = {"labels": ", ".join(names), "graded": True}
            text = f"{len(names)} columns of the grades {', '.join(grades)}: {', '.join(names[:4])}"
            sent = asked == {identifier(grade).casefold() for grade in grades}
            text += ", ..." if len(names) > 4 else ""
            columns = tuple(wanted) if sent else tuple(names)
            found.append(Reading("classification", text, options, columns, 2))
    return found


def _separator(counts: Counter[str]) -> str:
    """What separates names in the cells of a column, or ""."""
    if all(text.startswith("[") and text.endswith("]") for text in counts):
        return LISTED
    for separator in ("|", ";", ",", " "):
        lists = [text for text in counts if separator in text]
        alone = {text for text in counts if separator not in text}
        pieces = {piece.strip() for text in lists for piece in text.split(separator)}
        if lists and pieces and len(pieces) < len(counts) + 1 and len(pieces & alone) >= (len(pieces) + 1) // 2:
            return separator
        if separator == "|" and lists and len(pieces) <= _MOST_NAMES:
            return separator
    return ""


def _several(frame: pd.DataFrame, names: list[str]) -> Reading:
    sums = frame[names].apply(lambda column: column.map(label_value)).sum(axis=1)
    uncertain = any(text in UNCERTAIN for name in names for text in filled(frame[name]))
    exclusive = bool((sums == 1).all()) and not uncertain
    counts = ", ".join(f"{name} {_positives(frame[name]):,}" for name in names[:8]) + (
        ", ..." if len(names) > 8 else ""
    )
    what = "one of them in each row" if exclusive else "none or several in a row"
    options: dict[str, Any] = {"labels": ", ".join(names)} | ({"exclusive": True} if exclusive else {})
    return Reading("classification", f"{len(names)} columns of 0 and 1, {what}: {counts}", options, tuple(names), 3)


def _binary(frame: pd.DataFrame, name: str) -> Reading:
    text = f"0 and 1 in {name} ({_positives(frame[name]):,} of {len(frame):,} positive)"
    return Reading("classification", text, {"labels": name}, (name,), 4 if _LABEL.match(name) else 6)


def _numbers(frame: pd.DataFrame, name: str) -> Reading:
    numbers = [float(text) for text in filled(frame[name])]
    text = f"numbers in {name} ({min(numbers):g} ... {max(numbers):g})"
    return Reading("regression", text, {"targets": name}, (name,), 8)


def _positives(values: pd.Series) -> int:
    return sum(label_value(text) == 1 for text in filled(values))


def _is_binary(values: pd.Series) -> bool:
    return is_binary(set(filled(values)) - UNCERTAIN)


def _is_number(values: pd.Series, least: int = _MOST_NAMES) -> bool:
    found = set(filled(values))
    if len(found) < min(least, max(len(values) // 3, 1)):
        return False
    try:
        return all(float(text) == float(text) for text in found)
    except ValueError:
        return False
