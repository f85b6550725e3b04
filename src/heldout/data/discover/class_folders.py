"""Proposals for folders whose names are the classes of the images in them."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from heldout.data.discover.beginnings import ask_for_beginnings, beginnings
from heldout.data.discover.columns import NOTHING
from heldout.data.discover.findings import Ask, Choice, Proposal, decide
from heldout.data.discover.folders import MOST_CLASSES, PART, TEST, dimensions_of
from heldout.data.discover.listing import MASKISH, TESTISH, Listing, ending_of, first_cells, stem_of
from heldout.errors import UserError

_ONE_CASE = re.compile(
    r"(patient|case|subject|sub|pat|p|id)?[-_ ]?\d{2,}$|(patient|case|subject|sub|pat)", re.IGNORECASE
)
_PARTISH = re.compile(r"(^|[^a-z])(train|training|val|valid|validation|test|testing)($|[^a-z])", re.IGNORECASE)
_TRAIN = re.compile(r"(^|[^a-z])train(ing)?($|[^a-z])", re.IGNORECASE)
_CUT = "_"  # between a number and a class in the name of a folder
_NUMBERED = re.compile(rf"([A-Za-z]+)\d+{_CUT}[A-Za-z]+")
_MOST_GRADES = 12
_USUAL = 2  # folders at most: a class and a patient


def from_class_folders(listing: Listing, ask: Ask) -> Proposal | None:
    """A proposal where the folder of an image is its class; None where it is not."""
    folders: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for name in listing.images:
        folders[PurePosixPath(name).parts[:-1]].append(name)
    filled = {folder: names for folder, names in folders.items() if folder}
    if len(filled) < 2:
        return None
    above: tuple[str, ...] = ()
    while len({folder[: len(above) + 1] for folder in filled}) == 1 and all(len(f) > len(above) + 1 for f in filled):
        above = next(iter(filled))[: len(above) + 1]
    rest = {folder: folder[len(above) :] for folder in filled}
    if any(_TRAIN.search(shown[0]) for shown in rest.values()):  # what is neither is more images, or something else
        rest = {folder: shown for folder, shown in rest.items() if PART.match(shown[0])}
    parts = sorted({shown[0] for shown in rest.values()} if all(PART.match(s[0]) for s in rest.values()) else set())
    level = 1 if parts else 0
    classed = {folder: shown for folder, shown in rest.items() if len(shown) > level}
    depths = {len(shown) for shown in classed.values()}
    if len(depths) != 1:
        return None
    trained = {f: s for f, s in classed.items() if not parts or not TEST.match(s[0]) or len(parts) == 1}
    depth, found_at = depths.pop(), dict[int, _Classes]()
    for place in range(level, depth):
        names = {folder: shown[place] for folder, shown in trained.items()}
        for start in ("", _numbered_start(list(names.values()))):
            counts: Counter[str] = Counter()
            for folder, name in names.items():
                counts[name.rpartition(_CUT)[2] if start else name] += len(filled[folder])
            if _are_classes(counts):
                found_at[place] = _Classes(counts, f"{start}*{_CUT}" if start else "")
    if not found_at:
        return None
    # folders that say nothing is there are the likeliest
    ordered = sorted(found_at, key=lambda place: not any(map(NOTHING.match, found_at[place].counts)))
    chosen = ordered[0]
    if depth > level + _USUAL:  # below a folder of a patient there may be others
        chosen = int(
            decide(ask, "labels", "Which folders are the classes?", [Choice(str(found_at[at]), at) for at in ordered])
        )
    counts = found_at[chosen].counts
    _refuse_labels_of_tables(listing, found_at[chosen], ask)
    endings = {ending_of(name) for folder in classed for name in filled[folder]}
    pieces = _pieces([shown[level:] for shown in classed.values()], chosen - level)
    pieces = [piece.replace("{class}", f"{found_at[chosen].before}{{class}}") for piece in pieces]
    nested = pieces[1:]
    file, found = _file_of(endings, [name for folder in classed for name in filled[folder]], bool(nested), ask)

    def template(part: str) -> str:
        return "/".join([*above, *([part] if part else []), *pieces, file])

    tests = [part for part in parts if TEST.match(part)] if len(parts) > 1 else []
    others = [part for part in parts if part not in tests]
    options: dict[str, Any] = {"image": "|".join(map(template, others)) if others else template("")}
    if tests:
        labeled = {shown[1] for shown in classed.values() if shown[0] in tests}
        here = template(tests[0]) if labeled else "/".join([*above, tests[0], file])
        options["test" if labeled else "submit"] = here
        found["test part"] = f"{here}, {'locked' if labeled else 'unlabeled'}"
    nothing = [name for name in counts if NOTHING.match(name)]
    if len(counts) == 2 and len(nothing) == 1:
        options["nothing"] = nothing[0]
    shown_counts = ", ".join(f"{name} {number:,}" for name, number in sorted(counts.items()))
    return Proposal(
        "a folder per class",
        "folders",
        f"Classify{dimensions_of(listing)}D",
        options | ({"dimensions": 3} if dimensions_of(listing) == 3 else {}),
        {},
        {"images": options["image"], "labels": f"{len(counts)} folders: {shown_counts}", **found},
    )


def _refuse_labels_of_tables(listing: Listing, classes: _Classes, ask: Ask) -> None:
    """Ask whether the labels are in a table with a row per image or so, whose rows name none.

    Raises:
        UserError: they are.
    """
    for name, frame in listing.tables.items():
        of_folders = any("/" in text for text in frame.iloc[0])  # such as MURA's lists of studies
        if len(frame) < 2 * len(classes.counts) or TESTISH.search(name) or of_folders:
            continue
        rows = f"{len(frame):,} rows such as {first_cells(frame)}"
        choices = [
            Choice(f"the folders: {classes}", True),
            Choice(f"a column of {name}, whose rows name no image as they are: {rows}", False),
        ]
        if not decide(ask, "classes", "What are the classes?", choices):
            raise UserError(
                f"no column of {name} names images such as {listing.images[0]} ({rows}): add a column of their paths"
            )


@dataclass(frozen=True)
class _Classes:
    """Classes at a depth of the folders: their images, and what stands before them in the folders' names."""

    counts: Counter[str]
    before: str

    def __str__(self) -> str:
        names = ", ".join(f"{name} {number:,}" for name, number in self.counts.most_common(6))
        return f"{names}, after {self.before}" if self.before else names


