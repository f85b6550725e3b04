"""Label columns of a table, as competitions write them: 0 and 1, names of classes, grades, lists of names."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import ClassVar

from heldout.data.sources import natural_key
from heldout.data.sources.layout import label_value, number_value
from heldout.errors import UserError

BLANK = frozenset({"", "nan", "n/a"})  # n/a is that of BIDS
UNCERTAIN = frozenset({"-1", "-1.0"})
LISTED = "[]"  # the separator of lists as Python and JSON write them
MOST_CLASSES = 100  # more names than that are ids, measurements or free text
_UNKNOWN = float("nan")
_MEANINGS = {"0": 0.0, "1": 1.0, "unknown": _UNKNOWN}


def is_binary(values: Iterable[str]) -> bool:
    """Whether a column holds nothing but 0, 1, true, false and blanks, and not only blanks."""
    found = {value.strip() for value in values if value.strip().casefold() not in BLANK}
    return bool(found) and all(label_value(value) is not None for value in found)


def names_in(text: str, separator: str) -> list[str]:
    """Names in a cell, stripped.

    Args:
        text: The cell.
        separator: What separates them, a blank any white space; :data:`LISTED` reads a list as Python or JSON writes
            it; "" takes the cell as one.

    Example:
        >>> names_in("['pneumonia', 'pleural effusion']", "[]")
        ['pneumonia', 'pleural effusion']
        >>> names_in("Edema|Mass", "|")
        ['Edema', 'Mass']
    """
    if separator == LISTED:
        try:
            return [str(name).strip() for name in ast.literal_eval(text.strip() or "[]")]
        except (SyntaxError, ValueError, TypeError, RecursionError, MemoryError):
            text, separator = text.strip().removeprefix("[").removesuffix("]"), ","
    return [part.strip() for part in (text.split(separator.strip() or None) if separator else [text])]


@dataclass(frozen=True)
class LabelColumns:
    """How the label columns of a table are read.

    Attributes:
        path: The table, for messages.
        columns: Their names: one per class with 0 and 1, or a single one that names classes.
        values: Every value of a single column that may name classes, else none.
        separator: Separates several names in a cell; "" where a cell holds one.
        nothing: Names that stand for no class, such as ``No Finding``.
        blank: What an empty cell means: ``unknown`` or ``0``.
        uncertain: What -1 means: ``0``, ``1``, ``unknown``, or "" to refuse it.
        remedy: What to do about a column that holds no labels, by its name.
        graded: Values of every column, where each has names or grades of its own; else none.
    """

    path: Path
    columns: tuple[str, ...]
    values: Sequence[str]
    separator: str = ""
    nothing: tuple[str, ...] = ()
    blank: str = "unknown"
    uncertain: str = ""
    remedy: Callable[[str], str] = "correct the table".format
    graded: Mapping[str, Sequence[str]] = field(default_factory=dict)

    @cached_property
    def named(self) -> bool:
        """Whether the single column names classes, and does not say 0 or 1."""
        if self.graded or len(self.columns) > 1 or not self.values:
            return False
        if self.separator or self.nothing:
            return True
        found = {value.strip() for value in self.values if value.strip().casefold() not in BLANK} - UNCERTAIN
        return bool(found) and not is_binary(found)

    @cached_property
    def several(self) -> bool:
        """Whether a case can have none or several of the classes."""
        return not self.named or bool(self.separator or self.nothing)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The classes as the table writes them.

        Raises:
            UserError: the single column holds too many different values, or none.
        """
        if self.graded:
            return tuple(f"{column}_{name}" for column in self.columns for name in self._grades[column])
        if not self.named:
            return self.columns
        found = {name for value in self.values for name in self._split(value)} - set(self.nothing)
        if not found or len(found) > MOST_CLASSES:
            raise UserError(
                f"{self.path} has {len(found)} different names of classes in {self.columns[0]}: name the column of the "
                f"labels in source_options labels, and what separates several names of a cell in separator"
            )
        return tuple(sorted(found, key=natural_key))

    def title(self, name: str) -> str:
        """What a class is called here: a grade with the name of its column before it."""
        column, number = self.columns[0], name.removesuffix(".0")
        if self.named and number.lstrip("-").replace(".", "").isdigit():
            return f"{column}_{number}"
        return name if self.named else name.removeprefix("label_")

    def read(self, row: Mapping[str, str], where: str) -> list[float]:
        """Value of every class, NaN where it is unknown.

        Raises:
            UserError: a cell holds something else than labels.
        """
        if self.graded:
            cells = [(name, row[column].strip()) for column in self.columns for name in self._grades[column]]
            return [_UNKNOWN if text.casefold() in BLANK else float(text == name) for name, text in cells]
        if not self.named:
            return [self._number(row[column], column, where) for column in self.columns]
        text = row[self.columns[0]].strip()
        found = self._split(text)
        if not found and self.blank == "unknown":
            return [_UNKNOWN] * len(self.names)
        return [float(name in found) for name in self.names]

    @cached_property
    def _grades(self) -> dict[str, list[str]]:
        """Names that every column holds.

        Raises:
            UserError: a column holds too many different ones, or fewer than two.
        """
        found = {}
        for column, values in self.graded.items():
            names = {name for text in values if (name := text.strip()).casefold() not in BLANK}
            if not 2 <= len(names) <= MOST_CLASSES:
                raise UserError(
                    f"{self.path} has {len(names)} different grades in {column}: name columns of grades in "
                    f"source_options labels"
                )
            found[column] = sorted(names, key=natural_key)
        return found

    def _split(self, text: str) -> list[str]:
        return [part for part in names_in(text, self.separator) if part.casefold() not in BLANK]

    def _number(self, text: str, column: str, where: str) -> float:
        value = text.strip()
        if value.casefold() in BLANK:
            return _MEANINGS[self.blank]
        if value in UNCERTAIN and self.uncertain:
            return _MEANINGS[self.uncertain]
        if value in UNCERTAIN:
            raise UserError(
                f"{where} has {column} = {value!r}: say what it means in source_options uncertain, 'unknown', '0' or "
                f"'1'"
            )
        number = label_value(value)
        if number is None:
            raise UserError(
                f"{where} has {column} = {text!r}: labels are 0, 1 or empty, one column per class, or the names of "
                f"classes in a single column; {self.remedy(column)}"
            )
        return number


@dataclass(frozen=True)
class NumberColumns:
    """Columns of numbers to predict, read as :class:`LabelColumns` are.

    Attributes:
        columns: Their names.
    """

    columns: tuple[str, ...]
    several: ClassVar[bool] = True  # none excludes another

    @property
    def names(self) -> tuple[str, ...]:
        """The columns."""
        return self.columns

    def title(self, name: str) -> str:
        """What a number is called here."""
        return name

    def read(self, row: Mapping[str, str], where: str) -> list[float]:
        """The numbers of a row, NaN where they are unknown.

        Raises:
            UserError: a cell holds something else.
        """
        return [number_value(row[column].strip(), column, where) for column in self.columns]
