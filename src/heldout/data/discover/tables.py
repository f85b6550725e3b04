"""Proposals for datasets with a table: whose rows are which images, patients and labels."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from heldout.data.discover.beginnings import ask_for_beginnings, beginnings
from heldout.data.discover.cells import read_cells
from heldout.data.discover.columns import PATIENT, Reading, about_patients, clear, filled, patient_column, readings
from heldout.data.discover.findings import Ask, Choice, Proposal, decide
from heldout.data.discover.listing import MASKISH, TESTISH, VOLUMES, Listing, evenly, stem_of
from heldout.data.discover.matching import path_columns, templates, unlabeled_places
from heldout.data.discover.shapes import Shaped, shaped
from heldout.data.sources.table.columns import with_id
from heldout.data.sources.template import Template
from heldout.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

_DECODED = 40  # masks by which the coding is told
_TASKS = {"classification": "Classify", "segmentation": "Segment", "regression": "Regress"}


@dataclass(frozen=True, eq=False)
class _Table(Shaped):
    readings: Sequence[Reading] = ()


def from_tables(listing: Listing, ask: Ask) -> Proposal | None:
    """A proposal for a folder with tables whose rows name images; None where none does."""
    sample = listing.sample()
    wanted = _wanted(sample)
    tables = [_read(listing, table, wanted) for table in shaped(listing)]
    labeled = [table for table in tables if table.readings]
    if not labeled:
        return None
    labeled.sort(key=lambda table: (TESTISH.search(table.name) is not None, -_worth(table, wanted)))
    main = labeled[0]
    ids = set(main.frame[main.match.column].str.strip())
    others = [table for table in labeled[1:] if ids & set(table.frame[table.match.column].str.strip())]
    dimensions = 3 if main.match.folder or main.match.example.lower().endswith(VOLUMES) else 2
    options: dict[str, Any] = {"file": main.name, "id": main.match.column}
    found = {"table": f"{main.name}: {len(main.frame):,} rows, columns {', '.join(main.frame.columns)}"}
    paths = path_columns(listing, main.frame)
    path = decide(
        ask,
        "path",
        "Which files are the images?",
        [Choice(f"{text}: {_count(listing, text):,} files", text) for text in main.match.paths],
    )
    if paths:
        masks = [name for name in paths if MASKISH.search(name)]
        images = [name for name in paths if name not in masks]
        own = next((name for name in main.frame.columns if name not in paths and _is_id(main.frame[name])), "")
        options |= {"id": own or path, "path": ", ".join(images) or path} | ({"mask": masks[0]} if masks else {})
    else:
        options |= {"path": path} | ({"parts": main.match.parts} if main.match.parts else {})
    found["images"] = f"{options['path']}: {main.match.share:.0%} of the values of {main.match.column} name one"
    if main.match.share < 1:
        options["absent"] = "skip"
    choices = [(main, reading) for reading in main.readings if _sensible(main, reading)]
    choices += [(other, reading) for other in others for reading in other.readings if reading.rank <= 3]
    masks_there = [text for text in main.match.masks if not main.match.parts]
    if masks_there or "mask" in options:
        where = options.get("mask") or masks_there[0]
        reading = Reading("segmentation", f"mask files in {where}", {"mask": where}, (where,), 0)
        choices.insert(0, (main, reading))
    if not choices and main.frame[main.match.column].duplicated().any():
        ids = main.frame[main.match.column]
        raise UserError(
            f"{listing.root / main.name} names {ids[ids.duplicated()].iloc[0]!r} in several rows, so that an image has "
            f"several labels: keep one row of each"
        )
    if not choices:
        return None
    sure = not masks_there and clear([reading for _, reading in choices], wanted)
    offered = choices[:1] if sure else choices
    chosen, reading = decide(
        ask,
        "labels",
        "What is to be predicted?",
        [Choice(reading.text, (table, reading)) for table, reading in offered],
    )
    if chosen is not main:
        options |= {"file": f"{chosen.name}", "id": chosen.match.column, "path": chosen.match.paths[0]}
    options |= {**reading.options, **chosen.options}
    found["labels"] = reading.text
    _patients(chosen, others, options, found, ask)
    if "point" in options:
        options["point_in"] = _units(chosen, ask)
    _unlabeled(listing, chosen, options, found, sample, tables)
    if "test" in options:
        found["test part"] = f"rows with {options['test']}, locked"
    else:
        _test_list(listing, chosen, options, found)
    _unlisted(listing, chosen, options, found, ask)
    read_cells(listing, chosen.frame, reading, options, found, ask)
    if dimensions == 3:
        options["dimensions"] = 3
    fields: dict[str, Any] = {}
    if sample is not None:
        fields["sample_submission"] = listing.samples[0]
        if "EncodedPixels" in sample.columns or "rle" in options:
            fields["submission"] = "rle"
    task = f"{_TASKS[reading.kind]}{dimensions}D"
    return Proposal("a table with a row per image", "table", task, _plain(options), fields, found)


def _read(listing: Listing, table: Shaped, wanted: Sequence[str]) -> _Table:
    match, frame = table.match, with_id(table.frame, table.match.column)
    used = [*path_columns(listing, frame), *about_patients(frame)]
    used += [] if "{part}" not in table.name else Template(match.column).fields
    free = [column for column in used if column != match.column]
    return _Table(table.name, frame, match, table.options, readings(frame, match.column, free, wanted))


def _worth(table: _Table, wanted: Sequence[str]) -> float:
    """How likely a table is the one with the labels."""
    asked = {name.casefold() for name in wanted}
    first = table.readings[0]
    return (
        4 * (bool(asked) and {name.casefold() for name in first.columns} >= asked)
        + 2 * (first.rank <= 4)
        + table.match.share
        + 0.5 * (re.search(r"train", table.name, re.IGNORECASE) is not None)
        + 0.3 * bool(patient_column(table.frame, [table.match.column]))
    )


def _wanted(sample: pd.DataFrame | None) -> list[str]:
    """What a sample submission asks for."""
    return [] if sample is None else list(sample.columns[1:])


def _sensible(table: _Table, reading: Reading) -> bool:
    """Whether each image has one row, where the labels need that."""
    return (
        reading.kind == "segmentation"
        or bool({"box", "point"} & reading.options.keys())
        or not table.frame[table.match.column].duplicated().any()
    )


def _patients(
    table: _Table, others: Sequence[_Table], options: dict[str, Any], found: dict[str, str], ask: Ask
) -> None:
    if "series" in Template(options["path"]).fields:  # a row has several, each a case
        options["patient"] = options["id"]
        found["patients"] = f"{options['id']} of {options['file']}, all series together"
        return
    parts = Template(options.get("parts", "")).fields
    named = next((name for name in parts if PATIENT.search(name) or name == "case"), "")
    column = named or patient_column(table.frame, [options["id"]])
    if not column:
        for other in others:
            if there := patient_column(other.frame, [other.match.column]):
                key = "" if other.match.column == options["id"] else f":{other.match.column}"
                options["file"] = f"{options['file']}, {other.name}{key}"
                column = there
                break
    if column:
        options["patient"] = column
        found["patients"] = f"{column} of {options['file']}"
        return
    if Template.is_one(options["id"]):
        found["patients"] = "none named: every image counts as another patient"
        return
    shown = beginnings(list(table.frame[options["id"]].str.strip().drop_duplicates()))
    if shown and not options.get("parts") and ask_for_beginnings(shown, "column", ask):
        options |= {"parts": shown.template, "patient": "patient"}
        found["patients"] = f"beginnings of the ids ({shown.groups:,})"
        return
    found["patients"] = "none named: every image counts as another patient"


def _unlabeled(
    listing: Listing,
    table: _Table,
    options: dict[str, Any],
    found: dict[str, str],
    sample: pd.DataFrame | None,
    tables: Sequence[_Table],
) -> None:
    """The template of unlabeled images: of other tables, of the sample submission, or of a folder test."""
    path = options["path"]
    if not Template.is_one(path):
        return
    ids = set(table.frame[table.match.column].str.strip())
    frames = [(one.frame, one.match.column) for one in tables if one is not table]
    frames += [(sample, sample.columns[0])] if sample is not None else []
    candidates = []
    for frame, column in frames:
        rows = [row for row in frame.to_dict("records") if row[column].strip() not in ids]
        whole = bool(rows) and any(row[column].strip() != stem_of(row[column].strip()) for row in rows[:20])
        candidates += [text for text, _ in templates(listing, evenly(rows, 400), column, whole)]
    candidates += unlabeled_places(path)
    known = {"id", "series", options.get("patient", "")}
    for text in candidates:
        fields, parts = set(Template(text).fields), set(Template(options.get("parts", "")).fields)
        if (
            text.count(",") == path.count(",")
            and ({"id"} <= fields <= known or fields == parts)
            and (count := _count(listing, text, ids))
        ):
            options["submit"] = text
            found["unlabeled"] = f"{text}: {count:,} files"
            return


def _units(table: _Table, ask: Ask) -> str:
    """What points are counted in: below zero there are only millimeters."""
    columns = next(reading for reading in table.readings if "point" in reading.options).columns
    lowest = min(float(text) for name in columns for text in filled(table.frame[name]))
    world = [Choice("millimeters to the left, the back and the head, as in DICOM and MetaImage", "lps")]
    world.append(Choice("millimeters to the right, the front and the head, as in NIfTI", "ras"))
    world = world[::-1] if ".nii" in table.match.example.lower() else world
    voxels = Choice("voxels", "voxels")
    choices = world if lowest < 0 else [voxels, *world]
    return str(decide(ask, "point_in", f"What are {', '.join(columns)} in (the lowest is {lowest:g})?", choices))


def _unlisted(listing: Listing, table: _Table, options: dict[str, Any], found: dict[str, str], ask: Ask) -> None:
    """What images are that lie beside those of a table of boxes or points, and have no row in it."""
    path = options["path"]
    if not {"box", "point"} & options.keys() or not Template.is_one(path) or options.get("submit") == path:
        return
    ids = set(table.frame[table.match.column].str.strip())
    count = _count(listing, path, ids)
    if not count:
        return
    meaning = decide(
        ask,
        "unlisted",
        f"{count:,} images of the form {path} have no row in {table.name}. What are they?",
        [Choice("nothing is on them", "empty"), Choice("unlabeled", "submit"), Choice("left out", "")],
    )
    if meaning and not (meaning == "submit" and "submit" in options):
        options[meaning] = path
        found["unlisted"] = (
            f"{count:,} images without a row: {'nothing is there' if meaning == 'empty' else 'unlabeled'}"
        )


def _test_list(listing: Listing, table: _Table, options: dict[str, Any], found: dict[str, str]) -> None:
    """The text file that lists the ids of a test part, as ``test_list.txt``."""
    ids = set(table.frame[table.match.column].str.strip())
    for name in listing.names:
        if name.lower().endswith(".txt") and TESTISH.search(name):
            with contextlib.suppress(OSError, UnicodeDecodeError):
                listed = set((listing.root / name).read_text(encoding="utf-8").split())
                if listed and listed < ids:
                    options["test"] = name
                    found["test part"] = f"{len(listed):,} ids of {name}, locked"
                    return


def _count(listing: Listing, path: str, without: set[str] | None = None) -> int:
    template = Template(path.partition(",")[0])
    if not Template.is_one(path):
        return len(listing.images)
    folders = {folder for held in listing.series.values() for folder in held}
    matches = (template.match(name) for name in [*listing.images, *folders])
    return sum(pieces is not None and pieces.get("id") not in (without or set()) for pieces in matches)


def _is_id(values: pd.Series) -> bool:
    """Whether a column can be that of ids."""
    return values.str.strip().nunique() == len(values) and len(filled(values)) == len(values)


def _plain(options: dict[str, Any]) -> dict[str, Any]:
    """Options without those that are the defaults of the source anyway."""
    from heldout.data.sources.table import Table

    return {name: value for name, value in options.items() if Table.defaults[name] != value or name in ("file",)}
