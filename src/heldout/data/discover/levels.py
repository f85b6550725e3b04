"""Tables of studies or patients beside one of images, joined on a column of theirs."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from heldout.data.discover.affixes import constant_ends
from heldout.data.discover.listing import TESTISH, Listing

if TYPE_CHECKING:
    import pandas as pd

_HALF = 0.5  # share of the rows whose value the other table must have
_WORD, _SAYS_NOTHING = re.compile("[a-z]+"), {"id", "uid", "number", "name"}
_SMALL = 4  # digits of numbers that many a column holds
_ENDS = 3  # ways of cutting off what ids of studies begin and end with, at most


def joinable(
    listing: Listing, name: str, frame: pd.DataFrame, ids: str, known: Sequence[str]
) -> list[tuple[str, pd.DataFrame]]:
    """What the option ``file`` says of tables that are joined to one of images, and what they have for each row of it.

    Args:
        listing: The files.
        name: The table's own file.
        frame: The table of images.
        ids: Its column of ids.
        known: Tables that name images themselves, which are joined on the id.
    """
    found = []
    for other, table in listing.tables.items():
        if other == name or other in known or (TESTISH.search(other) and not TESTISH.search(name)):
            continue
        key = _key(frame, ids, table)
        if key is None:
            continue
        on, values, own = key
        new = [column for column in table.columns if column not in frame.columns and column != on]
        rows = table.assign(**{on: table[on].str.strip()}).drop_duplicates().set_index(on)[new]
        if new:
            found.append((f"{name}, {other}:{on}={own}", rows.reindex(values).fillna("").set_axis(frame.index)))
    return found


def _key(frame: pd.DataFrame, ids: str, table: pd.DataFrame) -> tuple[str, pd.Series, str] | None:
    """The column of a table that tells its rows apart and is one of the images' table, and how that writes it."""
    candidates = []
    for on in table.columns:
        theirs = table[on].str.strip()
        distinct = set(theirs)
        if len(distinct) < 2 or len(table.drop_duplicates()) != len(distinct) or "" in distinct:
            continue
        for column in frame.columns:
            own = frame[column].str.strip()
            if column == ids or own.nunique() < 2 or not _alike(column, on, distinct):
                continue
            for start, end in list(constant_ends(list(distinct)))[: _ENDS * _ENDS]:
                values = start + own + end
                share = values.isin(distinct).mean()
                if share >= _HALF:
                    written = column if not start + end else f"{start}{{{column}}}{end}"
                    candidates.append((share, own.nunique(), -len(start + end), on, values, written))
                    break
    if not candidates:
        return None
    *_, on, values, written = max(candidates, key=lambda one: one[:3])
    return on, values, written


def _alike(column: str, on: str, values: set[str]) -> bool:
    """Whether equal values of two columns mean the same: they are called alike, or no small numbers."""
    if set(_WORD.findall(column.casefold())) & set(_WORD.findall(on.casefold())) - _SAYS_NOTHING:
        return True
    return not all(value.replace(".", "").isdecimal() and len(value) <= _SMALL for value in values)
