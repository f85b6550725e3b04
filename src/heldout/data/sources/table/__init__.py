"""Any dataset that has a table with a row per case."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from heldout.data import readers
from heldout.data.objects import object_rows
from heldout.data.readers.image import displayed_size
from heldout.data.rle import RunLengths, fits_better_flipped
from heldout.data.sources import Source, as_list, identifier
from heldout.data.sources.layout import class_names, names_of
from heldout.data.sources.source import NOTHING
from heldout.data.sources.table.boxes import FORMS
from heldout.data.sources.table.columns import TableColumns, joined_tables, table_files
from heldout.data.sources.table.drawn import Drawn
from heldout.data.sources.table.files import RowFiles
from heldout.data.sources.table.labels import LabelColumns, NumberColumns, is_binary
from heldout.data.sources.table.masks import RowMasks
from heldout.data.sources.template import Template, channel_sets, names_below, patient_of
from heldout.errors import UserError

_SPLITS = ("", "train", "test", "submit")
_LISTED = 3  # cases with another name that are named one by one
_COMPARED = 60  # masks that are decoded in both orders


class Table(Source):
    """Columns are named by options; files are relative to the dataset's folder.

    A path may be a template: in ``images/{patient}/{id}.png`` a name in braces stands for the row's value of a column,
    ``{id}`` for that of its id, and ``*`` for any text. A name that no column has is a piece of the path of its own:
    the row then stands for a case per file, such as ``{id}/{session}/anat/{id}_{session}_T1w.nii.gz``.

    Options:
        file: The table, CSV (with commas, semicolons or tabs) or TSV; "" takes the only one in the folder, a sample
            submission not counted. Further tables, separated by commas, are joined on the id: ``train.csv, meta.csv``,
            ``meta.csv:image`` where the id has another name there, or ``study.csv:id={study}_study`` on other columns.
            Of a template, ``{part}/labels.csv``, all tables that fit are put below each other, its pieces are columns.
        id, patient, path: Columns of the case id, the patient and the image; several paths, separated by commas, become
            channels. A path is a column or a template, and so may an id be, ``{subject}_{img}``. Without a patient
            column every case is its own patient.
        parts: Template of the id whose pieces become columns, such as ``{case}_{day}_slice_{slice}``.
        long: Column of the labels of a table in long format, which has a row per case and class: its ids are
            ``<case>_<class>``, or of cases where there is a column ``class``. ``labels`` names the classes, "" takes
            what follows the last underscore.
        labels: Label columns, separated by commas, each 0, 1 or empty; or a single column of class names, grades or
            lists of names. "" takes all columns that start with "label", or else all that are not named otherwise.
            With masks: names of the values 1 ... K, "" is "foreground"; with a class column: names of the classes, ""
            takes all in natural order.
        graded: Whether each of the columns ``labels`` has names or grades of its own: its classes are
            ``<column>_<name>``.
        targets: Columns of numbers to predict, separated by commas, instead of labels and masks: a regression.
        separator: What separates several names in a cell of labels: ``|``, ``;``, a blank, or ``[]`` of Python's lists.
        nothing: Names, separated by ``|``, that stand for no class, such as ``No Finding``.
        blank: What an empty cell of labels, or of masks, means: ``unknown``, or ``0`` for nothing.
        uncertain: What the label -1 means: ``unknown``, ``0`` or ``1``; "" refuses it.
        ignore: Value of label maps that means a pixel without loss and score; -1 is none.
        mask: Column of the mask, used where it exists, or a template: files of label maps, or run lengths.
        class: Column of the class of a row's run lengths or box, used where it exists; a case then has several rows,
            and a channel per class unless ``exclusive`` is set.
        rle, rle_start, rle_form: How run lengths count pixels: by ``columns`` or ``rows``, from 1 or 0, see
            :class:`~heldout.data.rle.RunLengths`. "" counts by columns, and refuses masks that fit better by rows.
        box, corners: Four columns of a box, separated by commas: its left, top, width and height, or with ``corners``
            its left, top, right and bottom; or one column with all boxes of a row, as a list. Boxes are filled.
        box_form: What precedes the four numbers of each in such a column: ``class``, ``score``, ``class score`` or "".
        point, radius, point_in: Columns of a point, ``x, y`` and of volumes ``z``, and the radius in voxels of the ball
            that the mask has around it. Points are in ``voxels`` from the edge of the first one, or of volumes in
            millimeters, ``lps`` as DICOM and MetaImage have them, or ``ras`` as NIfTI does.
        split: Column with train, test, submit or nothing, used where it exists. Without it, rows without any label
            (with masks: without a mask) are unlabeled, the others are split by patient. An empty mask is ``-1``.
        test: Text file of the ids of a labeled test part, one a line: ``test_list.txt``; or a column and its value:
            ``part=Test``.
        submit: Templates of the images of unlabeled cases that the table does not list: ``test_images/{id}.png``.
        empty: Templates of images without a mask, box or point, which the table does not list.
        absent: What is done about rows without an image: ``refuse``, or ``skip``.
        neighbors: Slices on each side of an image that become channels (2.5D), where each slice is a file.
        dimensions: 2 or 3.
        exclusive: Whether a case (a pixel) can have one class only; class names in a single column always are.
        pick: Which volume of DICOM files that hold several: ``only`` refuses them, ``largest`` takes the one with the
            most slices, a number the one at that place of the list in the refusal.
        gaps: What to do with missing DICOM slices: ``refuse``, ``resample``, or ``report`` at the mean step.
        tilt: Whether to ``keep`` the sheared affine of a tilted gantry or to ``correct`` it.
    """

    defaults: ClassVar[dict[str, Any]] = {
        "file": "",
        "id": "id",
        "parts": "",
        "patient": "patient",
        "path": "path",
        "long": "",
        "labels": "",
        "graded": False,
        "targets": "",
        "separator": "",
        "nothing": "",
        "blank": "unknown",
        "uncertain": "",
        "mask": "mask",
        "ignore": NOTHING,
        "class": "class",
        "rle": "",
        "rle_start": 1,
        "rle_form": "length",
        "box": "",
        "box_form": "",
        "corners": False,
        "point": "",
        "radius": 5.0,
        "point_in": "voxels",
        "split": "split",
        "test": "",
        "submit": "",
        "empty": "",
        "absent": "refuse",
        "neighbors": 0,
        "dimensions": 2,
        "exclusive": False,
        "pick": "only",
        "gaps": "refuse",
        "tilt": "keep",
    }
    choices: ClassVar[dict[str, tuple[Any, ...]]] = {
        "dimensions": (2, 3),
        "blank": ("unknown", "0"),
        "uncertain": ("", "unknown", "0", "1"),
        "box_form": tuple(FORMS),
        "rle": ("", "columns", "rows"),
        "rle_start": (0, 1),
        "rle_form": ("length", "end", "gap", "pixels"),
        "absent": ("refuse", "skip"),
        "point_in": ("voxels", "lps", "ras"),
        "gaps": ("refuse", "report", "resample"),
        "tilt": ("keep", "correct"),
    }

    def __init__(self, root: Path, **options: Any) -> None:
        """See the class for the options."""
        super().__init__(root, **options)
        self.dimensions = self.options["dimensions"]
        if self.dimensions != 3 and (unused := sorted(options.keys() & {*self._series_options, "point_in"})):
            raise UserError(f"source_options {unused[0]} is for volumes: set dimensions = 3 as well, or remove it")
        self.rle = RunLengths(self.options["rle"] or "columns", self.options["rle_start"], self.options["rle_form"])

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """Label columns without the prefix ``label_``, the names that a single one holds, or those of a mask's classes.

        Raises:
            UserError: two of them become the same name.
        """
        return class_names(self._own_names, self._csv)

    @cached_property
    def exclusive(self) -> bool:
        """As the option says; the classes of a label map, and the names in one column, exclude each other."""
        if self.options["exclusive"]:
            return True
        return not self._masks.class_column if self._masks.any else not self._labels.several

    @cached_property
    def kind(self) -> Literal["classification", "segmentation", "regression"]:
        """Regression where targets are named, segmentation where there are masks or boxes."""
        if self.options["targets"]:
            return "regression"
        return "segmentation" if self._masks.any else "classification"

    @cached_property
    def caveats(self) -> tuple[str, ...]:
        """Says so where no patients are known."""
        if self._columns.optional("patient"):
            return ()
        return (f"{self._csv.name} has no patient column: every case is taken to be of another patient.",)

    @property
    def _own_names(self) -> list[str]:
        return self._masks.names if self._masks.any else [self._labels.title(name) for name in self._labels.names]

    def own_classes(self) -> dict[str, str]:
        """The table's names of the classes as they are written."""
        return dict(zip(self.classes, self._own_names, strict=True))

    def tables(self) -> list[Path]:
        """The table, and those that are joined to it."""
        named = self.options["test"]
        tables = [path for path, _ in (*self._columns.paths, *self._columns.joined)]
        return [*tables, self.root / named] if named and (self.root / named).is_file() else tables

    def own_ids(self) -> dict[str, str]:
        """The table's ids as they are written, and those of the images without a row, by case id."""
        listed = {identifier(name.strip()): name for name in self._columns.frame[self.options["id"]]}
        unlisted = (name for option in ("submit", "empty") for name in self._files_of.unlisted(option))
        return {**{identifier(name): name for name in unlisted}, **listed}

    def paths(self, text: str) -> list[Path]:
        """Files of a text of the index; none of run lengths, boxes and points."""
        return [] if Drawn.is_one(text) else super().paths(text)

    def read_mask(self, row: Mapping[str, Any]) -> np.ndarray:
        """Read a mask, or draw its run lengths, boxes or points; see :meth:`Source.read_mask`."""
        if not Drawn.is_one(row["mask"]):
            return super().read_mask(row)
        path = self.paths(row["image"])[0]
        plain = path.is_file() and readers.format_of(path) in ("png", "jpeg", "tiff")
        shape = displayed_size(path) if plain else self.read_image(row).full_shape
        return self._drawn.read(row["case_id"], self._in_voxels(row), shape)

    def _in_voxels(self, row: Mapping[str, Any]) -> str:
        """The ``mask`` text of a case with its points in voxels."""
        if self.options["point_in"] == "voxels" or not self._masks.point:
            return str(row["mask"])
        affine = readers.header_affine(self.paths(row["image"])[0])
        affine = self.read_image(row).affine if affine is None else affine
        return Drawn.to_voxels(row["mask"], affine, self.options["point_in"])

    def objects(self, row: Mapping[str, Any], mask: np.ndarray) -> np.ndarray:
        """The boxes or points of the table's rows, else what the mask has."""
        listed = self._drawn.objects(self._in_voxels(row)) if Drawn.is_one(row["mask"]) else None
        return super().objects(row, mask) if listed is None else object_rows(listed, self.dimensions)

    @property
    def _drawn(self) -> Drawn:
        options = self.options
        return Drawn(len(self.classes), self.exclusive, self.rle, options["corners"], options["radius"], self._csv)

    def image_of(self, row: Mapping[str, str]) -> str:
        """First image of a row of the table, "" where it does not exist."""
        pieces = self._columns.pieces_of(row[self.options["id"]].strip())
        return self._files_of.find({**row, **pieces}, self._files_of.images[0], f"{self._csv}")

    def _rows(self, found: list[str]) -> Iterator[dict[str, Any]]:
        patient, split = (self._columns.optional(name) for name in ("patient", "split"))
        examples, absent, renamed = list[tuple[str, str]](), list[str](), list[str]()
        tested = self._columns.test_ids(self.root)
        for name, rows in self._cases(patient).items():
            row, where = rows[0][1], self._columns.where(rows[0][0])
            if identifier(name) != name:
                renamed.append(f"case {name!r} is called {identifier(name)} here")
            part = "test" if name in tested else row[split].strip() if split else None
            if part not in (None, *_SPLITS):
                raise UserError(f"{where} has {split} = {part!r}: write train, test, submit or nothing")
            files = {path: self._files_of.find(row, path, where) for path in self._files_of.images}
            lost = [path for path, file in files.items() if not file]
            if lost and self.options["absent"] == "refuse":
                self._files_of.refuse(row, lost[0], where)
            if lost:
                absent.append(name)
                continue
            image, mask, labels = as_list(*files.values()), "", dict[str, float]()
            if self._masks.any:
                mask, unlabeled = self._masks.text(rows, part)
                examples += [(image, run) for _, run in Drawn.described(mask)]
            else:
                values = self._labels.read(row, where)
                labels = {f"y_{label}": value for label, value in zip(self.classes, values, strict=True)}
                unlabeled = all(value != value for value in values)
            yield {
                "case_id": identifier(name),
                "patient_id": row[patient].strip() if patient else identifier(row[self.options["id"]].strip()),
                "image": image,
                "mask": mask,
                "split": part if part is not None else "submit" if unlabeled else "",
                **labels,
            }
        found += renamed[:_LISTED]
        if len(renamed) > _LISTED:
            found.append(f"{len(renamed) - _LISTED} more cases are called by their ids without special characters")
        if absent:
            found.append(f"{len(absent)} cases of {self._csv.name} have no image and are left out, such as {absent[0]}")
        nothing = self._masks.nothing
        for option in ("submit", "empty"):
            for name, (person, images) in self._files_of.unlisted(option).items():
                split, mask = ("submit", "") if option == "submit" else ("", nothing)
                case = {"case_id": identifier(name), "patient_id": person or identifier(name)}
                yield {**case, "image": as_list(*images), "mask": mask, "split": split}
        names = [(name, called) for called, name in self.own_classes().items() if name != called]
        found += [f"class {name!r} is called {called} here" for name, called in names]
        self._compare_orders(examples, found)

    def _cases(self, patient: str) -> dict[str, list[tuple[int, dict[str, str]]]]:
        """Rows of every case, with their numbers in the file."""
        ids, cases = self.options["id"], dict[str, list[tuple[int, dict[str, str]]]]()
        watched = [ids, patient, *(path for path in self._files_of.images if not Template.is_one(path))]
        for number, row in enumerate(self._columns.frame.to_dict("records"), start=2):
            name, where = row[ids].strip(), self._columns.where(number)
            if not name:
                raise UserError(f"{where} has no {ids}: fill it in")
            if broken := [column for column in watched if "\n" in row.get(column, "").strip()]:
                raise UserError(f"{where} has a line break in {broken[0]}: close the quotation mark that begins there")
            if patient and not row[patient].strip():
                raise UserError(f"{where} has no {patient}: fill it in, or repeat its {ids} there")
            for pieces in self._files_of.pieces(row):
                case = "_".join([name, *pieces.values()])
                if case in cases and not self._masks.several_rows:
                    raise UserError(
                        f"{where} repeats the {ids} {name!r} of row {cases[case][0][0]}: give every case its own"
                    )
                cases.setdefault(case, []).append((number, {**row, **pieces}))
        return cases

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

    def _check_option(self, key: str, value: Any) -> None:
        if key != "pick":
            super()._check_option(key, value)
        elif value not in ("only", "largest") and not (type(value) is int and value >= 0):
            raise UserError(
                f"source_options pick = {value!r}: choose 'only', 'largest' or the number of a volume, 0 for the first"
            )

    def _loose_sets(self, folder: Path) -> list[list[Path]]:
        texts = names_of(self.options["path"])  # new files come without the table
        if len(texts) < 2 or not all(map(Template.is_one, texts)):
            return super()._loose_sets(folder)
        return [[folder / name for name in names] for names in channel_sets(names_below(folder), texts)]

    def _patient(self, relative: Path) -> str | None:
        texts = [text for name in ("path", "submit") for text in names_of(self.options[name]) if Template.is_one(text)]
        return patient_of(relative, texts, self.options["patient"])

    def _is_mask(self, relative: Path) -> bool:
        return relative.stem.partition(".")[0].endswith("_mask") or bool({"mask", "masks"} & set(relative.parts[:-1]))

    def _mend_labels(self, column: str) -> str:
        """The line that leaves out a column which holds no labels, or what to name instead."""
        fit = [name for name in self._free_columns if is_binary(self._columns.frame[name])]
        return f'set source_options = {{"labels": "{", ".join(fit) or column}"}}'

    @property
    def _free_columns(self) -> list[str]:
        """Columns that are not named as something else than labels."""
        used = {self.options["id"], *(self._columns.optional(name) for name in ("patient", "split"))}
        used |= {*self._files_of.images, *Template(self.options["parts"]).fields}
        return [name for name in self._columns.frame.columns if name not in used]

    @cached_property
    def _labels(self) -> LabelColumns | NumberColumns:
        if targets := self._columns.listed("targets"):
            return NumberColumns(tuple(targets))
        frame = self._columns.frame
        named = self._columns.listed("labels")
        columns = named or [name for name in frame.columns if name.startswith("label")] or self._free_columns
        single = len(columns) == 1 and (named or self.options["separator"] or self.options["nothing"])
        if not columns:
            raise UserError(f"{self._csv} has no label column: name it in source_options labels, or add a mask column")
        return LabelColumns(
            self._csv,
            tuple(columns),
            list(frame[columns[0]]) if single else [],
            self.options["separator"],
            tuple(names_of(self.options["nothing"], "|")),
            self.options["blank"],
            self.options["uncertain"],
            self._mend_labels,
            {name: list(frame[name]) for name in columns} if self.options["graded"] else {},
        )

    @cached_property
    def _masks(self) -> RowMasks:
        return RowMasks(self._columns, self._files_of, self.rle)

    @cached_property
    def _files_of(self) -> RowFiles:
        return RowFiles(self.root, self._columns, self.dimensions == 3)

    @cached_property
    def _columns(self) -> TableColumns:
        return TableColumns(self._csvs, joined_tables(self.root, self.options), self.options, self.defaults)

    @property
    def _csv(self) -> Path:
        return self._csvs[0][0]

    @cached_property
    def _csvs(self) -> tuple[tuple[Path, dict[str, str]], ...]:
        return table_files(self.root, self.options["file"].partition(",")[0].strip(), self.other_files)
