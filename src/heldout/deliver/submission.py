"""Files for a competition: probabilities, run-length masks, or a zip of masks; checked before they exist."""

from __future__ import annotations

import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from heldout import files
from heldout.blend.decision import Decision
from heldout.config import load
from heldout.data.image import Image
from heldout.deliver import rle
from heldout.deliver.masks import mask_files
from heldout.deliver.sample import arrange, case_names, check, empty_text, image_paths, read_sample
from heldout.errors import UserError


def submit(decision: Decision) -> Path:
    """Predict the unlabelled cases of a decision's dataset and write the competition's file.

    Args:
        decision: A verified decision.

    Returns:
        ``submissions/<name>.csv``, or ``.zip`` for masks.

    Raises:
        UserError: there is nothing to submit, or the file would not match the sample submission; an earlier
            file of that name stays as it was.
    """
    from heldout.blend.apply import apply_decision
    from heldout.data.cases import open_dataset

    config = load(decision.members[0]["spec"])
    dataset = open_dataset(config)
    cases = dataset.part("submit")
    if cases.empty:
        raise UserError(
            f"dataset {config.dataset} has no cases to submit, none without a label: for a folder of new files "
            f"use `python run.py predict {decision.name} --input DIR --output DIR`"
        )
    if config.submission == "rle" and dataset.dimensions != 2:
        raise UserError(f"{config.spec}: submission = 'rle' is for images; write submission = 'masks' for volumes")
    if config.submission != "csv" and config.kind != "segmentation":
        raise UserError(f"{config.spec}: submission = {config.submission!r} needs a segmentation; write 'csv'")
    root = dataset.source.root
    sample = None if config.sample_submission is None else read_sample(root / config.sample_submission)
    names = case_names(cases, sample, dataset.classes)

    affines: dict[str, np.ndarray | None] = {}

    def images() -> Iterator[tuple[str, Image]]:
        for case_id in cases.case_id:
            image = dataset.read_image(case_id)
            affines[case_id] = image.affine
            yield case_id, image

    results = apply_decision(decision, images())
    folder = files.home() / "submissions"
    if config.submission == "masks":
        shown = {case_id: name for name, case_id in names.items()}
        like = {row.case_id: nifti_path(root, row.image) for row in cases.itertuples()}

        def contents() -> Iterator[tuple[str, bytes]]:
            for result in results:
                case_id = result.case_id
                stem, affine = shown[case_id].partition(".nii")[0], affines[case_id]
                yield from mask_files(stem, result.mask, dataset.classes, affine=affine, like=like[case_id])

        write_zip(folder / f"{decision.name}.zip", contents())
        return folder / f"{decision.name}.zip"

    values = {}
    for result in results:
        if config.submission == "rle":
            values[result.case_id] = mask_texts(result.mask, dataset.classes, empty_text(sample))
        else:
            values[result.case_id] = probabilities(result.scores, dataset.classes)
    table = arrange(values, names, dataset.classes, sample, config.submission)
    check(table, sample, config.submission)
    files.write_text(folder / f"{decision.name}.csv", table.to_csv(index=False, lineterminator="\n"))
    return folder / f"{decision.name}.csv"


def probabilities(scores: np.ndarray, classes: tuple[str, ...]) -> dict[str, float]:
    """Probability of every class, rounded to six digits."""
    return {label: round(float(value), 6) for label, value in zip(classes, scores, strict=True)}


def mask_texts(mask: np.ndarray, classes: tuple[str, ...], empty: str = "") -> dict[str, str]:
    """Run-length text of every class, from a label map (1, H, W) or from one channel per class (K, H, W)."""
    channels = [mask[0] == index + 1 for index in range(len(classes))] if len(mask) == 1 else mask
    return {label: rle.encode(channel) or empty for label, channel in zip(classes, channels, strict=True)}


def nifti_path(root: Path, image: str) -> Path | None:
    """The NIfTI file a case was read from, or None for other formats."""
    first = image_paths(image)[0]
    return root / first if first.endswith((".nii", ".nii.gz")) else None


def write_zip(path: Path, contents: Iterable[tuple[str, bytes]]) -> None:
    """Write files into a zip, atomically and with the same bytes every time."""
    with files.atomic(path) as handle, zipfile.ZipFile(handle, "w") as archive:
        for name, content in contents:
            archive.writestr(zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0)), content)
