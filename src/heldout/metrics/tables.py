"""The table that every metric is computed from: its columns as arrays, and the checks that make it trustworthy."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from heldout.errors import UserError
from heldout.metrics.lesion import LESION_COLUMNS
from heldout.metrics.surface import SURFACE_COLUMNS

if TYPE_CHECKING:
    import pandas as pd

TOLERANT_COLUMNS = ("nsd:", "surface_dice:")
_ONE = 1e-3  # softmax outputs of float32 or mixed precision sum to one within this


@dataclass(frozen=True)
class Columns:
    """A table as arrays.

    Attributes:
        truth: (n, K) bool.
        probability: (n, K) float64 in 0 ... 1.
        predicted: (n, K) bool predicted labels.
        counts: (n, K, 3) float64 voxel counts [TP, FP, FN], or None without masks.
        exclusive: The rows are one-hot labels with probabilities that sum to one.
        classes: Names of the K classes.
        known: (n, K) bool: of which cases a class is known, the truth of others being False; None where all are.
        patients: (n,) patient of every case, or None where the table names none.
        lesions: (n, K, 4) float64 counts of :func:`heldout.metrics.lesion.count_lesions`, or None where not counted.
        surfaces: (n, K, 2) float64 of :func:`heldout.metrics.surface.surface_distances`, or None where not measured.
        detections: (n,) arrays of detections, see :mod:`heldout.metrics.detection`; None where nothing is detected.
        objects: (n,) arrays of the true objects.
        tolerant: (n, K) float64 surface scores at a tolerance, by their names such as ``nsd:2``.
        voxel_mm3: (n,) float64 volume of a case's voxel, or None where not known.
        target: (n, K) float64 true numbers of a regression, which has no labels; else None.
        value: (n, K) float64 predicted numbers of a regression.
        folds: (n,) fold whose networks predicted a case, or None where the same networks predicted all.
    """

    truth: np.ndarray
    probability: np.ndarray
    predicted: np.ndarray
    counts: np.ndarray | None
    exclusive: bool
    classes: tuple[str, ...]
    known: np.ndarray | None = None
    patients: np.ndarray | None = None
    lesions: np.ndarray | None = None
    surfaces: np.ndarray | None = None
    voxel_mm3: np.ndarray | None = None
    folds: np.ndarray | None = None
    target: np.ndarray | None = None
    value: np.ndarray | None = None
    detections: np.ndarray | None = None
    objects: np.ndarray | None = None
    tolerant: Mapping[str, np.ndarray] = field(default_factory=dict)

    @property
    def positive(self) -> np.ndarray:
        """(n, K) bool: which cases hold a class: by their masks, where there are any."""
        return self.truth if self.counts is None else self.counts[..., 0] + self.counts[..., 2] > 0

    @property
    def negative(self) -> np.ndarray:
        """(n, K) bool: which cases are known not to hold a class."""
        return ~self.positive if self.known is None else ~self.positive & self.known

    def take(self, rows: np.ndarray) -> Columns:
        """The cases at some positions (m,), which may repeat."""
        taken = {name: value[rows] for name, value in vars(self).items() if isinstance(value, np.ndarray)}
        return replace(self, **taken, tolerant={name: values[rows] for name, values in self.tolerant.items()})


def columns_of(table: pd.DataFrame, classes: Sequence[str], *, regression: bool = False) -> Columns:
    """Check a table and read its columns; of a regression ``y_`` and ``p_<class>`` hold numbers.

    Raises:
        UserError: a column is missing, a case repeats, or a value is not finite or out of range.
    """
    check_cases(table)
    truth = _read(table, "y", classes, unknown=not regression)
    known: dict[str, Any] = {
        "patients": table["patient_id"].to_numpy() if "patient_id" in table else None,
        "folds": table["fold"].to_numpy() if "fold" in table and table["fold"].nunique() > 1 else None,
    }
    if regression:
        value, none = _read(table, "p", classes), np.zeros(truth.shape, bool)
        return Columns(none, none.astype(float), none, None, False, tuple(classes), target=truth, value=value, **known)
    unknown = np.isnan(truth)
    if unknown.any():
        known["known"], truth = ~unknown, np.where(unknown, 0.0, truth)
    if not np.isin(truth, (0, 1)).all():
        _complain(table, ~np.isin(truth, (0, 1)), "y", classes, "must be 0 or 1")
    probability = _read(table, "p", classes)
    outside = (probability < 0) | (probability > 1)
    if outside.any():
        _complain(table, outside, "p", classes, "lies outside 0 ... 1")
    counts = _read_together(table, ("tp", "fp", "fn"), classes)
    exclusive = (
        counts is None
        and len(classes) > 1
        and bool((truth.sum(1) == 1).all() and (np.abs(probability.sum(1) - 1) < _ONE).all())
    )
    predicted = _predicted_labels(table, classes, probability, exclusive)
    return Columns(
        truth.astype(bool),
        probability,
        predicted,
        counts,
        exclusive,
        tuple(classes),
        lesions=_read_together(table, LESION_COLUMNS, classes),
        surfaces=_read_together(table, SURFACE_COLUMNS, classes),
        voxel_mm3=_read(table, "voxel", ["mm3"])[:, 0] if "voxel_mm3" in table else None,
        tolerant=_tolerant(table, classes),
        detections=_rows_of(table, "detections"),
        objects=_rows_of(table, "objects"),
        **known,
    )


def rows_to_text(rows: np.ndarray) -> str:
    """The JSON text of a case's detections or objects (m, columns), as :func:`columns_of` reads it."""
    return json.dumps([[round(float(value), 4) for value in row] for row in rows])


