"""Predictions on disk: one table with a row per case, and one compressed map per case of a segmentation."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from heldout import files
from heldout.errors import UserError
from heldout.metrics.ignored import hide
from heldout.metrics.overlap import count_errors
from heldout.predict.details import Details
from heldout.predict.prediction import Prediction, to_mask

Truth = Callable[[str], np.ndarray]


@dataclass(frozen=True, eq=False)
class WrittenPredictions:
    """What :func:`write_predictions` wrote.

    Attributes:
        table: The table itself.
        sha256: SHA-256 of the table's file.
        maps: SHA-256 of each case's map file, by case id; empty for classification.
    """

    table: pd.DataFrame
    sha256: str
    maps: dict[str, str]


def write_predictions(
    folder: Path,
    name: str,
    predictions: Iterable[Prediction],
    frame: pd.DataFrame,
    *,
    exclusive: bool,
    truth: Truth | None = None,
    details: Details | None = None,
) -> WrittenPredictions:
    """Write ``<folder>/<name>.parquet`` and the maps ``<folder>/<name>_maps/<case_id>.b2nd``, each atomically.

    Predictions are consumed one by one and let go, so memory does not grow with their number. The table comes last.

    Args:
        folder: Where to write.
        name: Such as ``oof`` or ``test``.
        predictions: One per row of ``frame``, in any order.
        frame: Rows of the cases, as :func:`build_table` takes them.
        exclusive: The classes exclude each other.
        truth: As in :func:`build_table`.
        details: As in :func:`build_table`.

    Raises:
        UserError: a case is predicted twice, not at all, or does not belong.
    """
    table, maps = write_maps(folder, name, predictions, frame, exclusive=exclusive, truth=truth, details=details)
    return write_table(folder, name, table, maps)


def write_maps(
    folder: Path,
    name: str,
    predictions: Iterable[Prediction],
    frame: pd.DataFrame,
    *,
    exclusive: bool,
    truth: Truth | None = None,
    details: Details | None = None,
) -> tuple[pd.DataFrame, dict[str, str]]:
    """The first part of :func:`write_predictions`: the maps; returns the table and the SHA-256 of each map's file."""
    maps: dict[str, str] = {}

    def keep() -> Iterator[Prediction]:
        for prediction in predictions:
            if prediction.map is not None:
                maps[prediction.case_id] = _write_map(_map_path(folder, name, prediction.case_id), prediction.map)
            yield prediction

    return build_table(frame, keep(), truth, exclusive=exclusive, details=details), maps


def write_table(
    folder: Path, name: str, table: pd.DataFrame, maps: dict[str, str], *, write: bool = True
) -> WrittenPredictions:
    """The second part: the table, unless another process writes it."""
    buffer = io.BytesIO()
    table.to_parquet(buffer, index=False)
    data = buffer.getvalue()
    if write:
        files.write_bytes(folder / f"{name}.parquet", data)
    return WrittenPredictions(table, hashlib.sha256(data).hexdigest(), maps)


