"""Files for a competition: probabilities, run-length masks, or a zip of masks; checked before they exist."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from heldout import files
from heldout.blend.apply import case_values, mask_of_result, run_lengths
from heldout.blend.together import groups_by_case, put_together
from heldout.data.image import Image
from heldout.data.levels import CASE, groups_of
from heldout.data.readers import format_of
from heldout.data.sources.layout import image_paths
from heldout.data.sources.tiled import TiledSource
from heldout.deliver.large_images import large_images
from heldout.deliver.masks import check_names, mask_files
from heldout.deliver.submission.detections import check_table, detection_table
from heldout.deliver.submission.form import (
    arrange,
    asked_for,
    case_names,
    check,
    empty_text,
    find_sample,
    read_sample,
    read_submission,
    sample_form,
    with_own_ids,
)
from heldout.errors import UserError
from heldout.progress import track
from heldout.tasks import Task

if TYPE_CHECKING:
    import pandas as pd

    from heldout.blend.apply import Blended, OpenDecision
    from heldout.data.dataset import Dataset
    from heldout.data.sources import Source
    from heldout.tasks.detect import Detect

    Images = Iterator[tuple[str, Image]]


def submit(opened: OpenDecision) -> Path:
    """Predict the unlabeled cases of a decision's dataset and write the competition's file.

    Args:
        opened: A verified decision with its dataset.

    Returns:
        ``submissions/<name>.csv``, or ``.zip`` for masks.

    Raises:
        UserError: there is nothing to submit, or the file would not match the sample submission; an earlier
            file of that name stays as it was.
    """
    decision, dataset = opened.decision, opened.dataset
    cases = cases_to_submit(dataset)
    if cases.empty:
        raise UserError(
            f"dataset {decision.dataset} has no cases to submit, none without a label: for a folder of new files "
            f"use `python run.py predict {decision.name} --input DIR --output DIR`"
        )
    groups = groups_by_case(decision, dataset.source, cases)
    own = dataset.source.own_classes()
    of_groups = groups if decision.pooling else {}
    writer = SubmissionWriter(opened.config, decision.classes, cases, dataset.source, own, of_groups)
    rows = track(writer.cases.to_dict("records"), len(writer.cases), "Predicting cases")
    groups = {case_id: groups[case_id] for case_id in writer.cases["case_id"] if case_id in groups}
    results = put_together(decision, predict_rows(opened, dataset.source, rows, writer.watch), groups)
    return writer.write(results, files.home() / "submissions" / decision.name)


def predict_rows(
    opened: OpenDecision,
    source: Source,
    rows: Iterable[Mapping[str, Any]],
    watch: Callable[[Images], Images],
) -> Iterator[Blended]:
    """Predict unlabeled cases, damaged files as far as they can be read, or large images tile by tile.

    Args:
        opened: What predicts.
        source: Reads them.
        rows: Rows of cases.
        watch: Sees every image pass that is read as a whole.
    """
    if isinstance(source, TiledSource):
        tiles = (tile for row in rows for tile in source.tiles(row["case_id"], source.paths(row["image"])[0]))
        return large_images(opened, source, tiles, run_lengths(opened.config, source))
    return opened.predict(watch((row["case_id"], source.read_image(row, salvage=True)) for row in rows))


def check_file(name: str, path: Path) -> int:
    """Hold a submission file against the sample submission and the images of a decision's dataset.

    Args:
        name: Name of the decision that it was made with.
        path: A CSV file, such as one that a kernel wrote or that was edited.

    Returns:
        How many rows it has.

    Raises:
        UserError: it is not such a file, or a row of it would not be scored as meant; names the row and the remedy.
    """
    from heldout.blend.apply import OpenDecision
    from heldout.blend.decision import load_decision
    from heldout.blend.session import Session

    session = Session()
    opened = OpenDecision(load_decision(name, session), session)
    config, dataset = opened.config, opened.dataset
    if config.submission == "masks":
        raise UserError(f"{config.spec} submits a zip of masks, and {path.name} can only be checked where it is CSV")
    source, cases = dataset.source, cases_to_submit(dataset)
    groups = groups_by_case(opened.decision, source, cases) if opened.decision.pooling else {}
    writer = SubmissionWriter(config, opened.decision.classes, cases, source, source.own_classes(), groups)
    table = read_submission(str(path), path.name)
    if config.submission == "rle" and not isinstance(source, TiledSource):
        for _ in writer.watch((case_id, dataset.read_image(case_id)) for case_id in writer.cases.case_id):
            pass
    writer.check(table, path.name)
    return len(table)


class SubmissionWriter:
    """Lays predictions out as a competition wants them; everything about the form is checked before predicting.

    Args:
        config: The experiment, which names the form.
        classes: Names of the classes.
        cases: case_id and image of the cases, and perhaps own_id; where there is a sample submission, those it names
            are to be submitted, :attr:`cases`.
        source: Reads the cases; the sample submission lies below its root.
        own_classes: What a table without a sample calls the classes; those that are not there keep their names.
        groups: The study or patient of every case, where these are submitted.

    Raises:
        UserError: the form does not fit the task, or the sample submission does not fit the cases.
    """

    def __init__(
        self,
        config: Task,
        classes: tuple[str, ...],
        cases: pd.DataFrame,
        source: Source,
        own_classes: Mapping[str, str] = MappingProxyType({}),
        groups: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self._own_classes, self.groups = own_classes, groups
        root = source.root
        if config.submission == "rle" and config.dimensions != 2:
            raise UserError(f"{config.spec}: submission = 'rle' is for images; write submission = 'masks' for volumes")
        if config.submission != "csv" and config.kind != "segmentation":
            raise UserError(f"{config.spec}: submission = {config.submission!r} needs a segmentation; write 'csv'")
        if config.submission == "detections" and config.finder is None:
            raise UserError(f"{config.spec}: submission = 'detections' needs Detect2D or Detect3D; write 'csv'")
        if isinstance(source, TiledSource) and config.submission not in ("csv", "rle"):
            raise UserError(f"{config.spec}: large images are submitted as run lengths: write submission = 'rle'")
        self._checked_as = "number" if config.kind == "regression" else config.submission
        self.config = config
        named = as_groups(cases, groups) if groups else with_own_ids(cases, config)
        own_form = type(config).write_submission is not Task.write_submission
        self.form, self.classes, self._runs = config.submission, classes, run_lengths(config, source)
        self.sample = (
            None
            if config.sample_submission is None or own_form
            else read_sample(find_sample(root, config.sample_submission))
        )
        grades = {} if self.sample is None else sample_form(self.sample, classes).grades
        if grades and self.form != "detections" and (self.form != "csv" or config.kind != "classification"):
            raise UserError(
                f"{config.spec}: the sample submission has one value column, which can hold the classes of a case "
                "only of a classification with submission = 'csv': name the classes in it"
            )
        self._separator = "" if not grades or source.exclusive else str(source.options.get("separator") or " ")
        if unknown := [called for label, called in own_classes.items() if grades.get(label) == label != called]:
            raise UserError(
                f"{config.spec}: the sample submission has one value column, which does not show how it spells the "
                f"class {unknown[0]!r}: write each class once in it, in any row"
            )
        self._grades = bool(grades)
        named = named if self.sample is None else asked_for(named, self.sample, self.classes)
        self.names = case_names(named, self.sample, self.classes)
        asked = set(self.names.values())
        self.cases = cases[[groups[case] in asked for case in cases.case_id]] if groups else named
        if self.form == "masks":
            stems = {case_id: self._stem(case_id, name) for name, case_id in self.names.items()}
            check_names(stems.values(), classes, overlapping=not source.exclusive and len(classes) > 1)
        self._like = {row.case_id: nifti_path(root, row.image) for row in self.cases.itertuples()}
        self._affines: dict[str, np.ndarray | None] = {}
        self._sizes: dict[str, tuple[int, int]] = {}  # of the images' last two axes

    def watch(self, images: Iterable[tuple[str, Image]]) -> Iterator[tuple[str, Image]]:
        """Pass images on, and remember where in space they lie."""
        for case_id, image in images:
            height, width = image.full_shape[-2:]
            self._affines[case_id], self._sizes[case_id] = image.affine, (height, width)
            yield case_id, image

    def write(self, results: Iterable[Blended], stem: Path) -> Path:
        """Write the file ``stem`` with the ending of its form.

        Raises:
            UserError: a value is out of range, or the table is not what the sample asks for; nothing is written.
        """
        own = self.config.write_submission(results, stem)
        if own is not None:
            return own
        if self.form == "masks":
            write_zip(stem.with_name(f"{stem.name}.zip"), self._masks(results))
            return stem.with_name(f"{stem.name}.zip")
        table = self._table(results)
        text, path = table.to_csv(index=False, lineterminator="\n"), stem.with_name(f"{stem.name}.csv")
        # what is checked is what a reader of the file will see
        self.check(read_submission(io.StringIO(text), path.name), path.name)
        files.write_text(path, text)
        return path

    def check(self, table: pd.DataFrame, name: str) -> None:
        """Refuse a submission, as text, that a competition would not score as meant.

        Args:
            table: The submission.
            name: What messages call it.

        Raises:
            UserError: naming the row, the column and the remedy.
        """
        if self.form == "detections":
            check_table(self._detect, table, self.names, name)
            return
        sizes: dict[str, tuple[int, int]] = {}
        expected = self._expected()
        if self.form == "rle":
            ids = list(expected.iloc[:, 0])
            names = ids if self.sample is None else sample_form(self.sample, self.classes).names
            known = {one: self._sizes.get(self.names[name]) for one, name in zip(ids, names, strict=True)}
            sizes = {one: size for one, size in known.items() if size is not None}  # else of a large image
        grades = {} if self.sample is None else sample_form(self.sample, self.classes).grades
        form = "class" if grades else self._checked_as
        check(table, expected, form, sizes, name, self._runs, grades.values(), self._separator)

    @property
    def _detect(self) -> Detect:
        return cast("Detect", self.config)

    def _table(self, results: Iterable[Blended]) -> pd.DataFrame:
        """The table of what is predicted."""
        if self.form != "detections":
            return self._arrange({result.case_id: self._values(result) for result in results})
        names = {case_id: name for name, case_id in self.names.items()}
        own = tuple(self._own_classes.get(label, label) for label in self.classes)
        found = ((names[result.case_id], result.detections) for result in results)
        return detection_table(self._detect, found, own, self.sample)

    def _expected(self) -> pd.DataFrame:
        """Columns and ids of the submission; the values do not count."""
        if self.sample is not None:
            return self.sample
        blank = {case_id: dict.fromkeys(self.classes, "") for case_id in self.names.values()}
        return self._arrange(blank).astype(str)

    def _arrange(self, values: dict[str, Any]) -> pd.DataFrame:
        """The table of the values, under the classes' own names where no sample says what to call them."""
        table = arrange(values, self.names, self.classes, self.sample, self.form, self._separator)
        if self.sample is not None:
            return table
        table = table.rename(columns=self._own_classes)
        return table.assign(**{"class": table["class"].replace(dict(self._own_classes))}) if "class" in table else table

    def _values(self, result: Blended) -> dict[str, float] | dict[str, str]:
        if result.mask is not None:
            height, width = result.mask.shape[-2:]
            self._sizes[result.case_id] = height, width
        if self._grades and result.labels is not None:  # thresholds or cut points decided, not the probabilities alone
            chosen = result.labels if result.labels.any() else result.scores == result.scores.max()
            return dict(zip(self.classes, chosen.astype(float).tolist(), strict=True))
        return case_values(result, self.form, self.classes, self._runs, empty_text(self.sample))

    def _stem(self, case_id: str, name: str) -> str:
        """File name of a case's mask without ending; an id of a table may be no file name, one of a sample is asked."""
        return (case_id if self.sample is None else name).partition(".nii")[0]

    def _masks(self, results: Iterable[Blended]) -> Iterator[tuple[str, bytes]]:
        stems = {case_id: self._stem(case_id, name) for name, case_id in self.names.items()}
        for result in results:
            case_id = result.case_id
            stem, mask = stems[case_id], mask_of_result(result)
            read = case_id in self._affines  # the mask of a case that cannot be read has no grid
            affine, like = (self._affines[case_id], self._like[case_id]) if read else (None, None)
            yield from mask_files(stem, mask, self.classes, affine=affine, like=like)


