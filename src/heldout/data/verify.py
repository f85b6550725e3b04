"""Loading a checked dataset, and refusing one that was changed behind its back."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from heldout import files
from heldout.data.checks import check_case
from heldout.data.columns import PREFIX
from heldout.data.dataset import Dataset
from heldout.data.given_folds import folds_path
from heldout.data.image import BadFile, file_state
from heldout.data.pack.source import PackedSource
from heldout.data.records import IndexRecord, read_csv, read_index
from heldout.data.sealed import read_sealed
from heldout.data.sources import Source
from heldout.errors import UserError

PUBLIC = ["case_id", "patient_id", "group_id", "split", "image", "mask"]


def load(folder: Path, source: Source) -> Dataset:
    """Load the tables of a dataset folder and verify them against each other, their hashes and the raw files.

    Raises:
        UserError: something does not fit; the message names the patient or the file.
    """
    index = read_index(folder)
    if index.classes != tuple(source.classes):
        raise UserError(
            f"{source.root} has the classes {list(source.classes)}, {folder} {list(index.classes)}: {_remedy(folder)}"
        )
    cases = _read_cases(folder, index)
    folds = _read_folds(folder, cases, bool(index.accept_leaks))
    if files.sha256_file(folder / "folds.csv") != index.fold_hash:
        raise UserError(f"{folder / 'folds.csv'} was changed after the folds were made: {_remedy(folder)}")
    if files.sha256_file(folder / "sealed.parquet") != index.files.get("sealed.parquet"):
        raise UserError(f"{folder / 'sealed.parquet'} was changed: {_remedy(folder)}")
    if isinstance(source, PackedSource):
        source.verify(cases)
    else:
        verify_raw(folder, source, cases, index.index_hash)
        for name, digest in index.given_folds.items():
            if files.sha256_file(folds_path(source, name)) != digest:
                raise UserError(f"{folds_path(source, name)} changed after its folds were taken: {_remedy(folder)}")
    labels = [f"y_{name}" for name in source.classes]
    return Dataset(
        folder,
        source,
        tuple(source.classes),
        source.exclusive,
        source.dimensions,
        cases[[*PUBLIC, *labels, "content_hash", *(name for name in cases if name.startswith(PREFIX))]],
        folds,
        index.fold_hash,
        index.data_hash,
    )


def raw_files(source: Source, cases: pd.DataFrame) -> pd.DataFrame:
    """Path below the root, size in bytes and time of change (ns) of every raw file that the cases are made of."""
    of_cases = {path for row in cases.to_dict("records") for path in _case_files(source, row)}
    paths = sorted(of_cases | {source.relative(path) for path in source.tables()})
    states = [file_state(source.root / path) for path in paths]
    return pd.DataFrame({"path": paths, "size": [one[0] for one in states], "mtime_ns": [one[1] for one in states]})


def index_hash(index: pd.DataFrame) -> str:
    """SHA-256 of what a source lists: ids, patients, files, parts and labels."""
    return files.sha256_json(index.astype(object).where(index.notna(), None).to_numpy().tolist())


def data_hash(cases: pd.DataFrame, classes: Sequence[str]) -> str:
    """SHA-256 of what the cases are: ids, parts, pixels, masks and labels.

    Args:
        cases: All parts, in the order of their ids, the truth of the test part not left out.
        classes: Names of the classes.
    """
    columns = ["case_id", "patient_id", "split", "content_hash", "mask_hash", *(f"y_{name}" for name in classes)]
    return files.sha256_json(cases[columns].astype(object).where(lambda f: f.notna(), None).to_numpy().tolist())


def verify_raw(folder: Path, source: Source, cases: pd.DataFrame, indexed: str) -> None:
    """Check that the raw files are those that were indexed, by size and time; read again only what looks changed.

    Raises:
        UserError: a file is missing, or holds other pixels, labels or patients than when it was indexed.
    """
    table = read_csv(folder / "raw_files.csv", {"path": str, "size": int, "mtime_ns": int})
    touched = set()
    for path, size, mtime_ns in table.itertuples(index=False):
        try:
            state = file_state(source.root / path)
        except (BadFile, ValueError):  # no file can have the name
            raise UserError(f"{source.root / path} is missing: restore it, or {_remedy(folder)}") from None
        if state != (size, mtime_ns):
            touched.add(path)
    if not touched:
        return
    if index_hash(source.index()) != indexed:
        raise UserError(
            f"{source.root / min(touched)} changed after it was indexed, and with it the list of cases, their patients "
            f"or labels: {_remedy(folder)}"
        )
    rows = pd.concat([cases[cases["split"] != "test"], read_sealed(folder)], ignore_index=True)
    for row in rows.to_dict("records"):
        changed = touched.intersection(_case_files(source, row))
        if changed:
            _compare(folder, source, row, cases, min(changed))
    with files.lock(folder, "checking the dataset", wait=True):
        files.write_text(folder / "raw_files.csv", _stat_again(source, table).to_csv(index=False))


def verify_test(dataset: Dataset) -> None:
    """Read every case of the test part again, whatever size and time its files have.

    Raises:
        UserError: a case holds other pixels, another mask or other labels than when it was indexed; names it.
    """
    source, known = dataset.source, dataset.cases.set_index("case_id")["content_hash"]
    if index_hash(source.index()) != read_index(dataset.folder).index_hash:
        raise UserError(
            f"{source.root} lists other cases or labels than when it was indexed: {_remedy(dataset.folder)}"
        )
    for row in read_sealed(dataset.folder).to_dict("records"):
        found, labels = check_case(source, row), {name: row[f"y_{name}"] for name in source.classes}
        same = np.array_equal([*found.labels.values()], [*labels.values()], equal_nan=True)
        if not same or (found.content_hash, found.mask_hash) != (known[row["case_id"]], row["mask_hash"]):
            raise UserError(
                f"{source.root / min(_case_files(source, row))} (test case {row['case_id']}) changed after it was "
                f"indexed: restore it, or {_remedy(dataset.folder)}"
            )


def _compare(folder: Path, source: Source, row: dict[str, Any], cases: pd.DataFrame, path: str) -> None:
    known = cases.set_index("case_id").loc[row["case_id"]]
    try:
        found = check_case(source, row)
    except UserError as error:
        raise UserError(f"{source.root / path} changed after it was indexed: {error}") from None
    if (found.content_hash, found.mask_hash) != (known["content_hash"], row["mask_hash"]):
        raise UserError(
            f"{source.root / path} (case {row['case_id']}) changed after it was indexed: restore it, or "
            f"{_remedy(folder)}"
        )


def _stat_again(source: Source, table: pd.DataFrame) -> pd.DataFrame:
    states = [file_state(source.root / path) for path in table["path"]]
    return table.assign(size=[one[0] for one in states], mtime_ns=[one[1] for one in states])


def _case_files(source: Source, row: dict[str, Any]) -> list[str]:
    """Files of a case's image and mask, relative to the root where below it."""
    return [source.relative(path) for text in (row["image"], row["mask"]) if text for path in source.files(text)]


