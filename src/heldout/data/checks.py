"""Every case is read once before anything is trained: what is wrong with it is said by name, or set aside in a list."""

from __future__ import annotations

import contextlib
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from heldout.data import readers
from heldout.data.image import BadFile, Image, invertible
from heldout.data.parallel import map_cases
from heldout.data.prepare import ArrayStore
from heldout.data.records import PreparedCase
from heldout.data.signature import ImageSignature, content_hash, signature
from heldout.data.sources import Source
from heldout.errors import UserError
from heldout.metrics.ignored import IGNORED

SAFE_ID = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,149}")
PARTS = ("", "train", "test", "submit", "extra")
SHOWN = 5
AFFINE_TOLERANCE = 1e-3  # mm: headers store rounded numbers


@dataclass(frozen=True)
class Checked:
    """What reading a sound case once leaves behind.

    Attributes:
        labels: Value of every ``y_<class>``; NaN for a case without labels, or a class of which nothing is known.
        content_hash: SHA-256 of the image's pixels.
        mask_hash: SHA-256 of the mask's pixels, "" without a mask.
        channels: Channels of the image.
        signature: By which near-duplicates are found.
        note: What had to be assumed to read it; "" for nothing.
        prepared: Manifest entry of the arrays that were written while the case was in memory; None without any.
    """

    labels: dict[str, float]
    content_hash: str
    mask_hash: str
    channels: int
    signature: ImageSignature
    note: str = ""
    prepared: PreparedCase | None = None


@dataclass(frozen=True)
class CaseProblem:
    """A case that cannot be used: which, in which file, and why."""

    case_id: str
    file: str
    reason: str


def check_case(source: Source, row: Mapping[str, Any], store: ArrayStore | None = None) -> Checked:
    """Read one case once and check everything that can be seen from it alone.

    Args:
        source: The dataset's source.
        row: One row of the source's index.
        store: Prepares a case that can be trained on, so that it need not be read again; None only checks.

    Raises:
        BadFile: the case cannot be trusted; the message names it, or its file, and the remedy.
    """
    image = _guarded(source.read_image, row, salvage=row["split"] == "submit")
    _check_image(source, row, image)
    labels = {name: float(row[f"y_{name}"]) for name in source.classes}
    mask, mask_hash = None, ""
    if row["split"] != "submit":
        if row["mask"] or source.kind == "segmentation":
            mask = _guarded(source.read_mask, row)
            _check_mask(source, row, image, mask)
            _check_mask_place(source, row, image)
            mask_hash = content_hash(mask)
            if source.kind == "segmentation" or np.isnan(list(labels.values())).any():
                labels = dict(zip(source.classes, presence(mask, len(source.classes)), strict=True))
        _check_labels(source, row, labels)
    content, entry = content_hash(image.array), None
    if store is not None and row["split"] in ("", "train", "extra"):
        with contextlib.suppress(BadFile):  # a sound case that does not fit these settings: training will say so
            entry = store.write({**row, "content_hash": content}, row["split"] or "train", image, mask)
    return Checked(labels, content, mask_hash, len(image.array), signature(image), image.note, entry)


def presence(mask: np.ndarray, classes: int) -> list[float]:
    """1.0 for each class that a mask (M, *spatial) holds, else 0.0."""
    if len(mask) == classes and classes > 1:
        return [float((channel == 1).any()) for channel in mask]
    counts = np.bincount(mask.ravel(), minlength=classes + 1)
    return [float(count > 0) for count in counts[1 : classes + 1]]


