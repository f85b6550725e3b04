"""A check for shortcuts: whether facts about the files, without pixels, predict a label or separate train from test.

A random forest sees one kind of facts about the files alone, is trained without a fold's patient groups, and predicts
them. Its AUC on them is far above 0.5 where the facts predict the label. Networks can read several of them off the
pixels: compression, size and mode leave traces.
"""

from __future__ import annotations

import contextlib
import math
import re
import zlib
from collections.abc import Mapping
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from heldout import files
from heldout.data import readers
from heldout.data.pack.source import PackedSource
from heldout.data.records import SCHEMA, OutsideRecord, OutsideRow
from heldout.data.sources.layout import image_paths
from heldout.errors import UserError
from heldout.metrics.jackknife import interval
from heldout.progress import track
from heldout.records import read_record

if TYPE_CHECKING:
    from heldout.data.dataset import Dataset

KINDS = {  # of facts: how they are called
    "type": "file type",
    "size": "file size",
    "shape": "width and height",
    "mode": "color mode and bits",
    "tags": "tags of the file",
    "name": "file name",
    "picture": "a gray thumbnail",  # on disk
}
FILE = "outside.json"  # in the dataset's folder
BUCKETS = 64  # that words are hashed into
FEWEST = 20  # cases, and cases of each kind, below which nothing is said
COMPARED = 400  # images of each part that are read to tell train from test
FOLDS = 5  # of telling train from test
MINIATURE = 8
DICOM_TAGS = (
    *("Manufacturer", "ManufacturerModelName", "InstitutionName", "SoftwareVersions", "Modality", "BodyPartExamined"),
    *("MagneticFieldStrength", "KVP", "SliceThickness", "SeriesDescription", "ProtocolName", "PatientSex"),
)


def outside_report(dataset: Dataset, *, progress: bool = True) -> OutsideRecord | None:
    """How well labels, and the unlabeled part, are predicted without the pixels; computed once per dataset.

    Args:
        dataset: The checked dataset.
        progress: Show a progress bar.

    Returns:
        None of a dataset that was unpacked without its raw files.
    """
    if isinstance(dataset.source, PackedSource):
        return None
    path, key = dataset.folder / FILE, files.sha256_json([2, dataset.data_hash, dataset.fold_hash])
    if path.exists():
        with contextlib.suppress(UserError):  # of another version, or damaged: measured again
            known = read_record(path, OutsideRecord, SCHEMA, f"delete {path}")
            if known.of == key:
                return known
    train, submit = dataset.part("train"), dataset.part("submit")
    cases = pd.concat([train, submit], ignore_index=True)
    facts = {
        row["case_id"]: facts_of(dataset, row)
        for row in track(cases.to_dict("records"), len(cases), "Looking at the files", disable=not progress)
    }
    labels = train[[f"y_{name}" for name in dataset.classes]].to_numpy(float)
    folds = train["case_id"].map(dataset.folds).to_numpy()
    rows = told(_tables(facts, train), train, labels, folds, dataset.classes)
    record = OutsideRecord(of=key, labels=rows, parts=_parts(dataset, facts, train, submit))
    files.write_json(path, record.to_json())
    return record


