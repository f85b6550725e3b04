"""Names of members: an experiment, and which of its seeds, flips and heads."""

from __future__ import annotations

import re

from heldout.errors import UserError


def parse_member(text: str) -> tuple[str, tuple[int, ...], str | None, bool]:
    """Spec, seeds (none named: all), flips (None: the experiment's own) and whether only the second head is meant.

    Raises:
        UserError: a part is none of ``seed<number>``, ``tta=<axes>`` and ``head``, or is named twice.
    """
    spec, *parts = text.split("/")
    seeds, tta, head = [], None, False
    for part in parts:
        if (match := re.fullmatch(r"seed(\d+)", part)) and int(match[1]) not in seeds:
            seeds.append(int(match[1]))
        elif part.startswith("tta=") and tta is None:
            tta = part.removeprefix("tta=")
        elif part == "head" and not head:
            head = True
        else:
            raise UserError(
                f"{text!r} is not a member: write exp040, exp040/seed1, exp040/tta=hv, exp040/seed1/tta= or exp045/head"
            )
    return spec, tuple(sorted(seeds)), tta, head