def check_cases(
    source: Source,
    index: pd.DataFrame,
    *,
    store: ArrayStore | None = None,
    progress: bool = True,
    workers: int | None = None,
) -> tuple[list[Checked | None], list[CaseProblem]]:
    """Check every row of an index, and prepare it at the same reading where a ``store`` is given.

    Returns:
        One result per row, None for a bad one; and all problems, in the order of the rows.
    """
    rows = index.to_dict("records")
    listed = _index_problems(rows)
    results: list[Checked | None] = []
    problems: list[CaseProblem] = []
    for row, result in zip(
        rows,
        map_cases(
            _check_chunk,
            (source, store, frozenset(listed)),
            rows,
            "Checking cases",
            progress=progress,
            workers=workers,
            memory=source.memory,
        ),
        strict=True,
    ):
        reason = listed.get(row["case_id"]) or (result if isinstance(result, str) else "")
        if reason:
            problems.append(CaseProblem(row["case_id"], first_file(source, row), reason))
        results.append(None if reason or isinstance(result, str) else result)
    return _drop_odd_channels(source, rows, results, problems)


def refuse(problems: list[CaseProblem], where: str) -> None:
    """Stop because of bad cases, naming the first few.

    Raises:
        UserError: always.
    """
    lines = [f"\n  {problem.case_id}: {problem.reason}" for problem in problems[:SHOWN]]
    more = f"\n  ... and {len(problems) - SHOWN} more" if len(problems) > SHOWN else ""
    raise UserError(
        f"{where}: {len(problems)} of its cases cannot be used. Correct the files, or set the cases aside with "
        f"--skip-bad (skip_bad = True in the experiment); they are then listed with reasons in skipped.csv."
        + "".join(lines)
        + more
    )


def first_file(source: Source, row: Mapping[str, Any]) -> str:
    """First image file of a case, relative to the dataset, for messages and lists."""
    return source.relative(source.paths(row["image"])[0])


def _check_chunk(
    source: Source, store: ArrayStore | None, refused: frozenset[str], rows: list[dict[str, Any]]
) -> list[Checked | str]:
    results: list[Checked | str] = []
    for row in rows:
        try:
            results.append(check_case(source, row, None if row["case_id"] in refused else store))
        except UserError as error:
            results.append(str(error))
    return results


def _guarded(read: Any, row: Mapping[str, Any], **options: Any) -> Any:
    """Read, and turn what a decoder may throw at a damaged file into a complaint about that case."""
    try:
        return read(row, **options)
    except UserError:
        raise
    except Exception as error:
        raise BadFile(
            f"case {row['case_id']} cannot be read ({type(error).__name__}: {error}): repair its file"
        ) from error


def _check_image(source: Source, row: Mapping[str, Any], image: Image) -> None:
    array, case = image.array, f"case {row['case_id']}"
    if array.ndim != source.dimensions + 1 or not array.size:
        raise BadFile(f"{case} has shape {array.shape}: an image needs a channel and {source.dimensions} filled axes")
    if not np.issubdtype(array.dtype, np.integer) and not np.isfinite(array).all():
        raise BadFile(f"{case} holds NaN or infinite values: replace them or leave the case out")
    if array.min() == array.max():
        raise BadFile(f"{case} is empty, every pixel is {array.flat[0]}: restore its file or leave the case out")
    if image.affine is not None and not invertible(image.affine):
        raise BadFile(f"{case} has an affine that is not invertible: repair the header of its file")


def _check_mask(source: Source, row: Mapping[str, Any], image: Image, mask: np.ndarray) -> None:
    case, classes = f"case {row['case_id']}", len(source.classes)
    if mask.shape[1:] != image.full_shape:
        raise BadFile(f"{case}: its mask has shape {mask.shape[1:]}, its image {image.full_shape}: they must agree")
    if not np.issubdtype(mask.dtype, np.integer):
        raise BadFile(f"{case}: its mask holds {mask.dtype} values: store whole numbers")
    channels = 1 if source.exclusive or classes == 1 else classes
    if len(mask) != channels:
        raise BadFile(f"{case}: its mask has {len(mask)} channels instead of {channels}: one per overlapping class")
    largest = classes if channels == 1 else 1
    unknown = np.unique(mask[mask > largest])
    if source.ignores:
        unknown = unknown[unknown != IGNORED]
    if len(unknown):
        leave_out = IGNORED in unknown and "ignore" in source.defaults
        remedy = (
            f'; for pixels without loss and score set source_options = {{"ignore": {IGNORED}}}' if leave_out else ""
        )
        raise BadFile(
            f"{case}: its mask holds the unknown label {', '.join(map(str, unknown[:SHOWN]))}; 0 ... {largest} are "
            f"known (background, {', '.join(source.classes)}): correct the mask or the source's classes{remedy}"
        )


