"""Patients in the names of images: ``CNV-1016042-7`` is one of ``CNV-1016042``, ``10_left`` one of ``10``."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from heldout.data.discover.findings import Ask, Choice, decide

_ENDS = {
    "number": re.compile(r"(.+?)([-_])(\d+)"),
    "side": re.compile(r"([^-_]+)([-_])(left|right|l|r|os|od)", re.IGNORECASE),
}
_LARGEST_SHARE = 0.8  # of groups to names: otherwise hardly anything is grouped


@dataclass(frozen=True)
class Beginnings:
    """Names that end with a number or a side, grouped by what stands before it.

    Attributes:
        groups: How many there are.
        separator: What stands between.
        example: A name and its beginning.
        end: What comes last: ``number`` or ``side``.
    """

    groups: int
    separator: str
    example: tuple[str, str]
    end: str = "number"

    @property
    def template(self) -> str:
        """Template of the names."""
        return f"{{patient}}{self.separator}{{{self.end}}}"


def beginnings(names: Sequence[str]) -> Beginnings | None:
    """The beginnings of names before their last number or side; None where they do not group them."""
    for end, form in _ENDS.items():
        found = [match for name in names if (match := form.fullmatch(name))]
        groups = len({match[1] for match in found})
        alike = len(found) == len(names) and len({match[2] for match in found}) == 1
        if alike and 1 < groups <= _LARGEST_SHARE * len(names):
            return Beginnings(groups, found[0][2], (names[0], found[0][1]), end)
    return None


def ask_for_beginnings(found: Beginnings, where: str, ask: Ask) -> bool:
    """Whether the beginnings are patients."""
    name, start = found.example
    return bool(
        decide(
            ask,
            "patient",
            f"No {where} names patients. Do the names of the images?",
            [
                Choice(f"yes: {found.groups:,} beginnings before a {found.end}, such as {start} of {name}", True),
                Choice("no: every image is of another patient", False),
            ],
        )
    )