def build_table(
    rows: pd.DataFrame,
    predictions: Iterable[Prediction],
    truth: Truth | None = None,
    *,
    exclusive: bool,
    details: Details | None = None,
) -> pd.DataFrame:
    """Put predictions beside the labels, in the table from which every metric is computed.

    Args:
        rows: case_id, patient_id, perhaps fold, and ``y_<class>`` of the cases.
        predictions: One per row, in any order; read once.
        truth: Mask (M, *spatial) of a case, to count wrong voxels but those it ignores; None counts none.
        exclusive: The classes exclude each other.
        details: Measures more of every mask, see :func:`heldout.predict.details.mask_details`; None measures nothing.

    Returns:
        A row per case in the order of ``rows``: case_id, patient_id, fold, ``y_<class>``, ``p_<class>``, and with
        ``truth`` the voxel counts ``tp_<class>``, ``fp_<class>``, ``fn_<class>`` and what ``details`` measured.

    Raises:
        UserError: a case is predicted twice, not at all, or does not belong, or its mask has another size.
    """
    classes = class_names(rows)
    missing = dict.fromkeys(rows["case_id"])
    scores: dict[str, np.ndarray] = {}
    counts: dict[str, np.ndarray] = {}
    measured: dict[str, dict[str, float | str]] = {}
    for prediction in predictions:
        case_id = prediction.case_id
        if case_id not in missing:
            what = "is predicted twice" if case_id in scores else "is predicted but not in the table of cases"
            raise UserError(f"case {case_id} {what}: predict every case of the part once")
        del missing[case_id]
        scores[case_id] = prediction.scores
        if truth is not None and prediction.map is not None:
            mask = to_mask(prediction.map, None, exclusive) if prediction.mask is None else prediction.mask
            true_mask = truth(case_id)
            if mask.shape != true_mask.shape:
                raise UserError(
                    f"case {case_id}: its mask has the shape {true_mask.shape} and its prediction {mask.shape}; "
                    "index the dataset again"
                )
            heat = hide(prediction.map, true_mask)
            mask, true_mask = hide(mask, true_mask), hide(true_mask, true_mask)
            counts[case_id] = count_errors(mask, true_mask, len(classes), exclusive)
            if details is not None:
                measured[case_id] = details(case_id, mask, true_mask, heat, prediction.detections)
    if missing:
        raise UserError(f"case {next(iter(missing))} has no prediction ({len(missing)} missing): predict it again")
    known = [column for column in ("case_id", "patient_id", "fold") if column in rows]
    table = rows[[*known, *(f"y_{label}" for label in classes)]].reset_index(drop=True)
    order = list(table["case_id"])
    columns: dict[str, np.ndarray] = {}
    for position, label in enumerate(classes):
        columns[f"p_{label}"] = np.array([scores[case_id][position] for case_id in order], np.float64)
    for column, kind in enumerate(("tp", "fp", "fn") if counts else ()):
        for position, label in enumerate(classes):
            columns[f"{kind}_{label}"] = np.array([counts[case_id][position, column] for case_id in order], np.int64)
    extra = pd.DataFrame([measured[case_id] for case_id in order]) if measured else pd.DataFrame()
    return pd.concat([table, pd.DataFrame(columns), extra], axis=1)


def class_names(table: pd.DataFrame) -> list[str]:
    """Names of the classes that a table of cases or predictions is about, in its order."""
    return [column.removeprefix("y_") for column in table.columns if column.startswith("y_")]


def read_table(folder: Path, name: str) -> pd.DataFrame:
    """Read the table that :func:`write_predictions` wrote.

    Raises:
        UserError: it is missing or damaged.
    """
    path = folder / f"{name}.parquet"
    if not path.is_file():
        raise UserError(f"{path} does not exist: train or predict again")
    try:
        return pd.read_parquet(path)
    except (OSError, ValueError) as error:
        raise UserError(f"{path} is damaged ({error}): delete it and predict again") from None


def read_map(folder: Path, name: str, case_id: str, sha256: str | None = None) -> np.ndarray:
    """Read a case's map, (K, *spatial) uint8.

    Args:
        folder: As for :func:`write_predictions`.
        name: As for :func:`write_predictions`.
        case_id: The case.
        sha256: What the file's SHA-256 must be; None does not look.

    Raises:
        UserError: the map is missing, damaged, or another than expected.
    """
    import blosc2

    path = _map_path(folder, name, case_id)
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise UserError(f"{path} does not exist: restore it, or delete {folder} and train again") from None
    if sha256 is not None and hashlib.sha256(data).hexdigest() != sha256:
        raise UserError(f"{path} is not the file that was written: restore it or predict case {case_id} again")
    try:
        return blosc2.ndarray_from_cframe(data)[...]
    except (RuntimeError, ValueError) as error:
        raise UserError(f"{path} is damaged ({error}): restore it or predict case {case_id} again") from None


def _map_path(folder: Path, name: str, case_id: str) -> Path:
    return folder / f"{name}_maps" / f"{case_id}.b2nd"


def _write_map(path: Path, values: np.ndarray) -> str:
    # one thread: frames then come out the same byte for byte on every machine
    import blosc2

    settings = {"codec": blosc2.Codec.ZSTD, "clevel": 5, "nthreads": 1}
    data = blosc2.asarray(np.ascontiguousarray(values), cparams=settings).to_cframe()
    files.write_bytes(path, data)
    return hashlib.sha256(data).hexdigest()
