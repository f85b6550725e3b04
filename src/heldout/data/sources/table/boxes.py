"""Cells that hold all boxes of a row as text, made a row per box: lists, dictionaries, plain numbers."""

from __future__ import annotations

import ast
import re
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from heldout.data.sources.table.labels import BLANK
from heldout.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

Box = tuple[str, tuple[float, float, float, float]]
SIDES = ("box left", "box top", "box right or width", "box bottom or height")  # the columns that a cell becomes
FORMS = {"": "", "class": "class ", "score": "score ", "class score": "class score "}  # what precedes four numbers
NOTHING = BLANK | {"none", "[]", "{}"}
_SIZES = tuple(
    names.split()
    for names in (
        "x y width height",
        "x y w h",
        "left top width height",
        "xmin ymin width height",
        "x_min y_min width height",
    )
)
_CORNERS = tuple(
    names.split()
    for names in ("xmin ymin xmax ymax", "x_min y_min x_max y_max", "x1 y1 x2 y2", "left top right bottom")
)
_CLASS = ("class", "class_name", "label", "category", "name")


def boxes_of(text: str, form: str, corners: bool) -> list[Box]:
    """Class, "" where none is named, and four numbers of each box in a cell.

    Args:
        text: A list of dictionaries such as ``{'x': 1, 'y': 2, 'width': 3, 'height': 4}``, one of them, lists of four
            numbers, or plain numbers that blanks, commas or semicolons separate.
        form: What precedes the four numbers in plain text, see :data:`FORMS`.
        corners: Whether the numbers are the left, top, right and bottom, or the left, top, width and height;
            dictionaries say so themselves, and theirs become what is asked for.

    Raises:
        ValueError: the text is something else.

    Example:
        >>> boxes_of("[{'x': 1, 'y': 2, 'width': 3, 'height': 4}]", "", corners=False)
        [('', (1.0, 2.0, 3.0, 4.0))]
        >>> boxes_of("opacity 1 5 6 7 8", "class score", corners=True)
        [('opacity', (5.0, 6.0, 7.0, 8.0))]
    """
    text = text.strip()
    if text.casefold() in NOTHING:
        return []
    if text.startswith(("[", "{")):
        return [_box(entry, corners) for entry in _entries(_parsed(text))]
    parts = [part for part in re.split(r"[\s,;]+", text) if part]
    before = len(form.split())
    if len(parts) % (before + 4):
        raise ValueError(f"{len(parts)} words are not boxes of {before + 4}")
    groups = [parts[start : start + before + 4] for start in range(0, len(parts), before + 4)]
    return [(group[0] if form.startswith("class") else "", _four(group[before:])) for group in groups]


def is_spelled(text: str) -> bool:
    """Whether a cell holds dictionaries, which name the sides of their boxes.

    Example:
        >>> is_spelled("[{'x': 1, 'y': 2, 'w': 3, 'h': 4}]"), is_spelled("[1, 2, 3, 4]")
        (True, False)
    """
    return "{" in text


def a_row_per_box(
    frame: pd.DataFrame, column: str, options: Mapping[str, Any], nothing: Collection[str], path: Path
) -> pd.DataFrame:
    """The table with a row for every box of a column's cells, or one for a cell without any.

    Args:
        frame: The table as text.
        column: The column of the boxes; :data:`SIDES` and, where boxes name it, the column ``class`` are new.
        options: Of the source: ``id``, ``class``, ``corners`` and ``box_form``.
        nothing: Classes of boxes that are none, as in ``none 1 0 0 1 1``.
        path: The table's file, for messages.

    Raises:
        UserError: a cell holds something else.
    """
    found = []
    for case, text in zip(frame[options["id"]], frame[column], strict=True):
        try:
            boxes = boxes_of(text, options["box_form"], options["corners"])
        except ValueError:
            before, sides = FORMS[options["box_form"]], "left top right bottom" if options["corners"] else "x y w h"
            raise UserError(
                f"{path}, case {case.strip()} has {column} = {text.strip()[:60]!r}: write a list of boxes as JSON, or "
                f"'{before}{sides}' for each, as source_options box_form and corners say"
            ) from None
        found.append([box for box in boxes if box[0] not in nothing])
    places = np.repeat(np.arange(len(frame)), [max(1, len(boxes)) for boxes in found])
    empty = [("", ("", "", "", ""))]
    rows = [box for boxes in found for box in [(name, tuple(map(repr, four))) for name, four in boxes] or empty]
    named = any(name for name, _ in rows)
    cells = {side: [four[place] for _, four in rows] for place, side in enumerate(SIDES)}
    return (
        frame.iloc[places]
        .reset_index(drop=True)
        .assign(**cells, **({options["class"]: [name for name, _ in rows]} if named else {}))
    )


def _parsed(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (SyntaxError, TypeError, RecursionError, MemoryError):
        raise ValueError(f"{text[:40]!r} is no list") from None


def _entries(value: Any) -> Iterable[Any]:
    """The boxes of a list of boxes, or the one that it is."""
    if isinstance(value, dict):
        return [value]
    return [value] if value and not isinstance(value[0], list | tuple | dict) else value


def _box(entry: Any, corners: bool) -> Box:
    if not isinstance(entry, dict):
        return "", _four(entry)
    own = {str(key).strip().casefold(): value for key, value in entry.items()}
    for names, as_corners in [*((names, False) for names in _SIZES), *((names, True) for names in _CORNERS)]:
        if all(name in own for name in names):
            left, top, third, fourth = _four([own[name] for name in names])
            if as_corners and not corners:
                third, fourth = third - left, fourth - top
            elif corners and not as_corners:
                third, fourth = left + third, top + fourth
            return next((str(own[name]).strip() for name in _CLASS if name in own), ""), (left, top, third, fourth)
    raise ValueError(f"{', '.join(own)} are not the sides of a box")


def _four(numbers: Iterable[Any]) -> tuple[float, float, float, float]:
    left, top, third, fourth = (float(number) for number in numbers)
    if not np.isfinite([left, top, third, fourth]).all():
        raise ValueError("a box has a number that is not finite")
    return left, top, third, fourth
