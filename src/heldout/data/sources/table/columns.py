"""The columns of a table and of those joined to it, and what a source's options name of them."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from heldout.data.sources.layout import chosen_file, names_of, read_table
from heldout.data.sources.table.boxes import a_row_per_box
from heldout.data.sources.table.long import widened
from heldout.data.sources.template import Template, names_below
from heldout.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

SAMPLE = re.compile(r"sample.?submission", re.IGNORECASE)
_REMEDY = "name the right one in source_options id"


@dataclass(frozen=True, eq=False)
class TableColumns:
    """A table with a row per case, or several, of one file or of several that are put below each other.

    Attributes:
        paths: The files, each with the pieces of its path that become columns.
        joined: Tables that are joined, and on what: their column of the id, or ``<column>=<own>``, where ``own`` is
            another column of this table, or a template of such columns.
        options, defaults: Of the source.
    """

    paths: tuple[tuple[Path, Mapping[str, str]], ...]
    joined: tuple[tuple[Path, str], ...]
    options: Mapping[str, Any]
    defaults: Mapping[str, Any]

    @cached_property
    def frame(self) -> pd.DataFrame:
        """All values as text; pieces of the id are columns too.

        Raises:
            UserError: a table cannot be read or joined, or an id does not have the form that the option says.
        """
        key, long = self.options["id"], self.options["long"]
        frame = with_id(self._stacked, key)
        if long:
            for name in (key, long):
                if name not in frame.columns:
                    self.missing("id" if name == key else "long", name, frame)
            kind = self.options["class"] if self.options["class"] in frame.columns else ""
            frame = widened(frame, key, long, kind, names_of(self.options["labels"]), self.path)
        pieces = [self.pieces_of(text.strip()) for text in frame[key]]
        frame = frame.assign(**{name: [own[name] for own in pieces] for name in Template(self.options["parts"]).fields})
        for path, other in self.joined:
            frame = self._join(frame, path, other)
        if self.in_cells:
            nothing = names_of(self.options["nothing"], "|")
            frame = a_row_per_box(frame, self.listed("box", frame)[0], self.options, nothing, self.path)
        return frame

    @property
    def in_cells(self) -> bool:
        """Whether one column holds all boxes of a row."""
        return len(names_of(self.options["box"])) == 1

    @property
    def path(self) -> Path:
        """The first file."""
        return self.paths[0][0]

    def where(self, number: int) -> str:
        """The file and row of a row of :attr:`frame`, counted as in a file, from 2 on."""
        if self.options["long"] or self.in_cells:
            return f"{self.path}, case {self.frame[self.options['id']].iloc[number - 2]}"
        for (path, _), table in zip(self.paths, self._tables, strict=True):
            if number - 2 < len(table):
                return f"{path} row {number}"
            number -= len(table)
        raise IndexError(number)

    @cached_property
    def _tables(self) -> list[pd.DataFrame]:
        key = self.options["id"]
        pieces = {name for _, named in self.paths for name in named}
        needed = Template(key).fields if Template.is_one(key) else () if self.options["long"] else (key,)
        return [
            read_table(path, [name for name in needed if name not in pieces], _REMEDY).assign(**named)
            for path, named in self.paths
        ]

    @property
    def _stacked(self) -> pd.DataFrame:
        import pandas as pd

        return self._tables[0] if len(self._tables) == 1 else pd.concat(self._tables, ignore_index=True).fillna("")

    def _join(self, frame: pd.DataFrame, path: Path, other: str) -> pd.DataFrame:
        other, _, own = other.partition("=")
        own = own or self.options["id"]
        fields = Template(own).fields if Template.is_one(own) else (own,)
        for name in fields:
            if name not in frame.columns:
                self.missing("file", name, frame)
        table = read_table(path, [other], "name it in source_options file, as in table.csv:column").drop_duplicates()
        table[other] = table[other].str.strip()
        repeated = table[other][table[other].duplicated()]
        if len(repeated):
            raise UserError(f"{path} has {other} {repeated.iloc[0]!r} in several rows: keep one, to join it")
        table = table.set_index(other)
        new = [name for name in table.columns if name not in frame.columns]
        keys = with_id(frame, own)[own].str.strip()
        joined = table[new].reindex(keys).fillna("")
        if not keys.isin(table.index).any():
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
        """Ids of the option ``test``: of a text file below the dataset's folder, or of a column's value.

        Raises:
            UserError: there is no such file, or it names an id that the table does not have; no row has the value.
        """
        if not self.options["test"]:
            return frozenset()
        column, equals, value = self.options["test"].partition("=")
        if equals and column in self.frame.columns:
            own = self.frame[self.options["id"]][self.frame[column].str.strip() == value].str.strip()
            if own.empty:
                raise UserError(f"{self.path} has no row with {column} = {value!r}: correct source_options test")
            return frozenset(own)
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

    def listed(self, option: str, frame: pd.DataFrame | None = None) -> list[str]:
        """Columns that an option lists, of :attr:`frame` or of another table.

        Raises:
            UserError: one does not exist.
        """
        names, columns = names_of(self.options[option]), (self.frame if frame is None else frame).columns
        for name in names:
            if name not in columns:
                self.missing(option, name, frame)
        return names

    def missing(self, option: str, name: str, frame: pd.DataFrame | None = None) -> NoReturn:
        """Refuse the name of a column that an option holds."""
        columns = (self.frame if frame is None else frame).columns
        raise UserError(
            f"{self.path} has no column {name!r}: it has {', '.join(columns)}; name the right one in "
            f"source_options {option}"
        )


def table_files(root: Path, name: str, ignored: Collection[str]) -> tuple[tuple[Path, dict[str, str]], ...]:
    """The table that the option ``file`` names, or all that fit a template, with the pieces of their paths.

    Raises:
        UserError: there is none, or without a name not exactly one.
    """
    if Template.is_one(name):
        template = Template(name)
        found = [(place, pieces) for place in names_below(root) if (pieces := template.match(place))]
        if not found:
            raise UserError(f"{root} has no file of the form {name}: correct source_options file")
        return tuple((root / place, pieces) for place, pieces in found)
    tables = [path for path in root.iterdir() if path.suffix.lower() in (".csv", ".tsv")]
    present = [path for path in tables if not SAMPLE.search(path.name) and path.name not in ignored]
    return ((chosen_file(root, name, present, "table (CSV or TSV)"), {}),)


def joined_tables(root: Path, options: Mapping[str, Any]) -> tuple[tuple[Path, str], ...]:
    """Tables that the option ``file`` names after the first, and what each is joined on."""
    further = [text.partition(":") for text in names_of(options["file"])[1:]]
    return tuple((root / name, on or options["id"]) for name, _, on in further)


def with_id(frame: pd.DataFrame, key: str) -> pd.DataFrame:
    """The table with a column of ids that are made of others by a template, ``{subject}_{img}``; else as it is."""
    if not Template.is_one(key) or key in frame.columns:
        return frame
    template = Template(key)
    rows = frame[list(template.fields)].to_dict("records")
    return frame.assign(**{key: [template.fill({name: text.strip() for name, text in row.items()}) for row in rows]})
