"""Pseudo-labels (Lee 2013) whose bookkeeping follows the folds: unlabeled cases, labeled anew for every fold.

The labels for fold k come from the networks that held fold k out. Any other network has learned from the patients of
fold k, and would hand what it learned to the student that fold k evaluates. For the same reason a case that shows a
patient, or is a copy of a case, of fold k or of the test part is not used for fold k.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from pydantic import Field

from heldout import files
from heldout.data.cases import open_dataset
from heldout.data.dataset import Dataset
from heldout.data.leaks import find_duplicates, group_ids, look_at
from heldout.data.parallel import map_cases
from heldout.data.prepare import prepare_image
from heldout.errors import UserError
from heldout.predict.models import load_model
from heldout.predict.prediction import Prediction, mean_predictions
from heldout.predict.run import predict_cases
from heldout.predict.store import write_predictions
from heldout.records import Number, Record
from heldout.tasks import Task
from heldout.train import runs

SCHEMA = 1
LABELS = "labels"  # name of the predictions of a fold


class TeacherFit(Record):
    """A fit that labeled, with the SHA-256 of its weights."""

    seed: int
    sha256: str


class LabelHashes(Record):
    """SHA-256 of a fold's predictions, of its table of cases, and of the map of every case."""

    labels: str
    cases: str
    maps: dict[str, str]


class PseudoFold(Record):
    """Labels for one fold: who made them, the number of cases, and the hashes of the files."""

    fits: tuple[TeacherFit, ...]
    cases: int
    sha256: LabelHashes


class PseudoRecord(Record):
    """``pseudo.json``: a set of pseudo-labels.

    Attributes:
        name: Of the set.
        spec: The teacher.
        checkpoint: As the teacher's weights were chosen.
        confidence: Probability from which a label counts as sure.
        classes: Names of the classes.
        fold_hash, data_hash: What the teacher was trained on.
        folds: Labels of every finished fold, by its number.
    """

    schema_version: int = Field(default=SCHEMA, alias="schema")
    name: str
    spec: str
    checkpoint: str
    confidence: Number
    classes: tuple[str, ...]
    fold_hash: str
    data_hash: str
    folds: dict[str, PseudoFold]


