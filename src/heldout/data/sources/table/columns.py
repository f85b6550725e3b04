"""The columns of a table and of those joined to it, and what a source's options name of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from heldout.data.sources.layout import names_of, read_table
from heldout.data.sources.template import Template
from heldout.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

_REMEDY = "name the right one in source_options id"


@dataclass(frozen=True, eq=False)
class TableColumns:
    """A table with a row per case, or several.

    Attributes:
        path: The table.
        joined: Tables that are joined on the id, and the column of the id there.
        options, defaults: Of the source.
    """

    path: Path
    joined: tuple[tuple[Path, str], ...]
    options: Mapping[str, Any]
    defaults: Mapping[str, Any]

    @cached_property
    def frame(self) -> pd.DataFrame:
        """All values as text; pieces of the id are columns too.

        Raises:
            UserError: a table cannot be read or joined, or an id does not have the form that the option says.
        """
        key = self.options["id"]
        needed = Template(key).fields if Template.is_one(key) else (key,)
        frame = with_id(read_table(self.path, needed, _REMEDY), key)
        for path, other in self.joined:
            frame = self._join(frame, path, other)
        template = Template(self.options["parts"])
        for name in template.fields:
            frame[name] = [self.pieces_of(text.strip())[name] for text in frame[key]]
        return frame

    def _join(self, frame: pd.DataFrame, path: Path, other: str) -> pd.DataFrame:
        key = self.options["id"]
        table = read_table(path, [other], "name it in source_options file, as in table.csv:column").drop_duplicates()
        table[other] = table[other].str.strip()
        repeated = table[other][table[other].duplicated()]
        if len(repeated):
            raise UserError(f"{path} has {other} {repeated.iloc[0]!r} in several rows: keep one, to join it")
        table = table.set_index(other)
        new = [name for name in table.columns if name not in frame.columns]
        joined = table[new].reindex(frame[key].str.strip()).fillna("")
        if not frame[key].str.strip().isin(table.index).any():
            raise UserError(
                f"{path} has no {other} of {self.path.name}: name its column of ids, as in table.csv:column"
            )
        return frame.assign(**{name: joined[name].to_numpy() for name in new})

    def pieces_of(self, name: str) -> dict[str, str]:
        """Pieces of an id by the option ``parts``.

        Raises:
            UserError: it does not have that form.
        """
        template = Template(self.options["parts"])
        if not template.fields:
            return {}
        pieces = template.match(name)
        if pieces is None:
            raise UserError(
                f"{self.path} has {self.options['id']} = {name!r}, which is not of the form {template.text}: correct "
                f"source_options parts"
            )
        return pieces

    def test_ids(self, root: Path) -> frozenset[str]:
        """Ids of the option ``test``, a text file below the dataset's folder.

        Raises:
            UserError: there is no such file, or it names an id that the table does not have.
        """
        if not self.options["test"]:
            return frozenset()
        path = root / self.options["test"]
        try:
            found = frozenset(path.read_text(encoding="utf-8").split())
        except (OSError, UnicodeDecodeError):
            raise UserError(f"{path} cannot be read as text: correct source_options test") from None
        unknown = sorted(found - set(self.frame[self.options["id"]].str.strip()))
        if unknown or not found:
            what = f"names {unknown[0]}, which {self.path.name} does not have" if unknown else "names no id"
            raise UserError(f"{path} {what}: correct source_options test")
        return found

    def optional(self, option: str) -> str:
        """Name of an optional column, or "" where the table lacks it.

        Raises:
            UserError: the experiment names a column that does not exist.
        """
        name = self.options[option]
        if name in self.frame.columns:
            return name
        if name and name != self.defaults[option]:
            self.missing(option, name)
        return ""

    def listed(self, option: str) -> list[str]:
        """Columns that an option lists.

        Raises:
            UserError: one does not exist.
        """
        names = names_of(self.options[option])
        for name in names:
            if name not in self.frame.columns:
                self.missing(option, name)
        return names

    def missing(self, option: str, name: str) -> NoReturn:
        """Refuse the name of a column that an option holds."""
        raise UserError(
            f"{self.path} has no column {name!r}: it has {', '.join(self.frame.columns)}; name the right one in "
            f"source_options {option}"
        )


def with_id(frame: pd.DataFrame, key: str) -> pd.DataFrame:
    """The table with a column of ids that are made of others by a template, ``{subject}_{img}``; else as it is."""
    if not Template.is_one(key) or key in frame.columns:
        return frame
    template = Template(key)
    rows = frame[list(template.fields)].to_dict("records")
    return frame.assign(**{key: [template.fill({name: text.strip() for name, text in row.items()}) for row in rows]})
