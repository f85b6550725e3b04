"""Proposals for datasets with a table: whose rows are which images, patients and labels."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from heldout.data.discover.affixes import has_free_piece, with_several_images
from heldout.data.discover.beginnings import ask_for_beginnings, beginnings
from heldout.data.discover.cells import read_cells
from heldout.data.discover.columns import (
    PATIENT,
    Reading,
    about_patients,
    clear,
    filled,
    only_about,
    patient_column,
    readings,
    study_column,
)
from heldout.data.discover.detections import fields_of, with_detections
from heldout.data.discover.findings import Ask, Choice, Proposal, decide
from heldout.data.discover.folders import from_masks
from heldout.data.discover.levels import joinable
from heldout.data.discover.listing import MASKISH, TESTISH, VOLUMES, Listing
from heldout.data.discover.matching import path_columns
from heldout.data.discover.parts import ask_for_unlisted, count, find_test_part, find_unlabeled
from heldout.data.discover.shapes import Shaped, shaped
from heldout.data.sources.table.columns import with_id
from heldout.data.sources.template import Template
from heldout.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

_TASKS = {"classification": "Classify", "segmentation": "Segment", "regression": "Regress", "detection": "Detect"}


@dataclass(frozen=True, eq=False)
class _Table(Shaped):
    readings: Sequence[Reading] = ()
    joined: bool = False


def from_tables(listing: Listing, ask: Ask) -> Proposal | None:
    """A proposal for a folder with tables whose rows name images; None where none does."""
    sample = listing.sample()
    wanted = _wanted(sample)
    tables = _all_tables(listing, sample)
    labeled = [table for table in tables if table.readings]
    if not labeled:
        return None
    labeled.sort(key=lambda table: (TESTISH.search(table.name) is not None, -_worth(table, wanted)))
    main = labeled[0]
    ids = set(main.frame[main.match.column].str.strip())
    related = [
        table for table in tables if table is not main and ids & set(table.frame[table.match.column].str.strip())
    ]
    others = [table for table in labeled if table in related]
    single = [table for table in related if not table.joined]  # which can be joined themselves
    dimensions = 3 if main.match.folder or main.match.example.lower().endswith(VOLUMES) else 2
    options: dict[str, Any] = {"file": main.name, "id": main.match.column}
    found = {"table": f"{main.name}: {len(main.frame):,} rows, columns {', '.join(main.frame.columns)}"}
    paths = path_columns(listing, main.frame)
    several = {} if paths else with_several_images(listing, main.frame, main.match)
    places = [", ".join(several.values()), *several.values()] if several else main.match.paths
    path = decide(
        ask,
        "path",
        "Which files are the images?" if not several else f"A row names {len(several)} images. Which are its own?",
        [Choice(f"{text}: {count(listing, text, options):,} files", text) for text in places],
    )
    if several:
        own = next((name for name in main.frame.columns if name not in several and _is_id(main.frame[name])), "")
        options |= {"id": own or main.match.column, "path": path}
    elif paths:
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
    known = {reading.text for reading in main.readings}
    choices += [
        (other, reading)
        for other in others
        for reading in other.readings
        if reading.rank <= 3 and _sensible(other, reading) and not (other.joined and reading.text in known)
    ]
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
    drawn = None if any(reading.kind == "segmentation" for _, reading in choices) else _masks(listing)
    asked = {name.casefold() for name in choices[0][1].columns} >= {name.casefold() for name in wanted} > set()
    sure = not masks_there and clear([reading for _, reading in choices], wanted) and (asked or drawn is None)
    offered = [Choice(reading.text, (table, reading)) for table, reading in (choices[:1] if sure else choices)]
    if drawn is not None and not sure:
        last = 0 if all(only_about(reading) for _, reading in choices) else len(offered)
        offered.insert(last, Choice(f"masks: {drawn.found['masks']}", None))
    answer = decide(ask, "labels", "What is to be predicted?", offered)
    if answer is None:
        return from_masks(listing, ask)
    chosen, reading = answer
    if chosen is not main:
        same = chosen.match.column == main.match.column and options["path"] in chosen.match.paths
        options |= {"file": chosen.name, "id": chosen.match.column}
        options |= {} if same else {"path": chosen.match.paths[0]}
    options |= {**reading.options, **chosen.options}
    found["labels"] = reading.text
    _patients(chosen, single, options, found, ask)
    if "point" in options:
        options["point_in"] = _units(chosen, ask)
    find_unlabeled(listing, chosen, options, found, sample, tables)
    if "test" in options:
        found["test part"] = f"rows with {options['test']}, locked"
    else:
        find_test_part(
            listing, chosen, [other for other in single if other.name not in options["file"]], options, found
        )
    ask_for_unlisted(listing, chosen, options, found, ask)
    read_cells(listing, chosen.frame, reading, options, found, ask)
    if dimensions == 3:
        options["dimensions"] = 3
    fields = fields_of(reading, options)
    if sample is not None:
        fields["sample_submission"] = listing.samples[0]
        if "EncodedPixels" in sample.columns or "rle" in options:
            fields["submission"] = "rle"
    task = f"{_TASKS[reading.kind]}{dimensions}D"
    return Proposal("a table with a row per image", "table", task, _plain(options), fields, found)


def _all_tables(listing: Listing, sample: pd.DataFrame | None) -> list[_Table]:
    """Tables whose rows name images, and each of them with every table of studies or patients that fits it."""
    plain = shaped(listing)
    found = [_read(listing, table, sample) for table in plain]
    known = [table.name for table in plain]
    for table in plain:
        if Template.is_one(table.name) or "long" in table.options:
            continue
        for name, more in joinable(listing, table.name, table.frame, table.match.column, known):
            frame = with_id(table.frame, table.match.column).join(more)
            only = [column for column in more if column not in about_patients(frame)]
            own = readings(frame[[table.match.column, *only]], table.match.column, [], _wanted(sample))
            found.append(_Table(name, frame, table.match, table.options, own, joined=True))
    return found


def _masks(listing: Listing) -> Proposal | None:
    """What the masks of the folder give, with the first answer to every question."""
    return (
        from_masks(listing, lambda question: question.choices[0]) if any(map(listing.is_mask, listing.images)) else None
    )


def _read(listing: Listing, table: Shaped, sample: pd.DataFrame | None) -> _Table:
    match, frame = table.match, with_id(table.frame, table.match.column)
    used = [*path_columns(listing, frame), *about_patients(frame)]
    used += [] if "{part}" not in table.name else Template(match.column).fields
    free = [column for column in used if column != match.column]
    found = with_detections(readings(frame, match.column, free, _wanted(sample)), frame, sample)
    return _Table(table.name, frame, match, table.options, found)


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
    if has_free_piece(options["path"], list(table.frame.columns), options.get("parts", "")):  # a row has several cases
        options["patient"] = options["id"]
        found["patients"] = f"{options['id']} of {options['file']}, all series or images together"
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
    if column := study_column(table.frame, options["id"]):
        options["patient"] = column
        found["patients"] = f"none named: images of one {column} stay together"
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


def _is_id(values: pd.Series) -> bool:
    """Whether a column can be that of ids."""
    return values.str.strip().nunique() == len(values) and len(filled(values)) == len(values)


def _plain(options: dict[str, Any]) -> dict[str, Any]:
    """Options without those that are the defaults of the source anyway."""
    from heldout.data.sources.table import Table

    return {name: value for name, value in options.items() if Table.defaults[name] != value or name in ("file",)}
