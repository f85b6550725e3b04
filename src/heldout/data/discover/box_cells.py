"""Columns whose cells hold all boxes of an image as text, and what their numbers mean."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from heldout.data import readers
from heldout.data.discover.findings import Ask, Choice, decide
from heldout.data.discover.listing import Listing, evenly
from heldout.data.sources.layout import names_of, natural_key
from heldout.data.sources.table.boxes import FORMS, NOTHING, Box, boxes_of, is_spelled
from heldout.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

_HEADING = re.compile(r"b(ounding)?.?box|box(es)?|rect|prediction.?string|annotation|location|^labels?$", re.IGNORECASE)
EMPTY = (0.0, 0.0, 1.0, 1.0)  # the box of nothing, as competitions write it
_TRIED = 2000  # cells that are read
_LOOKED_AT = 24  # images whose sizes are compared with boxes
_MOST_CLASSES = 50


@dataclass(frozen=True)
class CellsOfBoxes:
    """A column whose cells hold boxes.

    Attributes:
        column: Its name.
        options: Of the source.
        text: What it holds, with counts.
        classes: Names of classes in it.
        spelled: Whether its boxes name their sides.
    """

    column: str
    options: Mapping[str, Any]
    text: str
    classes: tuple[str, ...]
    spelled: bool


def box_cells(frame: pd.DataFrame, free: Sequence[str]) -> list[CellsOfBoxes]:
    """Columns of boxes, those first that name the sides of their boxes."""
    found = []
    for name in free:
        texts = [text for value in frame[name] if (text := value.strip()).casefold() not in NOTHING]
        spelled = bool(texts) and all(map(is_spelled, texts))
        if not texts or not (spelled or _HEADING.search(name)):
            continue
        for form in FORMS:
            boxes = _read(evenly(texts, _TRIED), form)
            if boxes and _fits(boxes, form):
                found.append(_described(boxes, form, name, f"{len(texts):,} of {len(frame):,} rows", spelled))
                break
    return sorted(found, key=lambda one: not one.spelled)


def _read(texts: Sequence[str], form: str) -> list[Box]:
    """The boxes of cells; none where one of them cannot be read."""
    try:
        return [box for text in texts for box in boxes_of(text, form, corners=False)]
    except ValueError:
        return []


def _fits(boxes: Sequence[Box], form: str) -> bool:
    """Whether what is read as classes are a few names, and no scores."""
    classes = {name for name, _ in boxes}
    sane = all(min(numbers) >= -1 and max(numbers[2:]) > 0 for _, numbers in boxes)
    return sane and len(classes) <= _MOST_CLASSES and not (form == "class" and all(map(_is_score, classes)))


def _is_score(text: str) -> bool:
    return re.fullmatch(r"0?\.\d+|[01](\.0*)?", text) is not None


def _described(boxes: Sequence[Box], form: str, name: str, rows: str, spelled: bool) -> CellsOfBoxes:
    nothing = {own for own, _ in boxes if own} - {own for own, numbers in boxes if numbers != EMPTY}
    kinds = sorted({own for own, _ in boxes if own} - nothing, key=natural_key)
    options: dict[str, Any] = {"box": name} | ({"nothing": "|".join(sorted(nothing))} if nothing else {})
    options |= {"box_form": form} if form else {}
    text = f"{sum(own not in nothing for own, _ in boxes):,} boxes in the cells of {name} ({rows})"
    text += f" of {len(kinds)} classes: {', '.join(kinds[:8])}" if len(kinds) > 1 else ""
    return CellsOfBoxes(name, options, text, tuple(kinds), spelled)


def ask_for_corners(
    listing: Listing, frame: pd.DataFrame, examples: Sequence[tuple[str, str]], options: dict[str, Any], ask: Ask
) -> None:
    """Set ``corners`` where the third and fourth number of boxes are not their width and height.

    Args:
        listing: The files.
        frame: The table.
        examples: Image and cell of some rows.
        options: Of the source, which get it.
        ask: Answers what sizes of boxes and images leave open.
    """
    texts = [text for value in frame[options["box"]] if (text := value.strip()).casefold() not in NOTHING]
    if not texts or is_spelled(texts[0]):
        return
    form, nothing = options.get("box_form", ""), names_of(options.get("nothing", ""), "|")
    boxes = [numbers for own, numbers in _read(texts, form) if own not in nothing]
    if any(third <= left or fourth <= top for left, top, third, fourth in boxes):
        return
    for image, text in evenly(list(examples), _LOOKED_AT):
        own = [numbers for name, numbers in _read([text], form) if name not in nothing]
        try:
            height, width = readers.open_any(listing.root / image, dimensions=2).full_shape
        except UserError:
            continue
        if any(left + third > width + 1 or top + fourth > height + 1 for left, top, third, fourth in own):
            options["corners"] = True
            return
    left, top, third, fourth = boxes[0]
    if decide(
        ask,
        "corners",
        f"What are the numbers of {options['box']}, such as {left:g} {top:g} {third:g} {fourth:g}? Both readings fit.",
        [Choice("left, top, width, height", False), Choice("left, top, right, bottom", True)],
    ):
        options["corners"] = True
