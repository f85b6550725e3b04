"""A folder of new files in, masks and probabilities out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from heldout import files
from heldout.blend.apply import Blended, OpenDecision
from heldout.blend.together import gathered_by, groups_by_case, put_together, slices_by
from heldout.data.image import Image
from heldout.data.sources import Source, identifier
from heldout.data.sources.tiled import TiledSource
from heldout.deliver.case_log import CaseLog, LoggedCase, Part, is_begun, key_of, members_of, stamp_of, unfinished
from heldout.deliver.dicom_seg import check_packages, segmentation_file
from heldout.deliver.large_images import predict_large_images
from heldout.deliver.masks import check_names, mask_files, uncertainty_file
from heldout.deliver.predict_tables import seen_together, write_groups, write_table, write_tables
from heldout.deliver.submission.write import nifti_path
from heldout.errors import UserError
from heldout.metrics.uncertainty import Uncertainty, region_means

_SKIP_HINT = "(--skip-bad sets such files aside)"


@dataclass
class Outcome:
    """What ``predict`` did: the table, once all cases are in it, and how many files went which way."""

    table: Path | None
    counts: Counter[str] = field(default_factory=Counter)
    masks: int = 0
    left: int = 0  # cases of other parts


def predict_folder(
    opened: OpenDecision,
    folder: Path,
    output: Path,
    *,
    skip_bad: bool,
    force: bool,
    uncertainty: bool = False,
    dicomseg: bool = False,
    part: Part | None = None,
) -> Outcome:
    """Predict every case of a folder, or go on where the same command was killed.

    Args:
        opened: A verified decision.
        folder: New files, in the dataset's own layout or loose.
        output: Folder to write: one mask per case under the input's name, ``detections.csv`` where something is
            detected, and ``predictions.csv``, written last.
        skip_bad: Predict files that are damaged but readable in part, list the unreadable ones, and continue.
        force: Replace files of the same name in an output folder that is not empty.
        dicomseg: Write masks as DICOM segmentations on the frames of the input, which must be DICOM.
        uncertainty: Say in further columns, and of segmentations in a map per case, how far the networks agree.
        part: Only these cases; whoever finishes the last of all writes the tables. None is all that are not finished.

    Raises:
        UserError: nothing to predict, an unreadable file, cases that share an id, or an output folder that must not be
            written to.
    """
    from heldout.data.sources import source_class

    folder, output = folder.resolve(), output.resolve()
    check_folders(folder, output, force=force)
    decision, config = opened.decision, opened.config
    if dicomseg:
        check_packages()
        if decision.kind != "segmentation":
            raise UserError(f"{decision.name} makes no masks: leave out --format dicomseg")
    source = source_class(config.source)(folder, **config.source_options)  # the dataset itself may be elsewhere
    if isinstance(source, TiledSource):
        if part is not None:
            raise UserError(f"--part: the pictures of {folder} are predicted region by region; leave it out")
        return _predict_large(opened, source, folder, output, skip_bad)
    groups = groups_by_case(decision, source, source.loose(folder)) if gathered_by(decision) else {}
    volumes = groups if slices_by(decision) else {}
    log = CaseLog(output, key_of(decision.identity, str(folder), skip_bad, uncertainty, dicomseg))
    log.refuse_others(force=force)
    rows, unread = list_cases(source, folder, skip_bad=skip_bad)
    rows |= {str(folder / name): {"name": name} for name in unread}
    stamps = {
        case_id: stamp_of(source.files(row["image"]) if "image" in row else [folder / row["name"]])
        for case_id, row in rows.items()
    }
    for slices in members_of(rows, volumes).values() if volumes else []:
        of_volume = key_of(*sorted((one, stamps[one]) for one in slices))
        stamps |= dict.fromkeys(slices, of_volume)
    with log.open(part or Part()) as handle:
        done = log.read(stamps)
        cases = unfinished(list(rows), done, part or Part(), volumes)
        notes = {
            case_id: ("skipped", unread[rows[case_id]["name"]])
            if rows[case_id]["name"] in unread
            else examine(source, rows[case_id], skip_bad=skip_bad)
            for case_id in cases
        }
        stems = output_stems({case_id: row["name"] for case_id, row in rows.items() if row["name"] not in unread})
        if decision.kind == "segmentation" and not dicomseg:
            overlapping = not decision.exclusive and len(decision.classes) > 1
            check_names(stems.values(), decision.classes, overlapping=overlapping, uncertainty=uncertainty)
        for case_id, (status, note) in notes.items():
            if status == "skipped":
                log.add(handle, LoggedCase(case_id=case_id, stamp=stamps[case_id], status=status, note=note))
        waiting: dict[str, Image] = {}

        def images() -> Iterator[tuple[str, Image]]:
            for case_id, (status, _) in notes.items():
                if status != "skipped":
                    waiting[case_id] = source.read_image(rows[case_id], salvage=status == "salvaged")
                    yield case_id, waiting[case_id]

        def write(result: Blended, image: Image) -> None:
            row, masks, unsure = rows[result.case_id], 0, result.uncertainty
            if result.mask is not None and result.map is not None:
                like = nifti_path(folder, row["image"])
                stem = stems[result.case_id]
                if dicomseg:
                    contents = [segmentation_of(opened, stem, result.mask, image, row["image"], folder)]
                else:
                    contents = [*mask_files(stem, result.mask, decision.classes, affine=image.affine, like=like)]
                masks = len(contents)
                if unsure is not None:
                    outcomes = len(decision.classes) + 1 if decision.exclusive else 2
                    contents.append(uncertainty_file(stem, unsure.total, outcomes, affine=image.affine, like=like))
                    unsure = region_means(unsure, np.any(result.mask > 0, axis=0))
                for name, content in contents:
                    files.write_bytes(output / name, content)
            log.add(handle, _logged(result, stamps[result.case_id], notes[result.case_id], unsure, masks))

        with ThreadPoolExecutor(max_workers=1) as writer:  # while the next case is predicted
            last: Future[None] | None = None
            results = opened.predict(images(), uncertainty=uncertainty)
            read = {name: group for name, group in volumes.items() if name in notes and notes[name][0] != "skipped"}
            for result in put_together(decision, results, read) if volumes else results:
                if last is not None:
                    last.result()
                last = writer.submit(write, result, waiting.pop(result.case_id))
            if last is not None:
                last.result()
        with log.finish(handle):
            done = log.read(stamps)
            outcome = Outcome(None, Counter(one.status for one in done.values()))
            outcome.masks = sum(one.masks for one in done.values())
            outcome.left = len(rows.keys() - done.keys())
            if not outcome.left:
                done = {case_id: done[case_id] for case_id in rows}  # whichever part ended first
                if decision.postprocess.by and not volumes:
                    done = seen_together(decision, groups, done)
                if decision.pooling:
                    write_groups(
                        output / f"predictions_by_{identifier(decision.pooling.level)}.csv", decision, groups, done
                    )
                write_tables(opened, source.dimensions, output, rows, done)
                outcome.table = output / "predictions.csv"
    if outcome.table is not None:
        log.remove()
    return outcome


def _logged(result: Blended, stamp: str, note: tuple[str, str], unsure: Uncertainty | None, masks: int) -> LoggedCase:
    found = result.detections
    return LoggedCase(
        case_id=result.case_id,
        stamp=stamp,
        status=note[0],
        note=note[1],
        scores=tuple(map(float, result.scores)),
        uncertainty=None if unsure is None else (float(unsure.total), float(unsure.aleatoric), float(unsure.epistemic)),
        abstain=result.abstain or "",
        detections=None if found is None else tuple(tuple(map(float, row)) for row in found),
        masks=masks,
        members=tuple(tuple(map(float, one.scores)) for one in result.members),
    )


def _predict_large(opened: OpenDecision, source: Source, folder: Path, output: Path, skip_bad: bool) -> Outcome:
    """Predict pictures that are read region by region."""
    rows, notes = find_cases(source, folder, skip_bad=skip_bad)
    bad = {rows[case_id]["name"]: note for case_id, note in notes.items() if note[0] != "ok"}
    used = {case_id: row for case_id, row in rows.items() if row["name"] not in bad}
    of_picture = predict_large_images(opened, source, used, output)
    pictures = {row["name"]: row for row in rows.values()}
    notes = {name: bad.get(name, ("ok", "")) for name in pictures}
    write_table(output / "predictions.csv", pictures, of_picture, notes, opened.decision.classes)
    return Outcome(output / "predictions.csv", Counter(status for status, _ in notes.values()), len(of_picture))


def segmentation_of(
    opened: OpenDecision, stem: str, mask: np.ndarray, image: Image, source: str, root: Path
) -> tuple[str, bytes]:
    """Name and content of a case's DICOM segmentation; see :func:`heldout.deliver.dicom_seg.segmentation_file`."""
    decision = opened.decision
    return segmentation_file(
        stem,
        mask,
        decision.classes,
        affine=image.affine,
        source=source,
        root=root,
        decision=decision.name,
        seal=decision.identity,
    )


