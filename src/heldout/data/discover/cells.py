"""What the cells of a table mean: -1, nothing, and run lengths."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from heldout.data import readers
from heldout.data.discover.box_cells import ask_for_corners
from heldout.data.discover.columns import BLANK, Reading, is_runs
from heldout.data.discover.findings import Ask, Choice, decide
from heldout.data.discover.listing import Listing, evenly
from heldout.data.discover.run_lengths import coding
from heldout.data.sources.table import Table
from heldout.data.sources.table.labels import UNCERTAIN
from heldout.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

_DECODED = 40  # masks by which the coding is told


def read_cells(
    listing: Listing, frame: pd.DataFrame, reading: Reading, options: dict[str, Any], found: dict[str, str], ask: Ask
) -> None:
    """Add to ``options`` what -1 and empty cells mean, and how run lengths count pixels."""
    if options.get("box") in frame.columns:
        source = Table(listing.root, **_files(options))
        rows = evenly(frame.to_dict("records"), _DECODED)
        ask_for_corners(listing, frame, [(source.image_of(row), row[options["box"]]) for row in rows], options, ask)
        return
    if (
        reading.kind == "segmentation"
        and not {"box", "point"} & options.keys()
        and "class" not in options
        and not _is_encoded(options, frame)
    ):
        return
    if _is_encoded(options, frame):
        texts = frame[options["mask"]].str.strip()
        blank = int(texts.str.casefold().isin(BLANK).sum())
        written = sum(text == "-1" for text in texts)
        if blank and "class" in options:
            options["blank"] = "0"
        elif blank:
            options["blank"] = decide(
                ask,
                "blank",
                f"What does an empty cell of {options['mask']} mean ({blank:,} of {len(frame):,} rows)?",
                _meanings("an empty mask", "an unlabeled image", first="0" if not written else "unknown"),
            )
        examples = _examples(listing, frame, options)
        if examples:
            more, evidence = coding(examples)
            options |= more
            found["mask coding"] = evidence
        return
    names = list(reading.columns)
    if reading.kind != "classification" or not set(names) <= set(frame.columns) or {"box", "point"} & options.keys():
        return
    cells = [text.strip() for name in names for text in frame[name]]
    uncertain = sum(text in UNCERTAIN for text in cells)
    blank = sum(text.casefold() in BLANK for text in cells)
    if uncertain and len(names) > 1:
        options["uncertain"] = decide(
            ask,
            "uncertain",
            f"What does the label -1 mean ({uncertain:,} cells)?",
            [Choice("present", "1"), Choice("absent", "0"), Choice("not known", "unknown")],
        )
    rows = frame[names].apply(lambda column: column.str.strip().str.casefold().isin(BLANK))
    if blank and (len(names) > 1 and rows.all(axis=1).sum() * len(names) != blank):
        options["blank"] = decide(
            ask,
            "blank",
            f"What does an empty cell of a label mean ({blank:,} of {len(cells):,} cells)?",
            _meanings("absent", "not known", first="0"),
        )


def _meanings(nothing: str, unknown: str, first: str) -> list[Choice]:
    choices = [Choice(nothing, "0"), Choice(unknown, "unknown")]
    return choices if first == "0" else choices[::-1]


def _is_encoded(options: dict[str, Any], frame: pd.DataFrame) -> bool:
    """Whether the masks are run lengths."""
    name = options.get("mask", "")
    return name in frame.columns and is_runs(frame[name])


def _files(options: dict[str, Any]) -> dict[str, Any]:
    """Options of the source by which rows find their images."""
    return {name: options[name] for name in ("file", "id", "parts", "path", "absent") if name in options}


def _examples(listing: Listing, frame: pd.DataFrame, options: dict[str, Any]) -> list[tuple[str, np.ndarray]]:
    """Run lengths with their images in gray."""
    source = Table(listing.root, **_files(options), mask=options["mask"], blank="0", rle="columns", rle_start=0)
    found: list[tuple[str, np.ndarray]] = []
    texts: dict[str, tuple[dict[str, str], str]] = {}
    for row in frame.to_dict("records"):
        text = row[options["mask"]].strip()
        if text.casefold() not in BLANK and text != "-1":
            texts.setdefault(row[options["id"]].strip(), (row, text))
    for row, text in evenly(list(texts.values()), _DECODED):
        try:
            name = source.image_of(row)
            array = readers.open_any(listing.root / name, dimensions=2).array
        except UserError:
            continue
        found.append((text, array.mean(0, dtype=np.float32)))
    return found