def _numbered_start(names: Sequence[str]) -> str:
    """What names such as ``study1_positive`` begin with, where a number and a word follow; else ""."""
    found = [_NUMBERED.fullmatch(name) for name in names]
    starts = {match[1] if match else "" for match in found}
    return starts.pop() if len(starts) == 1 else ""


def _are_classes(counts: Counter[str]) -> bool:
    """Whether folders can be classes: a few words, each with some images."""
    if not 2 <= len(counts) <= MOST_CLASSES or min(counts.values()) < 2:
        return False
    if any(MASKISH.search(name) for name in counts) or all(map(_ONE_CASE.match, counts)):
        return False
    if all(map(str.isdecimal, counts)):  # grades follow each other; numbers of cases are many, or have gaps
        numbers = sorted(map(int, counts))
        return len(numbers) <= _MOST_GRADES and numbers[0] <= 1 and numbers[-1] - numbers[0] == len(numbers) - 1
    return not all(_PARTISH.search(name) for name in counts)


def _pieces(folders: Sequence[Sequence[str]], chosen: int) -> list[str]:
    """Template of the folders from the classes' level on: the class, the patient, and what is neither."""
    columns = [set(column) for column in zip(*folders, strict=True)]
    cases = [place for place, names in enumerate(columns) if place != chosen and all(map(_ONE_CASE.match, names))]
    after = [place for place in range(len(columns)) if place > chosen and len(columns[place]) > 1]
    after.sort(key=lambda place: -len(columns[place]))  # patients are more than kinds of images
    patient = next(iter([*cases, *after]), -1)
    return ["{class}" if place == chosen else "{patient}" if place == patient else "*" for place in range(len(columns))]


def _file_of(endings: set[str], names: Sequence[str], nested: bool, ask: Ask) -> tuple[str, dict[str, str]]:
    """Template of the files' names, and what it says of patients."""
    ending = endings.pop() if len(endings) == 1 else ".*"
    if nested:
        return f"{{id}}{ending}", {"patients": "folders below the classes"}
    shown, folders = beginnings([stem_of(name) for name in names]), {PurePosixPath(name).parent for name in names}
    if shown and shown.groups > len(folders) and ask_for_beginnings(shown, "folder", ask):
        file = f"{shown.template}{ending}"
        return file, {"patients": f"{shown.groups:,} beginnings of the files' names"}
    return f"{{id}}{ending}", {"patients": "none named: every image counts as another patient"}
