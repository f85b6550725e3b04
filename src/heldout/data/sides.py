"""Classes that have a side: what is left in a volume is right in its mirror image."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from heldout.data.sources import SOURCES, source_class

if TYPE_CHECKING:
    from heldout.config import BaseConfig

LEFT_RIGHT = "x"  # prepared volumes lie in RAS+: their first axis runs from left to right


def sided_pairs(classes: Sequence[str]) -> tuple[tuple[int, int], ...]:
    """Indices of classes whose names differ in ``left`` and ``right`` only, as :attr:`Source.swaps` lists them."""
    places = {name.casefold(): number for number, name in enumerate(classes)}
    pairs = []
    for name, number in places.items():
        other = places.get(re.sub(r"(?<![a-z])left(?![a-z])", "right", name))
        if other is not None and other != number:
            pairs.append((number, other))
    return tuple(pairs)


def mirror_order(config: BaseConfig, classes: int) -> list[int] | None:
    """For each class the one that it is in a volume flipped from left to right; None where no class has a side.

    Args:
        config: The experiment, whose source says which classes are paired.
        classes: Number of classes.
    """
    pairs = source_class(config.source).swaps if config.source in SOURCES and config.dimensions == 3 else ()
    if not pairs:
        return None
    order = list(range(classes))
    for left, right in pairs:
        order[left], order[right] = right, left
    return order