def pseudo_folder(name: str) -> Path:
    """Folder of a set of pseudo-labels.

    Raises:
        UserError: the name cannot be one of a folder.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", name):
        raise UserError(f"pseudo-labels cannot be called {name!r}: use letters, digits, '-' and '_'")
    return files.home() / "working" / "pseudo" / name


def write_pseudo_labels(
    config: Task, name: str, folder: Path | None, confidence: float, *, quiet: bool = False
) -> PseudoRecord:
    """Label unlabeled cases with every finished fold of an experiment.

    Args:
        config: The teacher.
        name: Name of the set.
        folder: Files to label; None labels the dataset's own ``submit`` part.
        confidence: Probability from which a label counts as sure; see :func:`heldout.train.student.decide`.
        quiet: Show no progress.

    Raises:
        UserError: the set exists, nothing is finished or to be labeled, the networks were trained on other folds
            than there are today, or a file is bad.
    """
    target = pseudo_folder(name)
    if (target / "pseudo.json").exists():
        raise UserError(f"{target} exists: choose another --name, or delete it")
    if config.first_stage is not None:
        raise UserError(f"{config.spec} needs maps of {config.first_stage}, which new cases lack: name a single stage")
    dataset = open_dataset(config)
    runs.check_identity(config, dataset)  # networks of another fold table may have seen what is held out today
    runs.check_code(config)
    found = runs.finished(config)
    if not found:
        raise UserError(f"{config.spec} has no finished fold: run `python run.py train {config.spec}` first")
    rows = dataset.part("submit") if folder is None else _loose(dataset, folder)
    if rows.empty:
        raise UserError(f"{config.dataset} has no unlabeled part: name a folder of images with --input")
    if folder is not None:
        rows, dataset_groups = _grouped(config, dataset, rows, quiet)
    else:
        dataset_groups = dataset.cases.set_index("case_id")["group_id"]
    folds = {}
    with files.lock(target, f"labeling with {config.spec}"):
        for fold in sorted({fold for _, fold, _ in found}):
            fits = [(seed, path) for seed, of_fold, path in found if of_fold == fold]
            _, held_out = dataset.fold_cases(fold)
            unseen = {*held_out["case_id"], *dataset.part("test")["case_id"]}
            allowed = rows[~rows["group_id"].isin(set(dataset_groups[sorted(unseen)]))].reset_index(drop=True)
            folds[str(fold)] = _label(config, dataset, allowed, fits, target / f"fold{fold}")
        record = PseudoRecord(
            name=name,
            spec=config.spec,
            checkpoint=config.checkpoint,
            confidence=confidence,
            classes=dataset.classes,
            fold_hash=dataset.fold_hash,
            data_hash=dataset.data_hash,
            folds=folds,
        )
        files.write_json(target / "pseudo.json", record.to_json())
    return record


def _label(
    config: Task, dataset: Dataset, rows: pd.DataFrame, fits: list[tuple[int, Path]], folder: Path
) -> PseudoFold:
    """Predict the cases with the fits of one fold, and write what they say."""
    for _, path in fits:
        runs.check_weights(path)
    weights = [path / "weights.safetensors" for _, path in fits]
    models = [load_model(config, path, dataset.classes, dataset.exclusive) for path in weights]

    def cases() -> Iterator[tuple[str, np.ndarray, Any]]:
        for row in rows.to_dict("records"):
            yield (row["case_id"], *prepare_image(dataset.source.read_image(row, salvage=True), config))

    device = "cuda" if torch.cuda.is_available() else "cpu"
    answers = predict_cases(config, models, cases(), exclusive=dataset.exclusive, device=device)
    predictions: Iterator[Prediction] = (mean_predictions(answer) for answer in answers)
    stored = write_predictions(folder, LABELS, predictions, rows, exclusive=dataset.exclusive)
    buffer = io.BytesIO()
    rows[["case_id", "patient_id", "group_id", "image", "content_hash"]].to_parquet(buffer, index=False)
    files.write_bytes(folder / "cases.parquet", buffer.getvalue())
    hashes = LabelHashes(labels=stored.sha256, cases=files.sha256_file(folder / "cases.parquet"), maps=stored.maps)
    paired = zip(fits, weights, strict=True)
    teachers = tuple(TeacherFit(seed=seed, sha256=files.sha256_file(path)) for (seed, _), path in paired)
    return PseudoFold(fits=teachers, cases=len(rows), sha256=hashes)


def _loose(dataset: Dataset, folder: Path) -> pd.DataFrame:
    """Rows of a folder's files, under ids that no case of the dataset has."""
    rows = dataset.source.loose(folder)
    return rows.assign(case_id="pseudo_" + rows["case_id"], **{f"y_{name}": np.nan for name in dataset.classes})


def _grouped(config: Task, dataset: Dataset, rows: pd.DataFrame, quiet: bool) -> tuple[pd.DataFrame, pd.Series]:
    """The rows with content_hash and group_id, and the groups of the dataset's cases: copies of a case share one."""
    columns = ["case_id", "patient_id", "image", "split"]
    both = pd.concat([dataset.cases[columns], rows.assign(split="submit")[columns]], ignore_index=True)
    found = list(
        map_cases(look_at, (dataset.source,), both.to_dict("records"), "Looking for copies", progress=not quiet)
    )
    both["content_hash"] = [content for content, _ in found]
    duplicates = find_duplicates(both, [print_ for _, print_ in found], dataset.dimensions, config.near_duplicates)
    both["group_id"] = group_ids(both, duplicates)
    known = both.set_index("case_id")["group_id"]
    kept = both.loc[len(dataset.cases) :, ["content_hash", "group_id"]].reset_index(drop=True)
    return rows.assign(content_hash=kept["content_hash"], group_id=kept["group_id"]), known
