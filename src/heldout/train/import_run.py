"""Predictions made elsewhere, checked and stored as a run; and the predictions of a run, written for others."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from heldout import files
from heldout.data.cases import open_dataset
from heldout.data.dataset import Dataset
from heldout.errors import UserError
from heldout.predict.prediction import Prediction, presence
from heldout.progress import track
from heldout.tasks import Task, load_task
from heldout.train.import_files import OF_255, Foreign, read_foreign, read_foreign_map, rows_of
from heldout.train.imported import (
    NOT_VERIFIABLE,
    VERIFIED,
    ImportedRecord,
    imported_folder,
    store_imported,
)
from heldout.train.runs import run_folder, run_folders


def import_oof(
    name: str, oof: Path, by: str, *, test: Path | None = None, maps: Path | None = None, like: str | None = None
) -> ImportedRecord:
    """Store predictions that were made elsewhere as the run ``<like>+imported=<name>``.

    Args:
        name: What they are called here.
        oof: Out-of-fold predictions; see :func:`heldout.train.import_files.read_foreign`.
        by: Who made them.
        test: Predictions of cases outside the training part: unlabeled ones, and those of the locked test part.
        maps: Folder of maps of all these cases, beside tables.
        like: Experiment of the same dataset, whose metric and submission form count; None takes that of the only
            dataset here that has the cases.

    Raises:
        UserError: a name is taken, a file cannot be read, a case is unknown or missing, or the folds are others.
    """
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]{0,40}", name) or re.match(r"exp\d", name):
        raise UserError(
            f"{name!r} cannot name imported predictions: use letters, digits and '_', not an experiment's name"
        )
    if not by.strip():
        raise UserError("--by is empty: say who made the predictions")
    config = load_task(like or _guess(oof), None, [f"imported={name}"])
    folder = run_folder(config.spec)
    if (imported_folder(name) / "imported.json").exists() or folder.exists():
        raise UserError(
            f"{name} was imported before: choose another name, or delete {imported_folder(name)} and {folder}"
        )
    dataset = open_dataset(config)
    found = read_foreign(oof, dataset, maps)
    train = dataset.part("train")
    folds = _check_folds(found, dataset, oof)
    _check_masks(config, found, oof)
    outside = Foreign() if test is None else read_foreign(test, dataset, maps)
    _check_masks(config, outside, test)
    rest = dataset.cases[dataset.cases["split"] != "train"].reset_index(drop=True)
    rest = rest[rest["case_id"].isin(list(rows_of(outside, rest)))].reset_index(drop=True)
    ordered = train.assign(fold=train["case_id"].map(dataset.folds)).sort_values("fold", kind="stable")
    with files.lock(imported_folder(name), "importing"):
        return store_imported(
            config,
            dataset,
            by.strip(),
            _predictions(config, dataset, found, list(rows_of(found, ordered))),
            folds,
            _predictions(config, dataset, outside, list(rest["case_id"])),
            rest,
            {**found.sources, **outside.sources},
        )


def _guess(oof: Path) -> str:
    """The experiment of a run whose dataset has the cases of a file; an error where that is not one dataset."""
    found: dict[str, str] = {}
    reasons = []
    for folder in run_folders():
        if "imported=" in folder.name or not any(folder.glob("seed*/fold*/run.json")):
            continue
        try:
            config = load_task(folder.name)
            dataset = open_dataset(config)
            read_foreign(oof, dataset)
        except UserError as error:
            reasons.append(str(error))
            continue
        found.setdefault(dataset.data_hash + dataset.fold_hash, config.spec)
    if len(found) == 1:
        return next(iter(found.values()))
    if found:
        raise UserError(f"{oof} fits the datasets of {' and '.join(found.values())}: name one of them with --like")
    raise UserError(reasons[0] if reasons else f"no run here has the cases of {oof}: name an experiment with --like")


def _check_folds(found: Foreign, dataset: Dataset, path: Path) -> str:
    """Whether the file's folds are those of the dataset; that every fold which is predicted is complete.

    Raises:
        UserError: a case has no fold here, a fold lacks cases, or the folds are others.
    """
    known = dataset.folds
    if strange := sorted(set(found.cases) - set(known.index)):
        raise UserError(
            f"{path} predicts case {strange[0]}, which is not of the training part ({len(strange)} in all): take such "
            "cases out, or give them with --test"
        )
    predicted = set(found.cases)
    for fold in sorted({int(known[case_id]) for case_id in predicted}):
        if missing := sorted(set(known.index[known == fold]) - predicted):
            raise UserError(
                f"{path} has no prediction of case {missing[0]}, while others of fold {fold} have one ({len(missing)} "
                "missing): predict every case of a fold"
            )
    if not found.folds:
        return NOT_VERIFIABLE
    pairs: dict[int, set[int]] = {}
    for case_id, fold in found.folds.items():
        pairs.setdefault(fold, set()).add(int(known[case_id]))
    for fold, own in sorted(pairs.items()):
        if len(own) > 1 or sum(own == other for other in pairs.values()) > 1:
            raise UserError(
                f"{path} has another fold table: its fold {fold} holds cases of the folds {sorted(own)} here, so that "
                "cases one held out the other trained on; train on working/data/.../folds.csv, or import without folds"
            )
    return VERIFIED


def _check_masks(config: Task, found: Foreign, path: Path | None) -> None:
    if config.kind != "segmentation":
        if found.cases and not found.scores:
            raise UserError(
                f"{path} is a folder of maps, and {config.experiment} predicts cases: give a CSV or npz file"
            )
        return
    if lost := sorted(set(found.cases) - set(found.maps)):
        raise UserError(f"{path} has no map of case {lost[0]}: give the folder of the maps with --maps")


def _predictions(config: Task, dataset: Dataset, found: Foreign, case_ids: list[str]) -> Iterator[Prediction]:
    exclusive = dataset.exclusive and len(dataset.classes) > 1
    shown: Iterable[str] = track(case_ids, len(case_ids), "Reading predictions") if found.maps else case_ids
    for case_id in shown:
        if config.kind != "segmentation":
            scores = found.scores[case_id]
            if exclusive and config.kind == "classification" and abs(float(scores.sum()) - 1) > 1e-3:
                raise UserError(
                    f"the probabilities of case {case_id} sum to {scores.sum():.3f}: those of exclusive classes are 1"
                )
            yield Prediction(case_id, scores)
            continue
        values = read_foreign_map(found.maps[case_id], dataset.read_image(case_id).full_shape, len(dataset.classes))
        yield Prediction(case_id, found.scores.get(case_id, presence(values)), values)


def export_oof(member_table: pd.DataFrame, classes: tuple[str, ...], own: dict[str, str], folder: Path) -> Path:
    """Write ``oof.csv``: id as the dataset calls it, fold, and the prediction of every class.

    Args:
        member_table: case_id, fold and ``p_<class>``.
        classes: Names of the classes.
        own: What the dataset calls its cases, by case id.
        folder: Where to write.
    """
    table = pd.DataFrame({"id": [own.get(case_id, case_id) for case_id in member_table["case_id"]]})
    table["fold"] = member_table["fold"].to_numpy(int)
    for name in classes:
        table[f"p_{name}"] = member_table[f"p_{name}"].to_numpy(float)
    path = folder / "oof.csv"
    files.write_text(path, table.to_csv(index=False))
    return path


def export_map(values: np.ndarray, path: Path) -> None:
    """Write a map (K, *spatial) uint8 as ``map`` of an npz file."""
    import io

    buffer = io.BytesIO()
    np.savez_compressed(buffer, map=values, **{OF_255: True})
    files.write_bytes(path, buffer.getvalue())