def cases_to_submit(dataset: Dataset) -> pd.DataFrame:
    """The unlabeled cases of a dataset in its own order, with what it calls them itself in the column ``own_id``.

    Of tiles these are the images.
    """
    if isinstance(dataset.source, TiledSource):
        return dataset.source.unlabeled()
    cases, own = dataset.part("submit"), dataset.source.own_ids()
    place = {case_id: number for number, case_id in enumerate(own)}
    ordered = cases.iloc[sorted(range(len(cases)), key=lambda row: place.get(cases["case_id"].iloc[row], 0))]
    return ordered.reset_index(drop=True).assign(own_id=[own.get(case_id, case_id) for case_id in ordered.case_id])


def as_groups(cases: pd.DataFrame, groups: Mapping[str, str]) -> pd.DataFrame:
    """A row per study or patient, called by its name, in place of its cases."""
    named = [groups[case_id] for case_id in cases["case_id"]]
    return cases.assign(case_id=named, own_id=named).drop_duplicates("case_id", ignore_index=True)


def check_form(config: Task, dataset: Dataset) -> None:
    """Check before any training that the sample submission can be filled: its form, columns, classes and ids.

    Raises:
        UserError: it cannot; names what does not fit and the remedy.
    """
    cases = cases_to_submit(dataset)
    if config.sample_submission is not None and len(cases):
        level = getattr(config, "level", CASE)
        groups = {} if level == CASE else dict(zip(cases.case_id, groups_of(dataset.source, cases, level), strict=True))
        SubmissionWriter(config, dataset.classes, cases, dataset.source, dataset.source.own_classes(), groups)


def nifti_path(root: Path, image: str) -> Path | None:
    """The NIfTI file a case was read from, or None for other formats."""
    path = root / image_paths(image)[0]
    return path if "#" not in path.name and path.is_file() and format_of(path) == "nifti" else None


def write_zip(path: Path, contents: Iterable[tuple[str, bytes]]) -> None:
    """Write files into a zip, atomically and with the same bytes every time."""
    with files.atomic(path) as handle, zipfile.ZipFile(handle, "w") as archive:
        for name, content in contents:
            archive.writestr(files.zip_entry(name), content)