def _rows_of(table: pd.DataFrame, name: str) -> np.ndarray | None:
    """(n,) arrays of a column of JSON texts, (0, 0) of an empty list."""
    if name not in table:
        return None
    found = np.empty(len(table), object)
    for place, text in enumerate(table[name]):
        rows = np.array(json.loads(text), float)
        found[place] = rows if rows.ndim == 2 else np.empty((0, 0))
    return found


def _tolerant(table: pd.DataFrame, classes: Sequence[str]) -> dict[str, np.ndarray]:
    """Surface scores at a tolerance by their names."""
    end = f"_{classes[0]}"
    names = [
        name.removesuffix(end) for name in table.columns if name.startswith(TOLERANT_COLUMNS) and name.endswith(end)
    ]
    return {name: _read(table, name, classes) for name in names}


def check_cases(table: pd.DataFrame, expected: Iterable[str] | None = None) -> None:
    """Check that every case is listed once in a table, and that none of the expected ones is missing.

    Raises:
        UserError: naming the first case that repeats, is missing, or does not belong.
    """
    if "case_id" not in table:
        raise UserError("a table of predictions has no column case_id: write one row per case")
    repeated = table["case_id"][table["case_id"].duplicated()]
    if len(repeated):
        raise UserError(f"case {repeated.iloc[0]} occurs twice in the predictions: keep one row per case")
    if expected is None:
        return
    known, given = set(expected), set(table["case_id"])
    if missing := sorted(known - given):
        raise UserError(f"case {missing[0]} has no prediction ({len(missing)} missing): predict every case")
    if stray := sorted(given - known):
        raise UserError(f"case {stray[0]} is predicted but belongs to no such part ({len(stray)} in all): remove it")


def _predicted_labels(
    table: pd.DataFrame, classes: Sequence[str], probability: np.ndarray, exclusive: bool
) -> np.ndarray:
    if f"d_{classes[0]}" in table:
        return _read(table, "d", classes) > 0
    if exclusive:
        return np.arange(len(classes)) == probability.argmax(1)[:, None]
    return probability >= 0.5


def _read_together(table: pd.DataFrame, kinds: Sequence[str], classes: Sequence[str]) -> np.ndarray | None:
    """(n, K, kinds) float64; None where the table has no such columns."""
    if f"{kinds[0]}_{classes[0]}" not in table:
        return None
    return np.stack([_read(table, kind, classes) for kind in kinds], -1)


def _read(table: pd.DataFrame, kind: str, classes: Sequence[str], *, unknown: bool = False) -> np.ndarray:
    """(n, K) float64 of the columns of one kind; with ``unknown`` nan where a case has no value."""
    names = [f"{kind}_{name}" for name in classes]
    if missing := [name for name in names if name not in table]:
        raise UserError(f"a table of predictions has no column {missing[0]}: it needs one per class")
    values = table[names].to_numpy(float)
    fine = np.isfinite(values) | (np.isnan(values) & unknown)
    if not fine.all():
        _complain(table, ~fine, kind, classes, "is not a finite number")
    return values


def _complain(table: pd.DataFrame, bad: np.ndarray, kind: str, classes: Sequence[str], what: str) -> None:
    row, column = np.argwhere(bad)[0]
    case = table["case_id"].iloc[row]
    raise UserError(f"{kind}_{classes[column]} of case {case} {what}: predict or label the case again")
