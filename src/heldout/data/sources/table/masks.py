"""The masks that a table describes: files, run lengths, boxes or points, in one or several rows of a case."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from heldout.data.rle import RunLengths
from heldout.data.sources import as_list, identifier, natural_key
from heldout.data.sources.layout import names_of
from heldout.data.sources.source import NOTHING
from heldout.data.sources.table.boxes import SIDES
from heldout.data.sources.table.columns import TableColumns
from heldout.data.sources.table.drawn import EMPTY, RUNS, Drawn, numbers_of
from heldout.data.sources.table.files import RowFiles
from heldout.data.sources.table.labels import BLANK
from heldout.data.sources.template import Template
from heldout.errors import UserError

Rows = Sequence[tuple[int, Mapping[str, str]]]


@dataclass(frozen=True, eq=False)
class RowMasks:
    """Reads what the rows of a case say of its mask.

    Attributes:
        columns: The table.
        files: Finds files of masks.
        rle: How run lengths count pixels.
    """

    columns: TableColumns
    files: RowFiles
    rle: RunLengths

    @cached_property
    def place(self) -> str:
        """Column or template of the masks, or "" where there is none."""
        name = self.columns.options["mask"]
        return name if Template.is_one(name) else self.columns.optional("mask")

    @cached_property
    def box(self) -> list[str]:
        """The four columns of a box.

        Raises:
            UserError: there is neither one nor four, or one does not exist.
        """
        names = self.columns.listed("box")
        if names and len(names) not in (1, 4):
            asked = self.columns.options["box"]
            raise UserError(
                f"source_options box = {asked!r} must name four columns of {self.columns.path}, or one whose cells "
                f"hold boxes"
            )
        return list(SIDES) if self.columns.in_cells else names

    @cached_property
    def point(self) -> list[str]:
        """The columns of a point, x, y and of volumes z.

        Raises:
            UserError: there are more or fewer, or one does not exist.
        """
        names, dimensions = self.columns.listed("point"), self.columns.options["dimensions"]
        if names and len(names) != dimensions:
            asked = self.columns.options["point"]
            raise UserError(
                f"source_options point = {asked!r} must name {dimensions} columns of {self.columns.path}, as 'x, y'"
            )
        return names

    @cached_property
    def encoded(self) -> bool:
        """Whether the masks are run lengths.

        Raises:
            UserError: only some of them are, they are of volumes, or count from another number.
        """
        column = "" if Template.is_one(self.place) else self.place
        texts = [_filled(text) for text in self.columns.frame[column]] if column else []
        if not any(RUNS.fullmatch(text) for text in texts):
            return False
        path = self.columns.path
        for row, text in enumerate(texts, start=2):
            if text and not RUNS.fullmatch(text):
                raise UserError(
                    f"{path} row {row} has {column} = {text[:40]!r} among run lengths: write start length ..."
                )
        if self.columns.options["dimensions"] != 2:
            raise UserError(f"{path} has run lengths in {column}, which are for images: name files of label maps")
        if self.columns.options["ignore"] != NOTHING:
            raise UserError(f"{path} has run lengths in {column}: leave ignore out of source_options")
        if (
            self.rle.start == 1
            and self.rle.form != "gap"
            and any(text.startswith("0 ") and text not in EMPTY for text in texts)
        ):
            raise UserError(
                f'{path} has run lengths in {column} that begin at pixel 0: set source_options = {{"rle_start": 0}}'
            )
        return True

    @property
    def nothing(self) -> str:
        """Text of the index for a case on which nothing is."""
        return Drawn.boxes([]) if self.box else Drawn.points([]) if self.point else Drawn.runs([])

    @property
    def any(self) -> bool:
        """Whether the table describes masks at all; beside numbers to predict they play no part."""
        return bool(self.box or self.point or self.place) and not self.columns.options["targets"]

    @property
    def several_rows(self) -> bool:
        """Whether a case may have several rows."""
        return bool(self.box or self.point) or self.encoded

    @cached_property
    def class_column(self) -> str:
        """Column of the class of run lengths or boxes, or ""."""
        return self.columns.optional("class") if self.several_rows else ""

    @cached_property
    def names(self) -> list[str]:
        """The classes as the table, or the option, writes them."""
        named = names_of(self.columns.options["labels"])
        if not self.class_column:
            return named or ["foreground"]
        present = set(self.columns.frame[self.class_column].str.strip())
        return named or sorted(present - {"", *names_of(self.columns.options["nothing"], "|")}, key=natural_key)

    def text(self, rows: Rows, part: str | None) -> tuple[str, bool]:
        """Text of the index for a case's mask, and whether it is unlabeled.

        Args:
            rows: The case's rows, with their numbers.
            part: What the column of parts says; None without such a column.

        Raises:
            UserError: a mask's file does not exist, or it is not clear whether an empty cell means an empty mask.
        """
        if names := self.box or self.point:
            found = [
                (row, number, numbers_of([row[name] for name in names], self.columns.where(number)))
                for number, row in rows
            ]
            if part == "submit":
                return "", True
            write = Drawn.boxes if self.box else Drawn.points
            return write([(self._class(row, number), numbers) for row, number, numbers in found if numbers]), False
        if self.encoded:
            return self._run_lengths(rows, part)
        number, row = rows[0]
        template = Template.is_one(self.place)
        file = (
            self.files.find(row, self.place, self.columns.where(number)) if template or row[self.place].strip() else ""
        )
        if not file and not template and row[self.place].strip():
            self.files.refuse(row, self.place, self.columns.where(number))
        if file:
            return as_list(file), False
        return (Drawn.runs([]), False) if self._blank_is_empty else ("", True)

    def _run_lengths(self, rows: Rows, part: str | None) -> tuple[str, bool]:
        runs = [(self._class(row, number), _filled(row[self.place])) for number, row in rows]
        if self._blank_is_empty or any(text for _, text in runs):
            return Drawn.runs([(number, text) for number, text in runs if text not in ("", *EMPTY)]), False
        if part is not None:
            return ("", True) if part == "submit" else (Drawn.runs([]), False)
        raise UserError(
            f"{self.columns.where(rows[0][0])} has no {self.place}, which may mean that nothing is there or "
            f"that nobody looked: write -1 for an empty mask, or add a column split with train and submit; where every "
            f'empty cell is an empty mask, set source_options = {{"blank": "0"}}'
        )

    def _class(self, row: Mapping[str, str], number: int) -> int:
        if not self.class_column:
            return 0
        names, label = [identifier(name) for name in self.names], row[self.class_column].strip()
        if identifier(label) not in names:
            raise UserError(
                f"{self.columns.where(number)} has {self.class_column} = {label!r}: name it in source_options labels"
            )
        return names.index(identifier(label))

    @property
    def _blank_is_empty(self) -> bool:
        return bool(self.columns.options["blank"] == "0")


def _filled(text: str) -> str:
    return "" if text.strip().casefold() in BLANK | {"none"} else text.strip()
