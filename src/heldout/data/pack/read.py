"""The one file back to a checked dataset and its prepared arrays; what does not come out as it went in is refused."""

from __future__ import annotations

import io
import re
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from heldout import files
from heldout.data.checks import SAFE_ID
from heldout.data.foreground import sample_foreground
from heldout.data.geometry import prepare_mask
from heldout.data.image import file_state
from heldout.data.pack.codec import array_hash, decode
from heldout.data.pack.source import RECORD, packed_source, truth_name
from heldout.data.pack.write import TABLES
from heldout.data.parallel import map_cases
from heldout.data.prepare import finished_entries, write_array, write_manifest
from heldout.data.recipe import Recipe
from heldout.data.records import (
    SCHEMA,
    IndexRecord,
    PackedArray,
    PackedArrays,
    PackedCase,
    PackRecord,
    PreparedCase,
    UnpackedMask,
    UnpackedRecord,
    read_index,
    read_manifest,
)
from heldout.data.signature import content_hash
from heldout.data.verify import data_hash
from heldout.errors import UserError
from heldout.records import parse_record

_FOLDER = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*-[0-9a-f]{8}")
_FREE = 1 << 28  # bytes that a pack may inflate to however short it is
_MOST_INFLATED = 20  # times its own size that it may inflate to beyond: only its tables are compressed
_AGAIN = "copy it again, or make it with `pack`"


@dataclass(frozen=True)
class Unpacked:
    """What :func:`unpack` made.

    Attributes:
        folder: The checked dataset.
        cases: Training cases with arrays.
        recipes: Sets of prepared arrays in the file.
    """

    folder: Path
    cases: int
    recipes: int


def unpack(path: Path, *, progress: bool = True, workers: int | None = None) -> Unpacked:
    """Restore a checked dataset and its prepared arrays below ``working/data/``.

    A second call finds everything there and writes nothing. Where the dataset was checked from its raw files, only
    prepared arrays are added.

    Args:
        path: A file that :func:`heldout.data.pack.write.pack` wrote.
        progress: Show progress bars.
        workers: Processes.

    Raises:
        UserError: the file is damaged or no pack, or the dataset's folder holds other cases or folds.
    """
    if path.exists() and not path.is_file():
        raise UserError(f"{path} is not a regular file: name a file that `pack` wrote")
    with _explained(path):
        record, tables, cases = _read(path)
        folder = files.home() / "working" / "data" / record.folder
        options = {"progress": progress, "workers": workers}
        with files.lock(folder, f"unpacking {path.name}", wait=True):
            there = _compare(path, folder, record)
            if there and (source := packed_source(folder)):
                source.verify(cases)
            elif not there:
                _restore_tables(path, folder, record, tables, cases, options)
            for digest, one in record.prepared.items():
                _restore_arrays(path, folder / "prepared" / digest, one, record.truth, cases, options)
            if not there:
                files.write_bytes(folder / "index.json", tables["index.json"])
    return Unpacked(folder, int((cases["split"] == "train").sum()), len(record.prepared))


def _read(path: Path) -> tuple[PackRecord, dict[str, bytes], pd.DataFrame]:
    """The record of a pack, its tables, and ``cases.parquet`` among them, all checked against each other."""
    with zipfile.ZipFile(path) as archive:
        claimed, most = (
            sum(one.file_size for one in archive.infolist()),
            max(_FREE, _MOST_INFLATED * path.stat().st_size),
        )
        if claimed > most:
            raise UserError(
                f"{path} claims to inflate to {claimed >> 20} MiB, more than a pack does: make it with `pack`"
            )
        record = parse_record(archive.read("pack.json"), f"{path}: pack.json", PackRecord, SCHEMA, _AGAIN)
        tables = {name: archive.read(f"tables/{name}") for name in TABLES}
    changed = [name for name, data in tables.items() if files.sha256_bytes(data) != record.tables.get(name)]
    if changed or not _FOLDER.fullmatch(record.folder):
        raise UserError(f"{path}: {changed[0] if changed else 'its folder'} was changed: make the pack again")
    index = parse_record(tables["index.json"], f"{path}: index.json", IndexRecord, SCHEMA, _AGAIN)
    cases = pd.read_parquet(io.BytesIO(tables["cases.parquet"]))
    if (record.data_hash, record.fold_hash) != (index.data_hash, files.sha256_bytes(tables["folds.csv"])):
        raise UserError(f"{path} holds other cases or folds than it says: make the pack again")
    if data_hash(_with_sealed(cases, tables["sealed.parquet"]), index.classes) != index.data_hash:
        raise UserError(f"{path}: cases.parquet was changed after the dataset was checked: make the pack again")
    listed = set(record.truth).union(*(one.cases for one in record.prepared.values()))
    train = set(cases["case_id"][cases["split"] == "train"])
    odd = sorted(name for name in listed if name not in train or not SAFE_ID.fullmatch(name))
    if odd:
        raise UserError(f"{path} holds {odd[0]!r}, which is not a training case: make the pack again")
    for digest, one in record.prepared.items():
        if digest != _digest(one.recipe):
            raise UserError(f"{path} was prepared by another version of heldout: pack the experiments again")
    return record, tables, cases


def _with_sealed(cases: pd.DataFrame, sealed: bytes) -> pd.DataFrame:
    """All parts with their labels, which is what the hash of the data was made of."""
    whole, truth = cases.set_index("case_id"), pd.read_parquet(io.BytesIO(sealed)).set_index("case_id")
    columns = [name for name in truth.columns if name == "mask_hash" or name.startswith("y_")]
    whole.loc[truth.index, columns] = truth[columns]
    return whole.reset_index()


