"""Any dataset that has a CSV with a row per case."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from heldout.data.sources import Source, as_list, identifier
from heldout.data.sources.layout import chosen_file, read_table
from heldout.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

_SPLITS = ("", "train", "test", "submit")


class Table(Source):
    """Columns are named by options; files are relative to the dataset's folder.

    Options:
        file: The CSV; "" takes the only one in the folder, a sample submission not counted.
        id, patient, path: Columns of the case id, the patient and the image; several path columns, separated by
            commas, become channels. Without a patient column every case is its own patient.
        labels: Label columns, separated by commas, each 0, 1 or empty. "" takes all columns that start with "label",
            or else all that are not named otherwise. With masks: names of the values 1 ... K, "" is "foreground".
        mask: Column of the label map, used where it exists.
        split: Column with train, test, submit or nothing, used where it exists. Without it, rows without any label
            (with masks: without a mask) are unlabeled, the others are split by patient.
        dimensions: 2 or 3.
        exclusive: Whether a case (a pixel) can have one class only.
    """

    defaults: ClassVar[dict[str, Any]] = {
        "file": "",
        "id": "id",
        "patient": "patient",
        "path": "path",
        "labels": "",
        "mask": "mask",
        "split": "split",
        "dimensions": 2,
        "exclusive": False,
    }
    choices: ClassVar[dict[str, tuple[Any, ...]]] = {"dimensions": (2, 3)}

    def __init__(self, root: Path, **options: Any) -> None:
        """See the class for the options."""
        super().__init__(root, **options)
        self.dimensions = self.options["dimensions"]

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """Label columns without the prefix ``label_``, or the names given to a mask's values."""
        return tuple(identifier(column.removeprefix("label_")) for column in self._label_columns)

    @cached_property
    def exclusive(self) -> bool:
        """As the option says; a mask of one file is a label map, whose classes exclude each other."""
        return self.options["exclusive"] or self.kind == "segmentation"

    @cached_property
    def kind(self) -> Literal["classification", "segmentation"]:
        """Segmentation where there is a mask column."""
        return "segmentation" if self._column("mask") else "classification"

    @cached_property
    def caveats(self) -> tuple[str, ...]:
        """Says so where no patients are known."""
        if self._column("patient"):
            return ()
        return (f"{self._csv.name} has no patient column: every case is taken to be of another patient.",)

    def tables(self) -> list[Path]:
        """The CSV."""
        return [self._csv]

    def _rows(self, found: list[str]) -> Iterator[dict[str, Any]]:
        ids, patient, mask = self.options["id"], self._column("patient"), self._column("mask")
        seen: dict[str, int] = {}
        for number, row in enumerate(self._frame.to_dict("records"), start=2):
            name, where = row[ids].strip(), f"{self._csv} row {number}"
            if not name:
                raise UserError(f"{where} has no {ids}: fill it in")
            if name in seen:
                raise UserError(f"{where} repeats the {ids} {name!r} of row {seen[name]}: give every case its own")
            seen[name] = number
            if patient and not row[patient].strip():
                raise UserError(f"{where} has no {patient}: fill it in, or repeat its {ids} there")
            if identifier(name) != name:
                found.append(f"case {name!r} is called {identifier(name)} here")
            labels = {} if mask else self._labels(row, where)
            unlabeled = not row[mask] if mask else all(value != value for value in labels.values())
            yield {
                "case_id": identifier(name),
                "patient_id": row[patient].strip() if patient else identifier(name),
                "image": as_list(*(self._file(row, column, where) for column in self._path_columns)),
                "mask": as_list(self._file(row, mask, where)) if mask and row[mask] else "",
                "split": self._split(row, where, unlabeled),
                **labels,
            }

    def _labels(self, row: dict[str, str], where: str) -> dict[str, float]:
        labels = {}
        for name, column in zip(self.classes, self._label_columns, strict=True):
            value = row[column].strip()
            if value not in ("", "0", "1", "0.0", "1.0"):
                raise UserError(
                    f"{where} has {column} = {value!r}: labels are 0, 1 or empty, one column per class; name the label "
                    f"columns in source_options labels"
                )
            labels[f"y_{name}"] = float(value) if value else float("nan")
        return labels

    def _split(self, row: dict[str, str], where: str, unlabeled: bool) -> str:
        column = self._column("split")
        if not column:
            return "submit" if unlabeled else ""
        value = row[column].strip()
        if value not in _SPLITS:
            raise UserError(f"{where} has {column} = {value!r}: write train, test, submit or nothing")
        return value

    def _file(self, row: dict[str, str], column: str, where: str) -> str:
        name = row[column].strip()
        place = self.root / name.partition("#")[0]
        if not name or not (place.is_file() or (self.dimensions == 3 and place.is_dir())):  # a DICOM series is a folder
            raise UserError(
                f"{where}: the file {name!r} in column {column} does not exist below {self.root}: correct it"
            )
        return name

    def _is_mask(self, relative: Path) -> bool:
        return relative.stem.partition(".")[0].endswith("_mask") or bool({"mask", "masks"} & set(relative.parts[:-1]))

    def _column(self, option: str) -> str:
        """Name of an optional column, or "" where the table lacks it.

        Raises:
            UserError: the experiment names a column that does not exist.
        """
        name = self.options[option]
        if name in self._frame.columns:
            return name
        if name and name != self.defaults[option]:
            self._missing(option, name)
        return ""

    def _missing(self, option: str, name: str) -> None:
        raise UserError(
            f"{self._csv} has no column {name!r}: it has {', '.join(self._frame.columns)}; name the right one in "
            f"source_options {option}"
        )

    @cached_property
    def _path_columns(self) -> list[str]:
        columns = [name.strip() for name in self.options["path"].split(",")]
        for name in columns:
            if name not in self._frame.columns:
                self._missing("path", name)
        return columns

    @cached_property
    def _label_columns(self) -> list[str]:
        named = [name.strip() for name in self.options["labels"].split(",") if name.strip()]
        if self._column("mask"):
            return named or ["foreground"]
        for name in named:
            if name not in self._frame.columns:
                self._missing("labels", name)
        columns = [str(name) for name in self._frame.columns]
        used = {self.options["id"], self._column("patient"), self._column("split"), *self._path_columns}
        labels = named or [name for name in columns if name.startswith("label")]
        labels = labels or [name for name in columns if name not in used]
        if not labels:
            raise UserError(f"{self._csv} has no label column: name it in source_options labels, or add a mask column")
        return labels

    @cached_property
    def _frame(self) -> pd.DataFrame:
        remedy = "name the right one in source_options id"
        return read_table(self._csv, [self.options["id"]], remedy)

    @cached_property
    def _csv(self) -> Path:
        present = [path for path in self.root.glob("*.csv") if not path.name.startswith("sample_submission")]
        return chosen_file(self.root, self.options["file"], present, "CSV")