def facts_of(dataset: Dataset, row: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """Facts about a case's files by kind, each a number by its name; words become counts in buckets."""
    names = image_paths(row["image"])
    paths = [path for path in dataset.source.paths(row["image"]) if path.is_file()]
    stem = PurePath(names[0].partition("#")[0]).name if names and paths else str(row["case_id"])
    found: dict[str, dict[str, float]] = {"name": _name_facts(stem)}
    if not paths:
        return found
    sizes = [path.stat().st_size for path in paths]
    found["size"] = {"bytes": math.log2(1 + sum(sizes)), "files": len(paths)}
    kind = readers.format_of(paths[0]) or "unknown"
    found["type"] = _words({f"format={kind}", f"ending={paths[0].suffix.lower()}"})
    with contextlib.suppress(Exception):  # what a library cannot tell of a file that was read is not a finding
        found |= _header(paths[0], kind)
    return found


def _name_facts(name: str) -> dict[str, float]:
    stem = name.partition(".")[0]
    number = re.search(r"\d+", stem)
    shape = re.sub(r"\d+", "0", stem)
    grams = {shape[at : at + 3] for at in range(max(1, len(shape) - 2))}
    return {"number": float(number[0][:9]) if number else -1.0, "length": len(stem), **_words(grams)}


def _header(path: Path, kind: str) -> dict[str, dict[str, float]]:
    if kind in ("png", "jpeg", "tiff"):
        from PIL import Image

        with Image.open(path) as opened:
            width, height = opened.size
            tags = {
                f"{key}={str(value)[:40]}" for key, value in opened.info.items() if isinstance(value, int | str | tuple)
            }
            tags |= {f"exif {key}={str(value)[:40]}" for key, value in opened.getexif().items()}
            mode = {f"mode={opened.mode}", f"bits={getattr(opened, 'bits', '')}"}
        return {"shape": _shape((height, width)), "mode": _words(mode), "tags": _words(tags)}
    if kind == "nifti":
        import nibabel

        header: Any = nibabel.load(path).header
        tags = {f"description={header['descrip']!s}", f"codes={header['qform_code']},{header['sform_code']}"}
        spacing = {f"spacing {axis}": float(size) for axis, size in enumerate(header.get_zooms())}
        kinds = _words({f"type={header.get_data_dtype()}"})
        return {"shape": {**_shape(header.get_data_shape()), **spacing}, "mode": kinds, "tags": _words(tags)}
    if kind == "dicom":
        import pydicom

        wanted = [*DICOM_TAGS, "Rows", "Columns", "BitsStored", "PhotometricInterpretation"]
        tags_of = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=wanted)
        mode = {f"{name}={tags_of.get(name, '')}" for name in ("BitsStored", "PhotometricInterpretation")}
        tags = {f"{name}={tags_of.get(name, '')}" for name in DICOM_TAGS}
        shape = _shape((int(tags_of.get("Rows", 0)), int(tags_of.get("Columns", 0))))
        return {"shape": shape, "mode": _words(mode), "tags": _words(tags)}
    return {}


def _shape(shape: tuple[int, ...]) -> dict[str, float]:
    sides = {f"side {axis}": float(side) for axis, side in enumerate(shape)}
    return {**sides, "proportion": shape[0] / max(shape[1], 1)} if len(shape) > 1 else sides


def _words(words: set[str]) -> dict[str, float]:
    """Words as counts in buckets, by a hash that is the same everywhere."""
    found: dict[str, float] = {}
    for word in words:
        bucket = f"word {zlib.crc32(word.encode()) % BUCKETS}"
        found[bucket] = found.get(bucket, 0.0) + 1
    return found


def _tables(facts: Mapping[str, Mapping[str, Mapping[str, float]]], cases: pd.DataFrame) -> dict[str, np.ndarray]:
    """Facts (N, F) by kind, of kinds that are not the same in all cases."""
    found = {}
    for kind in KINDS:
        table = pd.DataFrame([facts[case_id].get(kind, {}) for case_id in cases["case_id"]]).fillna(0.0)
        table = table.loc[:, table.nunique() > 1]
        if table.shape[1]:
            found[kind] = table.to_numpy(np.float32)
    return found


def told(
    tables: Mapping[str, np.ndarray],
    cases: pd.DataFrame,
    labels: np.ndarray,
    folds: np.ndarray,
    classes: tuple[str, ...],
) -> list[OutsideRow]:
    """For each kind of facts the class that it predicts best, by the lower bound of its AUC.

    Args:
        tables: Facts (N, F) by kind.
        cases: case_id and group_id of N cases.
        labels: 0 or 1, or numbers, which are told apart at their median, (N, K); NaN is unknown.
        folds: Fold of each case; groups are in one fold each.
        classes: K names.
    """
    from sklearn.ensemble import RandomForestClassifier

    sides = {name: side for name, side in map(_sides, classes, labels.T) if _are_enough(side)}
    found = []
    for kind, table in tables.items():
        if len(cases) < FEWEST:
            break
        best: OutsideRow | None = None
        for name, side in sides.items():
            known = ~np.isnan(side)
            predicted = np.full(len(labels), np.nan)
            for fold in np.unique(folds):
                held_out, learned = folds == fold, (folds != fold) & known
                if len(np.unique(side[learned])) < 2:
                    continue
                forest = RandomForestClassifier(60, min_samples_leaf=3, random_state=0)
                forest.fit(table[learned], side[learned])
                predicted[held_out] = forest.predict_proba(table[held_out])[:, 1]
            if np.isnan(predicted).any():
                continue
            frame = pd.DataFrame({"case_id": cases["case_id"], "patient_id": cases["group_id"], "fold": folds})
            frame[f"y_{name}"], frame[f"p_{name}"] = side, predicted
            auc = interval("roc_auc", frame[known], [name])
            if math.isfinite(auc.low) and (best is None or auc.low > best.low):
                best = OutsideRow(kind=kind, told=name, auc=auc.value, low=auc.low, high=auc.high)
        if best is not None:
            found.append(best)
    return found


