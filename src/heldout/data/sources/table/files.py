"""Files of the rows of a table: a column holds their path, or a template makes it of columns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NoReturn

from heldout.data.sources.layout import names_of
from heldout.data.sources.table.columns import TableColumns
from heldout.data.sources.template import Template, names_below
from heldout.errors import UserError


@dataclass(frozen=True, eq=False)
class RowFiles:
    """Finds the files of rows.

    Attributes:
        root: Folder of the dataset.
        columns: The table.
        folders: Whether a folder may stand for a file, as of a DICOM series.
    """

    root: Path
    columns: TableColumns
    folders: bool

    @cached_property
    def images(self) -> list[str]:
        """Columns or templates of the images.

        Raises:
            UserError: a column does not exist, or no file fits a template.
        """
        paths = names_of(self.columns.options["path"])
        for path in paths:
            if not Template.is_one(path) and path not in self.columns.frame.columns:
                self.columns.missing("path", path)
            if Template.is_one(path) and not self._fitting(path):
                raise UserError(f"{self.root} has no file of the form {path}: correct source_options path")
        return paths

    @cached_property
    def free(self) -> tuple[str, ...]:
        """Pieces of templates that no column holds: a row has a case for each of their values."""
        fields = [name for path in self.images if Template.is_one(path) for name in Template(path).fields]
        return tuple(dict.fromkeys(name for name in fields if name not in {"id", *self.columns.frame.columns}))

    def pieces(self, row: Mapping[str, str]) -> list[dict[str, str]]:
        """Values of the free pieces by the files that there are; empty ones where there is no file."""
        if not self.free:
            return [{}]
        return self._pieces.get(tuple(self._values(row)[name] for name in self._bound), [dict.fromkeys(self.free, "")])

    @cached_property
    def _bound(self) -> tuple[str, ...]:
        fields = Template(next(path for path in self.images if set(self.free) & set(Template(path).fields))).fields
        return tuple(name for name in fields if name not in self.free)

    @cached_property
    def _pieces(self) -> dict[tuple[str, ...], list[dict[str, str]]]:
        path = next(path for path in self.images if set(self.free) & set(Template(path).fields))
        found: dict[tuple[str, ...], list[dict[str, str]]] = {}
        for values in self._fitting(path):
            known = dict(zip(Template(path).fields, values, strict=True))
            found.setdefault(tuple(known[name] for name in self._bound), []).append(
                {name: known[name] for name in self.free if name in known}
            )
        return found

    def find(self, row: Mapping[str, str], path: str, where: str) -> str:
        """File of a row by a column or a template, "" where it does not exist.

        Raises:
            UserError: several files fit a template.
        """
        if Template.is_one(path) and Template.is_open(path):
            template, values = Template(path), self._values(row)
            fitting = self._fitting(path).get(tuple(values[name] for name in template.fields), [])
            if len(fitting) > 1:
                raise UserError(
                    f"{where}: {fitting[0]} and {fitting[1]} both fit {path}: write a template that fits one of them"
                )
            return fitting[0] if fitting else ""
        name = self._name(row, path)
        place = self.root / name.partition("#")[0]
        if "\\" in name and not place.exists():  # a table of another system
            name = name.replace("\\", "/")
            place = self.root / name.partition("#")[0]
        return name if name and (place.is_file() or (self.folders and place.is_dir())) else ""

    def refuse(self, row: Mapping[str, str], path: str, where: str) -> NoReturn:
        """Say that a row's file does not exist."""
        what = f"the template {path}" if Template.is_one(path) else f"column {path}"
        raise UserError(
            f"{where}: the file {self._name(row, path)!r} in {what} does not exist below {self.root}: correct it, or "
            f'leave such rows out with source_options = {{"absent": "skip"}}'
        )

    def unlisted(self, option: str) -> dict[str, tuple[str, list[str]]]:
        """Patient and files, by their id, of images that an option names, ``submit`` or ``empty``.

        Raises:
            UserError: a template names no id, or there are not as many as an image has paths.
        """
        if option not in self._unlisted:
            self._unlisted[option] = self._find_unlisted(option)
        return self._unlisted[option]

    @cached_property
    def _unlisted(self) -> dict[str, dict[str, tuple[str, list[str]]]]:
        return {}

    def _find_unlisted(self, option: str) -> dict[str, tuple[str, list[str]]]:
        asked = self.columns.options[option]
        templates = [Template(text) for text in names_of(asked)]
        if not templates:
            return {}
        parts = Template(self.columns.options["parts"])
        ways = ({"id"}, set(parts.fields) or {"id"})
        named = all(any(way <= set(template.fields) for way in ways) for template in templates)
        if len(templates) != len(self.images) or not named:
            raise UserError(
                f"source_options {option} = {asked!r}: write {len(self.images)} templates with {{id}}, or with all "
                f"of its parts, as path has"
            )
        found: dict[str, tuple[str, list[str]]] = {}
        listed = set(self.columns.frame[self.columns.options["id"]].str.strip())
        for template in templates:
            for name in self._names:
                pieces = template.match(name)
                if not pieces or not (self.folders or (self.root / name).is_file()):
                    continue
                own = pieces.get("id") or parts.fill(pieces)
                case = "_".join([own, *(pieces[name] for name in self.free if name in pieces)])
                known = {**(parts.match(own) or {}), **pieces, self.columns.options["id"]: own}
                if own not in listed:
                    person = known.get(self.columns.options["patient"], "")
                    found.setdefault(case, (person, []))[1].append(name)
        odd = next((name for name, (_, files) in found.items() if len(files) != len(templates)), "")
        if odd or not found:
            what = f"the unlabeled case {odd} has not one file for each template" if odd else "no file fits"
            raise UserError(f"{self.root}: {what} of source_options {option} = {asked!r}: correct it")
        return found

    def _name(self, row: Mapping[str, str], path: str) -> str:
        return Template(path).fill(self._values(row)) if Template.is_one(path) else row[path].strip()

    def _values(self, row: Mapping[str, str]) -> dict[str, str]:
        """What a template may name: the row's columns, and ``id``."""
        values = {name: value.strip() for name, value in row.items()}
        return {"id": values[self.columns.options["id"]], **values}

    def _fitting(self, path: str) -> dict[tuple[str, ...], list[str]]:
        if path not in self._fits:
            self._fits[path] = Template(path).matches(self._names)
        return self._fits[path]

    @cached_property
    def _fits(self) -> dict[str, dict[tuple[str, ...], list[str]]]:
        """Files that fit each template, by the values of its fields."""
        return {}

    @cached_property
    def _names(self) -> list[str]:
        return names_below(self.root)
