"""Boxes and points as detections, and how a sample submission writes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from heldout.data.discover.box_cells import CellsOfBoxes, box_cells
from heldout.data.discover.columns import Reading, filled

if TYPE_CHECKING:
    import pandas as pd

_BOX = {False: "{x:.1f} {y:.1f} {w:.1f} {h:.1f}", True: "{x1:.1f} {y1:.1f} {x2:.1f} {y2:.1f}"}
_WORDS = {"class": "{class} ", "score": "{score:.4f} "}


def with_detections(found: Sequence[Reading], frame: pd.DataFrame, sample: pd.DataFrame | None) -> list[Reading]:
    """The readings, and of boxes and points one as detections: the first where a sample submission asks for such."""
    written = box_cells(sample, list(sample.columns[1:])) if sample is not None and len(sample.columns) == 2 else []
    readings = list(found)
    for place, reading in enumerate(found):
        if reading.kind == "segmentation" and {"box", "point"} & reading.options.keys():
            text = reading.text.rpartition(", ")[0]
            detected = replace(reading, kind="detection", text=f"{text}, found as detections")
            if "point" in reading.options:
                detected = replace(detected, fields={"objects": "points"})
            elif written and sample is not None:
                detected = _as_asked(detected, frame, sample, written[0])
            readings.insert(place + (not written), detected)
            break
    return readings


def fields_of(reading: Reading, options: dict[str, Any]) -> dict[str, Any]:
    """Fields of a reading; boxes are written by their corners where the options read them so."""
    fields = dict(reading.fields)
    if "detection_text" in fields and options.get("corners"):
        fields["detection_text"] = fields["detection_text"].replace(_BOX[False], _BOX[True])
    return fields


def _as_asked(reading: Reading, frame: pd.DataFrame, sample: pd.DataFrame, asked: CellsOfBoxes) -> Reading:
    """The reading with the classes and the text of boxes that a sample submission has."""
    form = str(asked.options.get("box_form", ""))
    names = {*asked.classes, *str(asked.options.get("nothing", "")).split("|")} - {""}
    options = dict(reading.options)
    if form.startswith("class"):
        options = _with_classes(options, frame, names)
    text = "".join(_WORDS[word] for word in form.split()) + _BOX[False]
    fields: dict[str, Any] = {"submission": "detections", "detection_text": text}
    empty = {text for text in filled(sample[asked.column]) if text.endswith(" 0 0 1 1")}
    own = {text for text in empty if text.split()[0] in str(options.get("nothing", "")).split("|")}
    if len(empty := own or empty) == 1:
        fields["no_detection"] = empty.pop()
    return replace(reading, options=options, fields=fields)


def _with_classes(options: dict[str, Any], frame: pd.DataFrame, names: set[str]) -> dict[str, Any]:
    """Options that read the classes from where the names of the sample submission stand."""
    cells = [cell for cell in box_cells(frame, list(frame.columns)) if cell.classes]
    if "box" in options and options["box"] in frame.columns and "class" not in options and cells:
        return dict(cells[0].options)
    own = options.get("class", "")
    if not own or names & set(filled(frame[own])):
        return options
    same = [name for name in frame.columns if name != own and names <= set(filled(frame[name]))]
    alike = [name for name in same if (frame.groupby(name)[own].nunique() == 1).all()]  # numbers of the same classes
    if not alike:
        return options
    nothing = frame[frame[own].isin(str(options.get("nothing", "")).split("|"))][alike[0]]
    return {**options, "class": alike[0]} | ({"nothing": "|".join(sorted(set(nothing)))} if len(nothing) else {})