def _sides(name: str, values: np.ndarray) -> tuple[str, np.ndarray]:
    """Of a class its labels; of a number, and of what it is called then, whether it is above its median."""
    known = ~np.isnan(values)
    if np.isin(values[known], (0, 1)).all():
        return name, values
    median = float(np.median(values[known]))
    return f"{name} above {median:g}", np.where(known, values > median, np.nan)


def _are_enough(side: np.ndarray) -> bool:
    known = side[~np.isnan(side)]
    return FEWEST / 2 <= known.sum() <= len(known) - FEWEST / 2


def _parts(
    dataset: Dataset,
    facts: Mapping[str, Mapping[str, Mapping[str, float]]],
    train: pd.DataFrame,
    submit: pd.DataFrame,
) -> list[OutsideRow]:
    """How well files and a few numbers of the images separate the unlabeled part from the training part."""
    from sklearn.model_selection import GroupKFold

    if min(len(train), len(submit)) < FEWEST:
        return []
    parts = [part.sample(min(len(part), COMPARED), random_state=0) for part in (train, submit)]
    cases = pd.concat(parts, ignore_index=True)
    labels = np.repeat([0.0, 1.0], [len(part) for part in parts])[:, None]
    folds = np.zeros(len(cases), int)
    for fold, (_, held_out) in enumerate(GroupKFold(FOLDS).split(cases, groups=cases["group_id"])):
        folds[held_out] = fold
    with_images = {
        row["case_id"]: {**facts[row["case_id"]], "picture": _image_facts(dataset, row["case_id"])}
        for row in cases.to_dict("records")
    }
    return told(_tables(with_images, cases), cases, labels, folds, ("submit",))


def _image_facts(dataset: Dataset, case_id: str) -> dict[str, float]:
    from heldout.data.resample import resample_linear

    with contextlib.suppress(UserError):
        array = dataset.read_image(case_id).array
        gray = array.mean(0, keepdims=True, dtype=np.float32)
        small = resample_linear(gray, (MINIATURE,) * (gray.ndim - 1))[0].ravel()
        at = (1, 25, 50, 75, 99)
        levels = {f"percentile {one}": float(level) for one, level in zip(at, np.percentile(gray, at), strict=True)}
        return {**levels, "deviation": float(gray.std()), **{f"cell {n}": float(v) for n, v in enumerate(small)}}
    return {}


def outside_lines(record: OutsideRecord) -> list[str]:
    """What was found, in sentences; only what is above chance with its whole interval."""
    labels, parts = ([row for row in rows if row.low > 0.5] for rows in (record.labels, record.parts))
    lines = [f"{row.told} can be predicted from {KINDS[row.kind]} alone: AUC {_numbers(row)}" for row in labels]
    if any(row.kind != "name" for row in labels):
        lines.append("a network may learn how the files were made instead of what they show")
    lines += [f"train and submit can be separated by {KINDS[row.kind]} alone: AUC {_numbers(row)}" for row in parts]
    if parts:
        lines.append("out-of-fold scores may not hold for the cases to submit")
    if not record.labels:
        lines.append("whether files predict labels is not known: too few cases of a kind have one")
    elif not labels:
        lines.append("file type, size, mode, tags and name predict no label")
    if record.parts and not parts:
        lines.append("neither their files nor a gray thumbnail separate train from submit")
    return lines


def _numbers(row: OutsideRow) -> str:
    return f"{row.auc:.2f} ({row.low:.2f} to {row.high:.2f})"