def check_folders(folder: Path, output: Path, *, force: bool) -> None:
    """Refuse output folders that could hurt the input or an earlier prediction.

    Raises:
        UserError: no such input, the two folders hold one another, or the output is not empty and ``force`` is off.
    """
    if not folder.is_dir():
        raise UserError(f"--input {folder} is not a folder: give the folder that holds the new files")
    if output.is_relative_to(folder) or folder.is_relative_to(output):
        raise UserError(
            f"--output {output} and --input {folder} contain one another: choose an output folder elsewhere"
        )
    if output.exists() and not output.is_dir():
        raise UserError(f"--output {output} is a file: give a folder")
    if output.is_dir() and any(output.iterdir()) and not force and not is_begun(output):
        raise UserError(f"--output {output} is not empty: choose another, or add --force to replace files in it")


def list_cases(source: Source, folder: Path, *, skip_bad: bool) -> tuple[dict[str, Mapping[str, Any]], dict[str, str]]:
    """Every case of a folder by its id, and by its name why an image of a kind that the source does not read is none.

    Raises:
        UserError: two cases share an id, or a file is of such a kind and ``skip_bad`` is off.
    """
    rows: dict[str, Mapping[str, Any]] = {}
    for row in source.loose(folder).to_dict("records"):
        other = rows.setdefault(row["case_id"], row)
        if other is not row:
            both = f"{other['name']} and {row['name']}"
            raise UserError(f"{folder}: {both} have the same case id {row['case_id']}: rename one of them")
    unread = source.unread(folder, rows.values())
    if unread and not skip_bad:
        raise UserError(f"{next(iter(unread.values()))} {_SKIP_HINT}")
    return rows, unread


