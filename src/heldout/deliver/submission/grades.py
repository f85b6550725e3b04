"""Sample submissions of grades: cells that name classes, and rows that are about a group of them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

import pandas as pd

from heldout.data.sources import identifier
from heldout.errors import UserError

Split = Callable[[str, Mapping[str, str]], tuple[str, str]]  # an id into case and what follows


def groups_of_ids(
    ids: tuple[str, ...], columns: list[str], known: Mapping[str, str], split: Split
) -> list[tuple[str, str]]:
    """Case and group of every row, where every group has a class for every column; else none."""
    ends = [f"_{identifier(column).casefold()}" for column in columns]
    names = {label.removesuffix(ends[0]): "" for label in known if label.endswith(ends[0])}
    if len(names) * len(columns) != len(known) or not all(name + end in known for name in names for end in ends):
        return []
    found = [split(entry, {name: name for name in names}) for entry in ids]
    return found if all(group for _, group in found) else []


def texts_of_classes(values: pd.Series, classes: tuple[str, ...]) -> dict[str, str]:
    """Text of every class in a column of classes: as the sample spells it, or the number that a class ends with.

    Of numbers, classes without one have their place.

    Raises:
        UserError: the sample names no class, and they have no numbers.
    """
    spelled = {identifier(text).casefold(): text for text in values if text.strip()}
    if any(label.casefold() in spelled for label in classes):
        return {label: spelled.get(label.casefold(), label) for label in classes}
    numbers = [found[0] if (found := re.search(r"\d+$", label)) else "" for label in classes]
    if all(numbers) and len(set(numbers)) == len(numbers):
        return dict(zip(classes, numbers, strict=True))
    if not values.str.fullmatch(r"\d+(\.0*)?").all():
        raise UserError(
            f"the sample submission's column {values.name} holds {values.iloc[0]!r}, which is none of the classes "
            f"{', '.join(classes)}: write there how it spells each class, in any row"
        )
    return {label: str(place) for place, label in enumerate(classes)}