def _read_cases(folder: Path, index: IndexRecord) -> pd.DataFrame:
    path = folder / "cases.parquet"
    if not path.exists():
        raise UserError(f"{path} is missing: {_remedy(folder)}")
    if files.sha256_file(path) != index.files.get("cases.parquet"):
        raise UserError(f"{path} was changed after the dataset was indexed: {_remedy(folder)}")
    cases = pd.read_parquet(path)
    for part in ("train", "test"):
        others = set(cases["group_id"][~cases["split"].isin([part, "submit"])])
        for row in cases[cases["split"] == part].itertuples():
            if row.group_id in others:
                raise UserError(f"patient {row.patient_id} is in two parts of {path}: {_remedy(folder)}")
    return cases


def _read_folds(folder: Path, cases: pd.DataFrame, accepted: bool) -> pd.Series:
    """The fold table, refused where a case is missing or listed twice or a patient is not where it was put.

    Where leaks of given folds were ``accepted``, a group may be in several folds.
    """
    path = folder / "folds.csv"
    table = read_csv(path, {"case_id": str, "patient_id": str, "fold": int})
    train = cases[cases["split"] == "train"].set_index("case_id")
    twice = table["case_id"][table["case_id"].duplicated()]
    if len(twice):
        raise UserError(f"case {twice.iloc[0]} is listed twice in {path}: {_remedy(folder)}")
    missing = sorted(set(train.index) - set(table["case_id"]))
    if missing:
        raise UserError(f"case {missing[0]} is missing from {path}: {_remedy(folder)}")
    extra = sorted(set(table["case_id"]) - set(train.index))
    if extra:
        raise UserError(f"case {extra[0]} in {path} is not a training case: {_remedy(folder)}")
    known = train.loc[table["case_id"]]
    for fold, was, patient in zip(table["fold"], known["fold"], known["patient_id"], strict=True):
        if fold != was:
            both = sorted(set(table["fold"][(known["patient_id"] == patient).to_numpy()]))
            where = f"is in the folds {both}" if len(both) > 1 else f"was moved from fold {was} to fold {fold}"
            raise UserError(f"patient {patient} {where} in {path}, which leaks or changes the folds: {_remedy(folder)}")
    for group, in_group in table.groupby(known["group_id"].to_numpy()):
        if in_group["fold"].nunique() > 1 and not accepted:
            patient = in_group["patient_id"].iloc[0]
            raise UserError(f"patient {patient} (group {group}) is in two folds of {path}: {_remedy(folder)}")
    return pd.Series(table["fold"].to_numpy(), index=pd.Index(table["case_id"], name="case_id"), name="fold")


def _remedy(folder: Path) -> str:
    return f"undo the change, or run `folds --rebuild` to make {folder} again"