def _compare(path: Path, folder: Path, record: PackRecord) -> bool:
    """Whether the dataset is there already.

    Raises:
        UserError: it is, but with other cases or folds.
    """
    if not (folder / "index.json").exists():
        return False
    index = read_index(folder)
    for name in ("data_hash", "fold_hash"):
        if getattr(index, name) != getattr(record, name):
            raise UserError(f"{folder} holds other cases or folds than {path} ({name} differs): move it away first")
    return True


def _restore_tables(
    path: Path,
    folder: Path,
    record: PackRecord,
    tables: dict[str, bytes],
    cases: pd.DataFrame,
    options: dict[str, Any],
) -> None:
    """Write tables and true masks; ``index.json``, which makes them a dataset, is left to the caller."""
    hashes = dict(zip(cases["case_id"], cases["mask_hash"], strict=True))
    todo = [(case_id, about, hashes[case_id]) for case_id, about in record.truth.items()]
    states = map_cases(_restore_truths, (path, folder), todo, "Unpacking masks", **options)
    truth = {
        case_id: UnpackedMask(**about.model_dump(), state=state)
        for (case_id, about, _), state in zip(todo, states, strict=True)
    }
    for name, data in tables.items():
        if name != "index.json":
            files.write_bytes(folder / name, data)
    unpacked = UnpackedRecord(data_hash=record.data_hash, fold_hash=record.fold_hash, source=record.source, truth=truth)
    files.write_json(folder / RECORD, unpacked.to_json())


def _restore_truths(
    path: Path, folder: Path, cases: list[tuple[str, PackedArray, str]]
) -> list[tuple[int, int] | None]:
    """Write true masks that hash to what ``cases.parquet`` says; returns size and time of each file."""
    states: list[tuple[int, int] | None] = []
    with zipfile.ZipFile(path) as archive:
        for case_id, about, expected in cases:
            if content_hash(_truth(archive, path, case_id, about)) != expected:
                raise UserError(f"{path}: the mask of case {case_id} is not the one that was checked: pack again")
            if about.codec == "empty":
                states.append(None)
                continue
            target = folder / "truth" / truth_name(case_id)
            files.write_bytes(target, archive.read(f"truth/{case_id}"))
            states.append(file_state(target))
    return states


def _restore_arrays(
    path: Path,
    folder: Path,
    packed: PackedArrays,
    truth: dict[str, PackedArray],
    cases: pd.DataFrame,
    options: dict[str, Any],
) -> None:
    train = cases[cases["split"] == "train"]
    done = finished_entries(folder, train)
    todo = [(name, about, truth.get(name)) for name, about in packed.cases.items() if name not in done]
    if not todo:
        return
    entries = list(map_cases(_restore_cases, (path, folder), todo, "Unpacking arrays", **options))
    made = {name: entry for (name, _, _), entry in zip(todo, entries, strict=True)}
    write_manifest(folder, Recipe.from_dict(packed.recipe), {**read_manifest(folder), **made})


def _restore_cases(
    path: Path, folder: Path, cases: list[tuple[str, PackedCase, PackedArray | None]]
) -> list[PreparedCase]:
    """Write the arrays of some cases; masks and their samples are made again, and must come out as they were."""
    with zipfile.ZipFile(path) as archive:
        for case_id, about, truth in cases:
            name = f"prepared/{folder.name}/{case_id}"
            arrays = {"image": decode(archive.read(name), about, f"{path}: image {case_id}")}
            geometry = about.entry.geometry
            if geometry.prepared != arrays["image"].shape[1:] or not all(
                map(int.__le__, geometry.resized, geometry.prepared)
            ):
                raise UserError(f"{path}: the image of case {case_id} is not of the grid that it names: pack again")
            if about.mask is not None and truth is not None:
                arrays["mask"] = prepare_mask(_truth(archive, path, case_id, truth), geometry)
                arrays["foreground"] = sample_foreground(arrays["mask"], case_id)
            for kind in ("image", "mask", "foreground"):
                if (array_hash(arrays[kind]) if kind in arrays else None) != getattr(about, kind):
                    raise UserError(f"{path}: the {kind} of case {case_id} is not the one that was packed: pack again")
                if kind in arrays:
                    write_array(folder / f"{case_id}.{kind}.npy", arrays[kind])
    return [about.entry for _, about, _ in cases]


def _truth(archive: zipfile.ZipFile, path: Path, case_id: str, about: PackedArray) -> np.ndarray:
    """A case's mask (M, *spatial) uint8 on the grid of its own file."""
    data = b"" if about.codec == "empty" else archive.read(f"truth/{case_id}")
    return decode(data, about, f"{path}: mask {case_id}")


def _digest(recipe: dict[str, Any]) -> str | None:
    """Digest of stored settings; None where they are not those of today."""
    try:
        return Recipe.from_dict(recipe).digest()
    except ValueError:
        return None


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        if Path(error.filename or "") != path:
            raise
        raise UserError(f"{path} does not exist: name a file that `pack` wrote") from None
    except (zipfile.BadZipFile, zlib.error, KeyError, EOFError, ValueError, TypeError, NotImplementedError) as error:
        raise UserError(f"{path} is damaged or not a pack ({error}): copy it again, or make it with `pack`") from None