def find_cases(
    source: Source, folder: Path, *, skip_bad: bool
) -> tuple[dict[str, Mapping[str, Any]], dict[str, tuple[str, str]]]:
    """Every case of a folder: its row and what :func:`examine` says of it, both by its id.

    Images of a kind that the source does not read are cases too, by their path, and ``skipped``.

    Raises:
        UserError: as :func:`list_cases`, or a file is bad and ``skip_bad`` is off.
    """
    rows, unread = list_cases(source, folder, skip_bad=skip_bad)
    notes = {case_id: examine(source, row, skip_bad=skip_bad) for case_id, row in rows.items()}
    for name, reason in unread.items():
        rows[str(folder / name)], notes[str(folder / name)] = {"name": name}, ("skipped", reason)
    return rows, notes


def examine(source: Source, row: Mapping[str, Any], *, skip_bad: bool) -> tuple[str, str]:
    """Read a case once before anything is predicted: (``ok`` | ``salvaged`` | ``skipped``, note).

    Raises:
        UserError: the file is bad and ``skip_bad`` is off.
    """
    try:
        source.read_image(row)
        return "ok", ""
    except UserError as error:
        if not skip_bad:
            hint = "" if "--skip-bad" in str(error) else f" {_SKIP_HINT}"
            raise UserError(f"{error}{hint}") from None
        reason = str(error)
    try:
        source.read_image(row, salvage=True)
        return "salvaged", f"damaged, predicted from what could be read: {reason}"
    except UserError:
        return "skipped", reason


def output_stems(names: dict[str, str]) -> dict[str, str]:
    """Output names without ending: the input's, or its full name where two inputs differ by their ending only."""
    short = {case_id: _stem(name) for case_id, name in names.items()}
    taken = Counter(short.values())
    return {case_id: stem if taken[stem] == 1 else names[case_id] for case_id, stem in short.items()}


def _stem(name: str) -> str:
    path = Path(name)
    ending = ".nii.gz" if path.name.endswith(".nii.gz") else path.suffix
    return str(path.with_name(path.name.removesuffix(ending)))
