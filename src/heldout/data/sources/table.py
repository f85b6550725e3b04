"""Any dataset that has a table with a row per case."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from heldout.data import readers
from heldout.data.image import BadFile
from heldout.data.readers.image import displayed_size
from heldout.data.rle import RunLengths, fits_better_flipped
from heldout.data.sources import NOTHING, Source, as_list, identifier, natural_key
from heldout.data.sources.layout import chosen_file, label_value, read_table
from heldout.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

_SPLITS = ("", "train", "test", "submit")
_RLE = "rle:"  # begins the text of the index for run lengths: pairs of class and text
_EMPTY = ("-1", "1 0", "0 0")  # how competitions write run lengths of nothing
_BLANK = ("", "nan", "None")  # nothing at all
_RUNS = re.compile(rf"{_EMPTY[0]}|\d+ +\d+( +\d+ +\d+)*")
_SAMPLE = re.compile(r"sample.?submission", re.IGNORECASE)
_COMPARED = 60  # masks that are decoded in both orders


class Table(Source):
    """Columns are named by options; files are relative to the dataset's folder.

    Options:
        file: The table, CSV or TSV; "" takes the only one in the folder, a sample submission not counted.
        id, patient, path: Columns of the case id, the patient and the image; several path columns, separated by
            commas, become channels. Without a patient column every case is its own patient.
        labels: Label columns, separated by commas, each 0, 1 or empty. "" takes all columns that start with "label",
            or else all that are not named otherwise. With masks: names of the values 1 ... K, "" is "foreground"; with
            run lengths and a class column: names of the classes, "" takes all in natural order.
        mask: Column of the mask, used where it exists: files of label maps, or run lengths (images only).
        class: Column of the class of a row's run lengths, used where it exists; a case then has several rows, and a
            channel per class unless ``exclusive`` is set.
        rle, rle_start: How run lengths count pixels: by ``columns`` or ``rows``, from 1 or 0. "" counts by columns, and
            refuses masks that fit their images better by rows.
        split: Column with train, test, submit or nothing, used where it exists. Without it, rows without any label
            (with masks: without a mask) are unlabeled, the others are split by patient. An empty mask is ``-1``.
        dimensions: 2 or 3.
        exclusive: Whether a case (a pixel) can have one class only.
        pick: Which volume of DICOM files that hold several: ``only`` refuses them, ``largest`` takes the one with the
            most slices, a number the one at that place of the list in the refusal.
        gaps: What to do with missing DICOM slices: ``refuse`` the series, ``report`` the gap and take the mean step,
            or ``resample``.
        tilt: Whether to ``keep`` the sheared affine of a tilted gantry or to ``correct`` it.
        ignore: Value of label maps that means a pixel without loss and score; -1 is none.
    """

    defaults: ClassVar[dict[str, Any]] = {
        "file": "",
        "id": "id",
        "patient": "patient",
        "path": "path",
        "labels": "",
        "mask": "mask",
        "class": "class",
        "rle": "",
        "rle_start": 1,
        "split": "split",
        "dimensions": 2,
        "exclusive": False,
        "pick": "only",
        "gaps": "refuse",
        "tilt": "keep",
        "ignore": NOTHING,
    }
    choices: ClassVar[dict[str, tuple[Any, ...]]] = {
        "dimensions": (2, 3),
        "rle": ("", "columns", "rows"),
        "rle_start": (0, 1),
        "gaps": ("refuse", "report", "resample"),
        "tilt": ("keep", "correct"),
    }

    def __init__(self, root: Path, **options: Any) -> None:
        """See the class for the options."""
        super().__init__(root, **options)
        self.dimensions = self.options["dimensions"]
        if self.dimensions != 3 and (unused := sorted(options.keys() & set(self._series_options))):
            raise UserError(f"source_options {unused[0]} is for DICOM series: set dimensions = 3 as well, or remove it")
        self.rle = RunLengths(self.options["rle"] or "columns", self.options["rle_start"])

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """Label columns without the prefix ``label_``, or the names of a mask's classes.

        Raises:
            UserError: two of them become the same name.
        """
        names = self._own_names
        classes = [identifier(name) for name in names]
        for position, name in enumerate(classes):
            if (first := classes.index(name)) < position:
                raise UserError(
                    f"{self._csv} has the classes {names[first]!r} and {names[position]!r}, which are both called "
                    f"{name} here: rename one of them"
                )
        return tuple(classes)

    @cached_property
    def exclusive(self) -> bool:
        """As the option says; the classes of a label map exclude each other."""
        return self.options["exclusive"] or (self.kind == "segmentation" and not self._class_column)

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

    @property
    def _own_names(self) -> list[str]:
        return [column.removeprefix("label_") for column in self._label_columns]

    def own_classes(self) -> dict[str, str]:
        """The table's names of the classes as they are written."""
        return dict(zip(self.classes, self._own_names, strict=True))

    def tables(self) -> list[Path]:
        """The table."""
        return [self._csv]

    def own_ids(self) -> dict[str, str]:
        """The table's ids as they are written, by case id."""
        return {identifier(name.strip()): name for name in self._frame[self.options["id"]]}

    def paths(self, text: str) -> list[Path]:
        """Files of a text of the index; none of run lengths."""
        return [] if text.startswith(_RLE) else super().paths(text)

    def read_mask(self, row: Mapping[str, Any]) -> np.ndarray:
        """Read a mask, or decode its run lengths; see :meth:`Source.read_mask`."""
        if not row["mask"].startswith(_RLE):
            return super().read_mask(row)
        path = self.paths(row["image"])[0]
        plain = path.is_file() and readers.format_of(path) in ("png", "jpeg", "tiff")
        height, width = displayed_size(path) if plain else self.read_image(row).full_shape
        masks = np.zeros((len(self.classes), height, width), np.uint8)
        for number, text in json.loads(row["mask"].removeprefix(_RLE)):
            try:
                masks[number] |= self.rle.decode(text, (height, width))
            except UserError as error:
                raise BadFile(f"case {row['case_id']}: the {error}: correct its row in {self._csv}") from None
        if not self.exclusive or len(masks) == 1:
            return masks
        if (masks.sum(0) > 1).any():
            raise BadFile(f"case {row['case_id']}: its masks overlap: set source_options exclusive to False")
        return (masks * np.arange(1, len(masks) + 1, dtype=np.uint8)[:, None, None]).sum(0, dtype=np.uint8)[None]

    def _rows(self, found: list[str]) -> Iterator[dict[str, Any]]:
        ids, patient, mask = self.options["id"], self._column("patient"), self._column("mask")
        cases: dict[str, list[tuple[int, dict[str, str]]]] = {}
        for number, row in enumerate(self._frame.to_dict("records"), start=2):
            name, where = row[ids].strip(), f"{self._csv} row {number}"
            if not name:
                raise UserError(f"{where} has no {ids}: fill it in")
            if broken := [
                column for column in (ids, patient, *self._path_columns) if "\n" in row.get(column, "").strip()
            ]:
                raise UserError(f"{where} has a line break in {broken[0]}: close the quotation mark that begins there")
            if name in cases and not self._encoded:
                raise UserError(
                    f"{where} repeats the {ids} {name!r} of row {cases[name][0][0]}: give every case its own"
                )
            if patient and not row[patient].strip():
                raise UserError(f"{where} has no {patient}: fill it in, or repeat its {ids} there")
            cases.setdefault(name, []).append((number, row))
        examples: list[tuple[str, str]] = []
        for name, rows in cases.items():
            number, row = rows[0]
            where = f"{self._csv} row {number}"
            if identifier(name) != name:
                found.append(f"case {name!r} is called {identifier(name)} here")
            labels = {} if mask else self._labels(row, where)
            image = as_list(*(self._file(row, column, where) for column in self._path_columns))
            if self._encoded:
                text, unlabeled = self._run_lengths(rows, where)
                examples += [(image, run) for _, run in json.loads(text.removeprefix(_RLE) or "[]")]
            else:
                text = as_list(self._file(row, mask, where)) if mask and row[mask] else ""
                unlabeled = not text if mask else all(value != value for value in labels.values())
            yield {
                "case_id": identifier(name),
                "patient_id": row[patient].strip() if patient else identifier(name),
                "image": image,
                "mask": text,
                "split": self._split(row, where, unlabeled),
                **labels,
            }
        renamed = [(name, called) for called, name in self.own_classes().items() if name != called]
        found += [f"class {name!r} is called {called} here" for name, called in renamed]
        self._compare_orders(examples, found)

    @cached_property
    def _encoded(self) -> bool:
        """Whether the masks are run lengths."""
        column = self._column("mask")
        texts = self._frame[column].str.strip() if column else []
        odd = [(row, text) for row, text in enumerate(texts, 2) if text not in _BLANK and not _RUNS.fullmatch(text)]
        if not any(_RUNS.fullmatch(text) for text in texts):
            return False
        if odd:
            row, text = odd[0]
            raise UserError(
                f"{self._csv} row {row} has {column} = {text[:40]!r} among run lengths: write start length ..."
            )
        if self.dimensions != 2:
            raise UserError(f"{self._csv} has run lengths in {column}, which are for images: name files of label maps")
        if self.ignores:
            raise UserError(f"{self._csv} has run lengths in {column}: leave ignore out of source_options")
        if self.rle.start == 1 and any(text.startswith("0 ") and text not in _EMPTY for text in texts):
            raise UserError(
                f"{self._csv} has run lengths in {column} that begin at pixel 0: "
                f'set source_options = {{"rle_start": 0}}'
            )
        return True

    @cached_property
    def _class_column(self) -> str:
        """Column of the class of run lengths, or ""."""
        return self._column("class") if self._encoded else ""

    def _run_lengths(self, rows: list[tuple[int, dict[str, str]]], where: str) -> tuple[str, bool]:
        """Text of the index for a case's run lengths, and whether it is unlabeled."""
        column, names = self._column("mask"), [identifier(name) for name in self._label_columns]
        runs: list[tuple[int, str]] = []
        texts = ["" if row[column].strip() in _BLANK else row[column].strip() for _, row in rows]
        for (number, row), text in zip(rows, texts, strict=True):
            label = row[self._class_column].strip() if self._class_column else names[0]
            if identifier(label) not in names:
                raise UserError(
                    f"{self._csv} row {number} has {self._class_column} = {label!r}: name it in source_options labels"
                )
            if text not in ("", *_EMPTY):
                runs.append((names.index(identifier(label)), text))
        if any(texts):
            return _RLE + json.dumps(runs), False
        if self._column("split"):
            submitted = self._split(rows[0][1], where, False) == "submit"
            return ("" if submitted else f"{_RLE}[]"), submitted
        raise UserError(
            f"{where} has no {column}, which may mean that nothing is there or that nobody looked: write -1 for an "
            f"empty mask, or add a column split with train and submit"
        )

    def _compare_orders(self, examples: list[tuple[str, str]], found: list[str]) -> None:
        """Decode some masks in both orders, and refuse, or where the order is stated report, what fits worse."""

        def opened() -> Iterator[tuple[str, np.ndarray]]:
            for image, text in examples[:: max(1, len(examples) // _COMPARED)]:
                with contextlib.suppress(UserError):  # a bad case is named when all are checked
                    array = super(Table, self).read_image({"image": image}).array
                    self.rle.decode(text, (array.shape[1], array.shape[2]))
                    yield text, array.mean(0, dtype=np.float32)

        better = fits_better_flipped(opened(), self.rle)
        if better and not self.options["rle"]:
            raise UserError(
                f'{self._csv}: {better}: set source_options = {{"rle": "{self.rle.flipped.order}"}}, or '
                f'"{self.rle.order}" where that is wrong'
            )
        if better:
            found.append(f"{self._csv.name}: {better}, but source_options rle = {self.options['rle']!r} is followed")

    def _labels(self, row: dict[str, str], where: str) -> dict[str, float]:
        labels = {}
        for name, column in zip(self.classes, self._label_columns, strict=True):
            value = label_value(row[column])
            if value is None:
                raise UserError(
                    f"{where} has {column} = {row[column].strip()!r}: labels are 0, 1 or empty, one column per class; "
                    f"{self._mend_labels(column)}"
                )
            labels[f"y_{name}"] = value
        return labels

    def _mend_labels(self, column: str) -> str:
        """The line that leaves out a column which holds no labels, or how to make labels of it."""
        fit = [name for name in self._free_columns if all(label_value(text) is not None for text in self._frame[name])]
        if fit:
            return f'set source_options = {{"labels": "{", ".join(fit)}"}}'
        value = next(text for text in self._frame[column].str.strip() if text)
        return f"add columns such as {column}_{identifier(value)} with 1 where {column} is {value} and 0 elsewhere"

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
        if "\\" in name and not place.exists():  # a table of another system
            name = name.replace("\\", "/")
            place = self.root / name.partition("#")[0]
        if not name or not (place.is_file() or (self.dimensions == 3 and place.is_dir())):  # a DICOM series is a folder
            raise UserError(
                f"{where}: the file {name!r} in column {column} does not exist below {self.root}: correct it"
            )
        return name

    def _check_option(self, key: str, value: Any) -> None:
        if key != "pick":
            super()._check_option(key, value)
        elif value not in ("only", "largest") and not (type(value) is int and value >= 0):
            raise UserError(
                f"source_options pick = {value!r}: choose 'only', 'largest' or the number of a volume, 0 for the first"
            )

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
        if self._class_column:
            return named or sorted(set(self._frame[self._class_column].str.strip()), key=natural_key)
        if self._column("mask"):
            return named or ["foreground"]
        for name in named:
            if name not in self._frame.columns:
                self._missing("labels", name)
        labels = named or [name for name in self._frame.columns if name.startswith("label")] or self._free_columns
        if not labels:
            raise UserError(f"{self._csv} has no label column: name it in source_options labels, or add a mask column")
        return labels

    @property
    def _free_columns(self) -> list[str]:
        """Columns that are not named as something else than labels."""
        used = {self.options["id"], self._column("patient"), self._column("split"), *self._path_columns}
        return [name for name in self._frame.columns if name not in used]

    @cached_property
    def _frame(self) -> pd.DataFrame:
        remedy = "name the right one in source_options id"
        return read_table(self._csv, [self.options["id"]], remedy)

    @cached_property
    def _csv(self) -> Path:
        tables = [path for path in self.root.iterdir() if path.suffix.lower() in (".csv", ".tsv")]
        present = [path for path in tables if not _SAMPLE.search(path.name) and path.name not in self.other_files]
        return chosen_file(self.root, self.options["file"], present, "table (CSV or TSV)")
