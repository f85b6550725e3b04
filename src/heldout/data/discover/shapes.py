"""Tables of another shape than a row per image: in long format, or one for each part of the dataset."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from heldout.data.discover.affixes import match_rows
from heldout.data.discover.listing import TESTISH, Listing, evenly
from heldout.data.discover.matching import Match, merged_folders, start_of
from heldout.data.sources.table.columns import with_id
from heldout.data.sources.table.labels import is_binary
from heldout.data.sources.table.long import SEPARATOR, widened
from heldout.data.sources.template import Template

if TYPE_CHECKING:
    import pandas as pd

_TRIED = 200  # ids that are looked up
_MOST_CLASSES = 60
_HALF = 0.5
_PARTISH = re.compile(
    r"(^|[^a-z])(train|training|val|valid|validation|evaluation|test|testing)($|[^a-z])", re.IGNORECASE
)
PART = "part"


@dataclass(frozen=True, eq=False)
class Shaped:
    """A table as the source will read it.

    Attributes:
        name: What the option ``file`` says.
        frame: A row per case.
        match: How its rows name images.
        options: Further options of the source.
    """

    name: str
    frame: pd.DataFrame
    match: Match
    options: dict[str, Any] = field(default_factory=dict)


def shaped(listing: Listing) -> list[Shaped]:
    """Tables of a folder whose rows name images, after they are made wide, or put below each other."""
    stacks = _stacks(listing)
    joined = {name for names, _ in stacks for name in names}
    found = [stack for _, stack in stacks]
    for name, frame in listing.tables.items():
        if name in joined:
            continue
        if match := match_rows(listing, frame):
            found.append(Shaped(name, frame, match))
        elif wide := _wide(listing, name, frame):
            found.append(wide)
    return found


def _wide(listing: Listing, name: str, frame: pd.DataFrame) -> Shaped | None:
    """A table whose ids are ``<image>_<class>``, with a column of 0 and 1."""
    for key in frame.columns:
        classes = _classes(listing, evenly(list(frame[key].str.strip()), _TRIED))
        values = [other for other in frame.columns if other != key and is_binary(set(frame[other]))]
        if not classes or len(values) != 1:
            continue
        wide = widened(frame, key, values[0], "", classes, listing.root / name)
        if match := match_rows(listing, wide):
            return Shaped(name, wide, match, {"long": values[0], "labels": ", ".join(classes)})
    return None


def _classes(listing: Listing, ids: Sequence[str]) -> list[str]:
    """What follows an image's name in ids, in the order of their appearance; none where that is not the same few."""
    counts: Counter[str] = Counter()
    for text in ids:
        cuts = [place for place, letter in enumerate(text) if letter == SEPARATOR]
        cut = next((c for c in reversed(cuts) if text[:c] in listing.by_stem or text[:c] in listing.series), None)
        if cut is not None:
            counts[text[cut + 1 :]] += 1
    if not 2 <= len(counts) <= _MOST_CLASSES or counts.total() < _HALF * len(ids) or min(counts.values()) < 2:
        return []
    return list(counts)


def _stacks(listing: Listing) -> list[tuple[list[str], Shaped]]:
    """Tables with the same columns, one for each part of the dataset, and what they are together."""
    alike: dict[tuple[Any, ...], list[str]] = defaultdict(list)
    for name, frame in listing.tables.items():
        if any(map(_PARTISH.search, name.split("/"))):
            alike[tuple(frame.columns), name.count("/")].append(name)
    found = []
    for names in alike.values():
        if len(names) > 1 and (stack := _stack(listing, names)):
            found.append((names, stack))
    return found


def _stack(listing: Listing, names: list[str]) -> Shaped | None:
    import pandas as pd

    file = _template(names)
    template = Template(file)
    if [name for name in listing.names if template.match(name)] != sorted(names, key=listing.names.index):
        return None
    rows = [set(listing.tables[name].itertuples(index=False, name=None)) for name in names]
    same_ids = f"/{{{PART}}}/" not in f"/{file}"  # else the numbers of images may begin anew in each folder
    if same_ids and any(one & other for place, one in enumerate(rows) for other in rows[place + 1 :]):
        return None  # the second repeats some of the first, and is no part of its own
    values = [(template.match(name) or {})[PART] for name in names]
    frames = [listing.tables[name].assign(**{PART: value}) for name, value in zip(names, values, strict=True)]
    frame = pd.concat(frames, ignore_index=True)
    tests = [value for value in values if TESTISH.search(value)]
    options = {"test": f"{PART}={tests[0]}"} if len(tests) == 1 else {}
    match = _match_parts(listing, names, values) if "/{part}/" in f"/{file}" else match_rows(listing, frame)
    if match is None:
        return None
    return Shaped(file, with_id(frame, match.column), match, options)


def _match_parts(listing: Listing, names: Sequence[str], values: Sequence[str]) -> Match | None:
    """How the rows of tables in folders of their own name images, each those of its folder."""
    depth = next(
        PurePosixPath(names[0]).parts.index(value) for value in values if value in PurePosixPath(names[0]).parts
    )
    found = []
    for name in names:
        above = "/".join(PurePosixPath(name).parts[: depth + 1])
        match = match_rows(Listing(listing.root / above), listing.tables[name])
        if match is None or not Template.is_one(match.paths[0]):
            return None
        found.append((match, listing.tables[name][match.column].str.strip()))
    columns = {match.column for match, _ in found}
    if len(columns) != 1 or len({match.paths[0].count("/") for match, _ in found}) != 1:
        return None
    column, first = columns.pop(), PurePosixPath(names[0]).parts[:depth]
    ids = [text for _, own in found for text in own.unique()]
    repeated = len(set(ids)) < len(ids)
    below = merged_folders([match.paths[0].split("/")[:-1] for match, _ in found])
    ends = {match.paths[0].rpartition("/")[2] for match, _ in found}
    last = ends.pop() if len(ends) == 1 else "{id}.*"
    path = "/".join([*first, f"{{{PART}}}", *below, last])
    shown = f"{{{PART}}}{SEPARATOR}{{{column}}}" if repeated else column
    share = min(match.share for match, _ in found)
    example = found[0][0].example
    return Match(shown, share, (path.replace("{id}", f"{{{column}}}") if repeated else path,), example=example)


def _template(names: Sequence[str]) -> str:
    """Paths of tables with the first piece that differs as ``{part}``, what else differs as ``*``."""
    pieces, named = [], False
    for column in zip(*(name.split("/") for name in names), strict=True):
        if len(set(column)) == 1:
            pieces.append(column[0])
            continue
        start, end = start_of(column), start_of([text[::-1] for text in column])[::-1]
        pieces.append(
            f"{start}*{end}"
            if named
            else f"{{{PART}}}"
            if column is not None and "." not in column[0]
            else f"{start}{{{PART}}}{end}"
        )
        named = True
    return "/".join(pieces)
