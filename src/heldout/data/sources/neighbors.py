"""Slices with the slices beside them as further channels (2.5D), for datasets that keep each slice in a file.

A network that sees the slices above and below tells a vessel from a lesion; winners of RSNA 2019 and UW-Madison 2022
read their slices so.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import PurePath
from typing import Any

from heldout.data.sources.layout import as_list, image_paths
from heldout.errors import UserError


def with_neighbors(
    rows: list[dict[str, Any]], count: int, where: object, *, loose: bool = False
) -> list[dict[str, Any]]:
    """Rows whose images have the files of the slices beside theirs as further channels.

    Slices of a series lie in one folder, are of one patient, and differ in one number of their names. The order is
    the slice itself, the one before, the one after, then those further away; the first and the last slice of a series
    stand in for what lies beyond them. A slice that is absent is skipped.

    Args:
        rows: Of an index, or of loose files.
        count: Neighbors on each side; 0 leaves the rows as they are.
        where: The folder, for the message.
        loose: Whether a patient called as the case is not known, so that the names of the files decide alone.

    Raises:
        UserError: no row has a neighbor.

    Example:
        >>> rows = [{"patient_id": "p", "image": f'["p/{number}.png"]'} for number in (1, 2, 10)]
        >>> for row in with_neighbors(rows, 1, "slices"):
        ...     print(row["image"])
        ["p/1.png", "p/1.png", "p/2.png"]
        ["p/2.png", "p/1.png", "p/10.png"]
        ["p/10.png", "p/2.png", "p/10.png"]
    """
    if not (count and rows):
        return rows
    images = [image_paths(row["image"]) for row in rows]
    patients = ["" if loose and row["patient_id"] == row["case_id"] else row["patient_id"] for row in rows]
    series = _series([(patient, paths[0]) for patient, paths in zip(patients, images, strict=True)])
    if max(map(len, series)) < 2:
        remedy = "add the slices of its series" if loose else "name the patient, or set neighbors = 0"
        raise UserError(
            f"source_options neighbors = {count}: no slice of {where} has another beside it: slices of a series are in "
            f"one folder, of one patient, and their names differ in one number; {remedy}"
        )
    places = {row: (group, place) for group in series for place, row in enumerate(group)}
    found = []
    for number, row in enumerate(rows):
        group, place = places[number]
        beside = [group[other] for other in places_beside(place, count, len(group))]
        found.append({**row, "image": as_list(*(path for other in beside for path in images[other]))})
    return found


def places_beside(place: int, count: int, length: int) -> list[int]:
    """Places of a slice and of its neighbors in a series, in the order of their channels.

    Args:
        place: Of the slice, from 0.
        count: Neighbors on each side.
        length: Slices of the series.

    Example:
        >>> places_beside(1, 2, 5), places_beside(4, 1, 5)
        ([1, 0, 2, 0, 3], [4, 3, 4])
    """
    order = [place, *(place + side * step for step in range(1, count + 1) for side in (-1, 1))]
    return [min(max(other, 0), length - 1) for other in order]


def _series(names: Sequence[tuple[str, str]]) -> list[list[int]]:
    """Rows of every series, in the order of its slices, by the rows' patients and first files."""
    alike = defaultdict[tuple[str, str, str], list[int]](list)
    for number, (patient, path) in enumerate(names):
        pure = PurePath(path)
        alike[patient, str(pure.parent), re.sub(r"\d+", "0", pure.name)].append(number)
    series = list[list[int]]()
    for rows in alike.values():
        numbers = {row: tuple(map(int, re.findall(r"\d+", PurePath(names[row][1]).name))) for row in rows}
        last = None
        for row in sorted(rows, key=numbers.__getitem__):
            if last is not None and sum(a != b for a, b in zip(numbers[last], numbers[row], strict=True)) == 1:
                series[-1].append(row)
            else:
                series.append([row])
            last = row
    return series
