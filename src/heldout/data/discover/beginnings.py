"""Patients in the names of images: ``CNV-1016042-7`` is the seventh of ``CNV-1016042``, perhaps."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from heldout.data.discover.findings import Ask, Choice, decide

_NUMBERED = re.compile(r"(.+?)([-_])(\d+)")
_LARGEST_SHARE = 0.8  # of groups to names: otherwise hardly anything is grouped


@dataclass(frozen=True)
class Beginnings:
    """Names that end with a number, grouped by what stands before it.

    Attributes:
        groups: How many there are.
        separator: What stands between.
        example: A name and its beginning.
    """

    groups: int
    separator: str
    example: tuple[str, str]


def beginnings(names: Sequence[str]) -> Beginnings | None:
    """The beginnings of names before their last number; None where they do not group them."""
    matches = [_NUMBERED.fullmatch(name) for name in names]
    found = [match for match in matches if match]
    if len(found) < len(matches) or len({match[2] for match in found}) != 1:
        return None
    groups = len({match[1] for match in found})
    if not 1 < groups <= _LARGEST_SHARE * len(names):
        return None
    return Beginnings(groups, found[0][2], (names[0], found[0][1]))


def ask_for_beginnings(found: Beginnings, where: str, ask: Ask) -> bool:
    """Whether the beginnings are patients."""
    name, start = found.example
    return bool(
        decide(
            ask,
            "patient",
            f"No {where} names patients. Do the names of the images?",
            [
                Choice(f"yes: {found.groups:,} beginnings before a number, such as {start} of {name}", True),
                Choice("no: every image is of another patient", False),
            ],
        )
    )
