"""Which images of a dataset with a table are unlabeled, of a test part, or without a row."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from heldout.data.discover.columns import names_parts
from heldout.data.discover.findings import Ask, Choice, decide
from heldout.data.discover.listing import TESTISH, Listing, evenly, stem_of
from heldout.data.discover.matching import templates, templates_of_folders, unlabeled_places
from heldout.data.discover.shapes import Shaped
from heldout.data.sources.template import Template

if TYPE_CHECKING:
    import pandas as pd

_READ_BY_SOURCE = {"", "train", "test", "submit"}


def find_unlabeled(
    listing: Listing,
    table: Shaped,
    options: dict[str, Any],
    found: dict[str, str],
    sample: pd.DataFrame | None,
    tables: Sequence[Shaped],
) -> None:
    """The template of unlabeled images: of the sample submission, other tables (``test.csv`` first), or a folder."""
    path = options["path"]
    if not Template.is_one(path):
        return
    ids = set(table.frame[table.match.column].str.strip())
    others = sorted((one for one in tables if one is not table), key=lambda one: not TESTISH.search(one.name))
    frames = [(sample, sample.columns[0])] if sample is not None else []
    frames += [(one.frame, one.match.column) for one in others]
    candidates: list[str] = []
    for frame, column in frames:
        rows = [row for row in frame.to_dict("records") if row[column].strip() not in ids]
        if folders := [name for row in rows if (name := row[column].strip()) in listing.series]:
            candidates += templates_of_folders(listing, folders)
        whole = bool(rows) and any(row[column].strip() != stem_of(row[column].strip()) for row in rows[:20])
        candidates += [text for text, _ in templates(listing, evenly(rows, 400), column, whole)]
    candidates += unlabeled_places(path)
    known = {"id", "series", options.get("patient", "")}
    for text in candidates:
        fields, parts = set(Template(text).fields), set(Template(options.get("parts", "")).fields)
        if (
            text.count(",") == path.count(",")
            and ({"id"} <= fields <= known or (parts and parts <= fields <= known | parts))
            and (number := count(listing, text, options, ids))
        ):
            options["submit"] = text
            found["unlabeled"] = f"{text}: {number:,} files"
            return


def ask_for_unlisted(listing: Listing, table: Shaped, options: dict[str, Any], found: dict[str, str], ask: Ask) -> None:
    """What images are that lie beside those of a table of boxes or points, and have no row in it."""
    path = options["path"]
    if not {"box", "point"} & options.keys() or not Template.is_one(path) or options.get("submit") == path:
        return
    ids = set(table.frame[table.match.column].str.strip())
    number = count(listing, path, options, ids)
    if not number:
        return
    meaning = decide(
        ask,
        "unlisted",
        f"{number:,} images of the form {path} have no row in {table.name}. What are they?",
        [Choice("nothing is on them", "empty"), Choice("unlabeled", "submit"), Choice("left out", "")],
    )
    if meaning and not (meaning == "submit" and "submit" in options):
        options[meaning] = path
        found["unlisted"] = (
            f"{number:,} images without a row: {'nothing is there' if meaning == 'empty' else 'unlabeled'}"
        )


def find_test_part(
    listing: Listing, table: Shaped, others: Sequence[Shaped], options: dict[str, Any], found: dict[str, str]
) -> None:
    """The labeled test part: a value of a column, or a text file that lists its ids, as ``test_list.txt``.

    Args:
        listing: The files.
        table: The table that is read.
        others: Tables of the same ids.
        options: Of the source, which get it.
        found: Evidence, which gets it.
    """
    ids = set(table.frame[table.match.column].str.strip())
    for one in (table, *others):
        for column in one.frame.columns:
            values = one.frame[column].str.strip()
            tests = sorted({value for value in values if TESTISH.search(value)})
            if not names_parts(values) or set(values) <= _READ_BY_SOURCE or len(tests) != 1 or len(set(values)) < 2:
                continue
            if one is not table:
                key = "" if one.match.column == options["id"] else f":{one.match.column}"
                options["file"] = f"{options['file']}, {one.name}{key}"
            options |= {"test": f"{column}={tests[0]}"} | ({"split": ""} if column == "split" else {})
            found["test part"] = f"{(values == tests[0]).sum():,} rows with {options['test']}, locked"
            return
    for name in listing.names:
        if name.lower().endswith(".txt") and TESTISH.search(name):
            with contextlib.suppress(OSError, UnicodeDecodeError):
                listed = set((listing.root / name).read_text(encoding="utf-8").split())
                if listed and listed < ids:
                    options["test"] = name
                    found["test part"] = f"{len(listed):,} ids of {name}, locked"
                    return


def count(listing: Listing, path: str, options: Mapping[str, Any], without: Collection[str] = ()) -> int:
    """How many images, or folders of them, a template fits, those of known ids left out."""
    template, parts = Template(path.partition(",")[0]), Template(options.get("parts", ""))
    if not Template.is_one(path):
        return len(listing.images)
    folders = {folder for held in listing.series.values() for folder in held}
    matches = [pieces for name in [*listing.images, *folders] if (pieces := template.match(name)) is not None]
    return sum((pieces.get("id") or _id(parts, pieces)) not in without for pieces in matches)


def _id(parts: Template, pieces: Mapping[str, str]) -> str:
    """The id of pieces of a path, "" where it has others."""
    return parts.fill(pieces) if parts.fields and set(parts.fields) <= set(pieces) else ""