def _check_mask_place(source: Source, row: Mapping[str, Any], image: Image) -> None:
    """A mask of the right shape may still lie elsewhere in the patient."""
    if image.affine is None or not row["mask"]:
        return
    for path in source.paths(row["mask"]):
        affine = readers.header_affine(path)
        if affine is not None and not np.allclose(affine, image.affine, atol=AFFINE_TOLERANCE):
            raise BadFile(
                f"case {row['case_id']}: {path.name} has another affine than its image, so it covers another region: "
                f"resample the mask to the image's grid, or correct its header"
            )


def _check_labels(source: Source, row: Mapping[str, Any], labels: dict[str, float]) -> None:
    case, values = f"case {row['case_id']}", list(labels.values())
    several = source.kind == "classification" and len(values) > 1 and not source.exclusive
    if several and not np.isnan(values).all():  # what is unknown of a class is neither learned nor scored
        values = [value for value in values if not np.isnan(value)]
    if np.isnan(values).any():
        missing = next(name for name, value in labels.items() if np.isnan(value))
        raise BadFile(f"{case} has no label for {missing}: fill it in, or mark the case as split 'submit'")
    if source.kind == "regression":
        if np.isinf(values).any():
            raise BadFile(f"{case} has the targets {labels}: every target must be a finite number")
        return
    if not set(values) <= {0.0, 1.0}:
        raise BadFile(f"{case} has the labels {labels}: every label must be 0 or 1")
    if source.kind == "classification" and source.exclusive and len(values) > 1 and sum(values) != 1:
        raise BadFile(f"{case} has {int(sum(values))} of the exclusive classes {', '.join(labels)}: mark exactly one")


def _index_problems(rows: list[dict[str, Any]]) -> dict[str, str]:
    """What the table alone shows, by case id."""
    counts = Counter(row["case_id"] for row in rows)
    found: dict[str, str] = {}
    for row in rows:
        case_id = row["case_id"]
        if counts[case_id] > 1:
            found[case_id] = f"the case id occurs {counts[case_id]} times: give every case an id of its own"
        elif not SAFE_ID.fullmatch(case_id):
            found[case_id] = (
                "a case id becomes a file name, so it may hold letters, digits, '.', '_' and '-', not start with '.', "
                "and have 150 characters at most: rename the case"
            )
        elif not row["patient_id"]:
            found[case_id] = "it names no patient: fill in its patient id, or use the case id"
        elif row["split"] not in PARTS:
            found[case_id] = f"split {row['split']!r} is unknown: use train, test, submit or nothing"
    return found


def _drop_odd_channels(
    source: Source, rows: list[dict[str, Any]], results: list[Checked | None], problems: list[CaseProblem]
) -> tuple[list[Checked | None], list[CaseProblem]]:
    """Find cases whose channel count differs from the rest; gray and RGB images may mix, as they can be converted."""
    counts = Counter(result.channels for result in results if result is not None)
    if not counts:
        return results, problems
    usual = max(counts, key=lambda channels: (counts[channels], -channels))
    fine = {1, 3} if source.dimensions == 2 and usual in (1, 3) else {usual}
    for position, result in enumerate(results):
        if result is not None and result.channels not in fine:
            reason = f"it has {result.channels} channels, most cases have {usual}: convert it"
            problems.append(CaseProblem(rows[position]["case_id"], first_file(source, rows[position]), reason))
            results[position] = None
    return results, problems
