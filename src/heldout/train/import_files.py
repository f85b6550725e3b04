"""Files with predictions made elsewhere: CSV tables, npz archives, folders of maps, and those of nnU-Net."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from heldout import files
from heldout.data.readers import open_any
from heldout.errors import UserError
from heldout.records import read_json

if TYPE_CHECKING:
    import pandas as pd

    from heldout.data.dataset import Dataset

IDS = ("id", "case_id", "case", "image_id", "image", "name")
MAP_ENDINGS = (".npz", ".npy", ".nii.gz", ".nii", ".png")
NNUNET = "probabilities"  # array of its npz files
OF_255 = "of_255"  # array of the files that export-oof writes: their integers are 255ths, however small
_DAMAGED = (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error)
_ARRAYS = ("map", NNUNET, "p", "arr_0")


@dataclass(frozen=True)
class Foreign:
    """Predictions as they were found.

    Attributes:
        scores: (K,) probability of every class, by case id; empty where there are maps only.
        maps: File of the map, by case id.
        folds: Fold that the file says held out a case, by case id; empty where it does not say.
        sources: SHA-256 of every file, by its name.
    """

    scores: dict[str, np.ndarray] = field(default_factory=dict)
    maps: dict[str, Path] = field(default_factory=dict)
    folds: dict[str, int] = field(default_factory=dict)
    sources: dict[str, str] = field(default_factory=dict)

    @property
    def cases(self) -> list[str]:
        """Case ids, sorted."""
        return sorted({*self.scores, *self.maps})


def read_foreign(path: Path, dataset: Dataset, maps: Path | None = None) -> Foreign:
    """Read predictions.

    Args:
        path: A table (CSV) with an id, a column per class and perhaps ``fold``; an archive (npz) with the arrays
            ``id``, ``p`` (n, K) and perhaps ``fold``; a folder of maps by case; or a folder of nnU-Net: ``fold_0`` ...
            with ``validation`` in each, or ``predictionsForTest``.
        dataset: The checked dataset, which knows the ids and classes.
        maps: Folder of maps by case, beside a table.

    Raises:
        UserError: it cannot be read; names the file, the column or the case.
    """
    if not path.exists():
        raise UserError(f"{path} does not exist: name a CSV or npz file, or a folder")
    names = _Names(dataset)
    if path.is_dir():
        return _folder(path, names)
    files.require_regular(path, "name a CSV or npz file, or a folder")
    digest = {path.name: files.sha256_file(path)}
    if path.suffix.lower() == ".npz":
        scores, folds = _archive(path, dataset, names)
    elif path.suffix.lower() in (".csv", ".tsv"):
        scores, folds = _table(path, dataset, names)
    else:
        raise UserError(f"{path} is neither CSV nor npz nor a folder: convert it to one of these")
    found = {} if maps is None else _maps(maps, names, set(scores))
    return Foreign(scores, found, folds, {**digest, **_hashed(found.values())})


def read_foreign_map(path: Path, shape: tuple[int, ...], classes: int) -> np.ndarray:
    """Map (K, *spatial) uint8 of a file: probabilities 0 ... 1 or 0 ... 255, or a label map.

    The array ``probabilities`` of an npz file is nnU-Net's: floats of the background first, on the axes of SimpleITK,
    z first. All others are on the axes of the image.

    Raises:
        UserError: its shape is not that of the case, or a value is not a probability.
    """
    values, key, of_255 = _read_array(path, len(shape))
    integers = values.dtype.kind in "ub"
    if integers and values.max(initial=0) > 255:
        raise UserError(f"{path} holds the number {values.max()}: write probabilities, or 0 ... 255 as uint8")
    z_first = key == NNUNET and not integers and len(shape) == 3
    expected = shape[::-1] if z_first else shape
    while values.ndim > len(shape) + 1 and values.shape[0] == 1:
        values = values[0]
    if values.ndim == len(shape):
        values = values[None]
    if values.shape[1:] != expected:
        if values.shape[1:] == expected[::-1]:
            order, name = ("x first", "another name") if z_first else ("z first", f"as floats, {NNUNET}")
            raise UserError(f"{path} holds a map with {order}: turn its axes round, or call the array of an npz {name}")
        raise UserError(f"{path} has the shape {values.shape[1:]}, its case {shape}: write it on the grid of the image")
    if z_first:
        values = values.transpose(0, 3, 2, 1)
    if len(values) == classes + 1:  # the background first
        values = values[1:]
    if len(values) == 1 and path.name.endswith((".nii", ".nii.gz")) and _is_label_map(values, classes):
        return np.stack([255 * (values[0] == k + 1) for k in range(classes)]).astype(np.uint8)
    if len(values) != classes:
        raise UserError(f"{path} has {len(values)} channels, and there are {classes} classes: write one for each")
    if integers:
        return (values * (255 if values.max(initial=0) <= 1 and not of_255 else 1)).astype(np.uint8)
    if not np.isfinite(values).all() or values.min() < -1e-3 or values.max() > 1 + 1e-3:
        raise UserError(f"{path} holds values outside 0 ... 1: write probabilities, or 0 ... 255 as uint8")
    return np.rint(255 * np.clip(values, 0, 1)).astype(np.uint8)


class _Names:
    """Case ids by what the dataset itself, or a file, calls a case."""

    def __init__(self, dataset: Dataset) -> None:
        ids = list(dataset.cases["case_id"])
        own = {str(name): case_id for case_id, name in dataset.source.own_ids().items()}
        self.by_name = {**{name: one for name, one in own.items() if one in set(ids)}, **{one: one for one in ids}}

    def find(self, text: str, where: str) -> str:
        """Case id of a name, with or without a file's ending.

        Raises:
            UserError: the dataset has no such case.
        """
        name = text.strip()
        for one in (name, name.partition(".")[0], Path(name).stem):
            if one in self.by_name:
                return self.by_name[one]
        raise UserError(f"{where} predicts {text!r}, which is not a case of the dataset: correct or remove it")


def _table(path: Path, dataset: Dataset, names: _Names) -> tuple[dict[str, np.ndarray], dict[str, int]]:
    import pandas as pd

    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False, sep=None, engine="python")
    except _DAMAGED as error:
        raise UserError(f"{path} cannot be read ({error}): write a CSV table") from None
    key = next((name for name in IDS if name in table.columns), None)
    if key is None:
        raise UserError(f"{path} has no column of ids: call it {IDS[0]}; it has {', '.join(table.columns)}")
    columns = _class_columns(list(table.columns), key, dataset, path)
    case_ids = [names.find(text, f"{path} row {row}") for row, text in enumerate(table[key], start=2)]
    _refuse_repeated(case_ids, path)
    values = np.stack([_numbers(table[column], column, path) for column in columns], 1)
    _refuse_outside(values, case_ids, dataset, path)
    folds = _numbers(table["fold"], "fold", path).astype(int).tolist() if "fold" in table.columns else []
    return dict(zip(case_ids, values.astype(np.float32), strict=True)), dict(zip(case_ids, folds, strict=False))


def _class_columns(columns: list[str], key: str, dataset: Dataset, path: Path) -> list[str]:
    """Column of every class: by its name, with ``p_`` before it, or the only one that is left."""
    chosen = []
    for label in dataset.classes:
        found = [name for name in (f"p_{label}", label, f"label_{label}") if name in columns]
        chosen += found[:1]
    rest = [name for name in columns if name not in (key, "fold", "patient_id") and not name.startswith("y_")]
    if len(chosen) == len(dataset.classes):
        return chosen
    if len(dataset.classes) == 1 and len(rest) == 1:
        return rest
    lacking = next(label for label in dataset.classes if not {f"p_{label}", label, f"label_{label}"} & set(columns))
    raise UserError(f"{path} has no column {lacking!r} or 'p_{lacking}': write a probability per class")


def _numbers(values: pd.Series, column: str, path: Path) -> np.ndarray:
    import pandas as pd

    numbers = pd.to_numeric(values, errors="coerce").to_numpy(float)
    if (bad := np.flatnonzero(~np.isfinite(numbers))).size:
        raise UserError(f"{path} row {bad[0] + 2} has {column} = {values.iloc[bad[0]]!r}: write a finite number")
    return numbers


def _refuse_repeated(case_ids: list[str], path: Path) -> None:
    seen: set[str] = set()
    for case_id in case_ids:
        if case_id in seen:
            raise UserError(f"{path} predicts case {case_id} twice: keep one row per case")
        seen.add(case_id)


def _refuse_outside(values: np.ndarray, case_ids: list[str], dataset: Dataset, path: Path) -> None:
    if dataset.source.kind == "regression":
        return
    outside = np.flatnonzero(((values < 0) | (values > 1)).any(1))
    if outside.size:
        raise UserError(
            f"{path} predicts {values[outside[0]].max():g} for case {case_ids[outside[0]]}: a probability is in 0 ... 1"
        )


def _archive(path: Path, dataset: Dataset, names: _Names) -> tuple[dict[str, np.ndarray], dict[str, int]]:
    try:
        with np.load(path) as arrays:
            found = {name: arrays[name] for name in arrays.files}
    except _DAMAGED as error:
        raise UserError(f"{path} cannot be read ({error}): write it with numpy.savez") from None
    key = next((name for name in IDS if name in found), None)
    values = next((found[name] for name in ("p", "oof", "predictions", "probabilities") if name in found), None)
    if key is None or values is None:
        raise UserError(f"{path} holds {', '.join(found)}: it needs the arrays id and p, (cases, classes)")
    values = np.asarray(values, float).reshape(len(values), -1)
    if values.shape != (len(found[key]), len(dataset.classes)):
        raise UserError(f"{path}: p has the shape {values.shape}, not {(len(found[key]), len(dataset.classes))}")
    case_ids = [names.find(str(text), str(path)) for text in found[key]]
    _refuse_repeated(case_ids, path)
    if not np.isfinite(values).all():
        raise UserError(f"{path} holds values that are not finite: write finite numbers")
    _refuse_outside(values, case_ids, dataset, path)
    folds = found["fold"].astype(int).tolist() if "fold" in found else []
    return dict(zip(case_ids, values.astype(np.float32), strict=True)), dict(zip(case_ids, folds, strict=False))


def _folder(path: Path, names: _Names) -> Foreign:
    """Maps by case, or the folders of nnU-Net, whose names say the folds."""
    trained = sorted(path.glob("fold_[0-9]*/validation"))
    if not trained:
        alone = _maps(path, names, None)
        return Foreign(maps=alone, sources=_hashed(alone.values()))
    maps: dict[str, Path] = {}
    folds: dict[str, int] = {}
    for one in trained:
        found = _maps(one, names, None)
        if shared := sorted(set(found) & set(maps)):
            raise UserError(f"{one} predicts case {shared[0]}, which another fold of {path} does too")
        maps |= found
        folds |= dict.fromkeys(found, int(one.parent.name.removeprefix("fold_")))
    listed = next((p for p in (path / "splits_final.json", path.parent / "splits_final.json") if p.is_file()), None)
    if listed is not None:
        split = read_json(listed)
        said = {names.find(name, str(listed)): k for k, fold in enumerate(split) for name in fold["val"]}
        if odd := sorted(case for case in folds if said.get(case) != folds[case]):
            raise UserError(f"{path} predicts case {odd[0]} in fold {folds[odd[0]]}, {listed} says {said.get(odd[0])}")
    return Foreign(maps=maps, folds=folds, sources=_hashed(maps.values()))


def _maps(folder: Path, names: _Names, wanted: set[str] | None) -> dict[str, Path]:
    """Map of every case; of several files probabilities come before label maps, in the order of the endings."""
    if not folder.is_dir():
        raise UserError(f"{folder} is not a folder: name the folder of the maps")
    found: dict[str, Path] = {}
    for ending in MAP_ENDINGS:
        for path in sorted(folder.glob(f"*{ending}")):
            case_id = names.find(path.name.removesuffix(ending), str(path))
            if wanted is None or case_id in wanted:
                found.setdefault(case_id, path)
    if not found:
        raise UserError(f"{folder} holds no map ({', '.join(MAP_ENDINGS)}) of a case: name the folder of the maps")
    return found


def _read_array(path: Path, dimensions: int) -> tuple[np.ndarray, str, bool]:
    """The array of a file, its name in an npz, and whether that says that integers count to 255."""
    try:
        if path.suffix == ".npy":
            return np.asarray(np.load(path)), "", False
        if path.suffix == ".npz":
            with np.load(path) as arrays:
                key = next((name for name in _ARRAYS if name in arrays.files), None)
                if key is None:
                    raise UserError(f"{path} holds {', '.join(arrays.files)}: it needs the array {_ARRAYS[0]}")
                return np.asarray(arrays[key]), key, OF_255 in arrays.files
        if path.suffix == ".png":
            import cv2

            picture = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
            if picture is None:
                raise ValueError("no picture")
            return picture[None], "", False
        volume = open_any(path, dimensions=3).array  # a fourth axis holds the classes
        return volume[..., 0] if dimensions == 2 and volume.shape[-1] == 1 else volume, "", False
    except _DAMAGED as error:
        raise UserError(f"{path} cannot be read ({error}): write it again") from None


def _is_label_map(values: np.ndarray, classes: int) -> bool:
    return bool(np.isin(np.unique(values), np.arange(classes + 1)).all())


def _hashed(paths: Iterable[Path]) -> dict[str, str]:
    return {path.name: files.sha256_file(path) for path in paths}


def rows_of(foreign: Foreign, cases: pd.DataFrame) -> Iterator[str]:
    """Ids of those of some cases that are predicted, in the order of the cases."""
    known = set(foreign.cases)
    return (case_id for case_id in cases["case_id"] if case_id in known)
