"""Detections in a submission: a row for each, or one text per case."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from heldout.deliver.submission.form import AGAIN
from heldout.errors import UserError
from heldout.tasks.finder import AXES, CASE, COUNT, SIZES

if TYPE_CHECKING:
    from heldout.tasks.detect import Detect


def values_of(row: np.ndarray, classes: tuple[str, ...]) -> dict[str, Any]:
    """What ``detection_text`` and ``detection_columns`` may name of a detection.

    Args:
        row: Of :func:`heldout.predict.peaks.find_detections`.
        classes: The competition's names of the classes.
    """
    low, high = np.split(row[3:], 2)
    found: dict[str, Any] = {
        "class": classes[int(row[0])],
        "class_id": int(row[0]),
        "score": round(float(row[1]), 6),
    }
    for axis, size, first, last in zip(AXES[len(low)], SIZES[len(low)], low, high, strict=True):
        found |= {axis: first, f"{axis}1": first, f"{axis}2": last, f"c{axis}": (first + last) / 2, size: last - first}
    return {name: round(value, 4) if isinstance(value, float) else value for name, value in found.items()}


def objects_of(rows: np.ndarray, classes: tuple[str, ...], *, boxes: bool) -> list[dict[str, Any]]:
    """Detections as :func:`row_table` writes them: class, score, coordinates, and the sizes of boxes.

    Args:
        rows: Of :func:`heldout.predict.peaks.find_detections`.
        classes: Names of the classes.
        boxes: Detections have a size.
    """
    dimensions = (rows.shape[1] - 3) // 2
    fields = ["class", *(field for field in _usual(1, dimensions, boxes) if field != "id")]
    return [{field: values[field] for field in fields} for values in (values_of(row, classes) for row in rows)]


def detection_table(
    config: Detect,
    results: Iterable[tuple[str, np.ndarray | None]],
    classes: tuple[str, ...],
    sample: pd.DataFrame | None,
) -> pd.DataFrame:
    """The submission's table.

    Args:
        config: The experiment.
        results: The competition's name of every case, and its detections.
        classes: The competition's names of the classes.
        sample: Sample submission of one text per case; None has none.
    """
    found = {name: np.empty((0, 0)) if rows is None else rows for name, rows in results}
    if config.detection_text is None:
        boxes = config.objects == "boxes"
        return row_table(found, classes, config.dimensions, boxes=boxes, columns=config.detection_columns)
    write = config.detection_text.format
    texts = {
        name: " ".join(write(**values_of(row, classes)) for row in rows) or config.no_detection
        for name, rows in found.items()
    }
    if sample is None:
        return pd.DataFrame({"id": list(texts), "detections": list(texts.values())})
    return sample.assign(**{sample.columns[-1]: [texts[name] for name in sample.iloc[:, 0]]})


def row_table(
    found: Mapping[str, np.ndarray],
    classes: tuple[str, ...],
    dimensions: int,
    *,
    boxes: bool,
    columns: Mapping[str, str] = MappingProxyType({}),
) -> pd.DataFrame:
    """A table with a row for each detection.

    Args:
        found: Detections by the name of the case.
        classes: Names of the classes.
        dimensions: 2 or 3.
        boxes: Detections have a size.
        columns: What the columns hold; none takes ``id``, of several classes ``class``, ``score``, the coordinates, and
            the sizes of boxes.
    """
    columns = columns or _usual(len(classes), dimensions, boxes)
    given = [{CASE: name, **values_of(row, classes)} for name, rows in found.items() for row in rows]
    table = [[{**values, COUNT: n}[field] for field in columns.values()] for n, values in enumerate(given)]
    return pd.DataFrame(table, columns=list(columns))


def check_table(config: Detect, table: pd.DataFrame, cases: Iterable[str], name: str) -> None:
    """Refuse a table whose rows are of other cases, or whose numbers are none.

    Raises:
        UserError: naming the row.
    """
    known = set(cases)
    if config.detection_text is not None:
        ids = table.iloc[:, 0].astype(str)
        if missing := sorted(known - set(ids)):
            raise UserError(f"{name} lacks id {missing[0]!r}: {AGAIN}")
        if strange := sorted(set(ids) - known) or list(ids[ids.duplicated()]):
            raise UserError(f"{name} has id {strange[0]!r} too often or without a case: {AGAIN}")
        return
    columns: Mapping[str, str] = config.detection_columns or dict.fromkeys(table.columns, "")
    if list(table.columns) != list(columns):
        raise UserError(f"{name} has columns {', '.join(table.columns)}, not {', '.join(columns)}: {AGAIN}")
    for column, field in columns.items():
        for row, text in enumerate(table[column], start=2):
            if field == CASE and str(text) not in known:
                raise UserError(f"{name} row {row} has {column} = {text!r}, which is not a case: {AGAIN}")
            if field not in (CASE, "class", "") and not _is_number(text):
                raise UserError(f"{name} row {row} has {column} = {text!r}, which is not a finite number: {AGAIN}")


def _usual(classes: int, dimensions: int, boxes: bool) -> dict[str, str]:
    pairs = sorted(zip(AXES[dimensions], SIZES[dimensions], strict=True))
    fields = [*(["class"] if classes > 1 else []), "score", *(axis for axis, _ in pairs)]
    fields += [size for _, size in pairs] if boxes else []
    return {"id": CASE, **{field: field for field in fields}}


def _is_number(text: Any) -> bool:
    try:
        return bool(np.isfinite(float(text)))
    except ValueError:
        return False
