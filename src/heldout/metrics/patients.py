"""From slices to patients: a table's rows of one patient as a single one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from heldout.errors import UserError
from heldout.metrics.tables import Columns

# How the probabilities of a patient's cases become one: the prefix of a metric's name, and how many of the highest.
POOLS = {"patient": 1, "patient_top3": 3}


def pool_patients(columns: Columns, highest: int) -> tuple[Columns, np.ndarray]:
    """Put the cases of every patient together.

    A patient is positive for a class where any case of the patient is, and unknown where all of them are. The
    probability is the mean of the highest probabilities of the cases; with one, the predicted label is positive where
    that of any case is, otherwise where the mean reaches 0.5. Voxels add up, weighted by their volume where it differs,
    so that slices are scored as the volume they make. Lesions add up as they were counted, case by case: one that
    several slices show counts in each. Surface distances do not add up and are left out.

    Args:
        columns: (n,) cases.
        highest: Number of probabilities to average; fewer where a patient has fewer cases.

    Returns:
        (P,) patients; and (P,) a case of each, whose weight is the patient's.

    Raises:
        UserError: the cases name no patients.
    """
    if columns.patients is None:
        raise UserError("a table of predictions has no column patient_id: scores of patients need one")
    names, first, patient = np.unique(columns.patients.astype(str), return_index=True, return_inverse=True)
    order = np.lexsort((np.arange(len(patient)), patient))
    starts = np.searchsorted(patient[order], np.arange(len(names)))

    def each(function: np.ufunc, values: np.ndarray) -> np.ndarray:
        return function.reduceat(values[order], starts, axis=0)

    probability = np.stack(
        [_mean_of_highest(part, highest) for part in np.split(columns.probability[order], starts[1:])]
    )
    counts, sizes = columns.counts, columns.voxel_mm3
    if counts is not None and sizes is not None:
        counts = counts * (sizes / sizes[first][patient])[:, None, None]
    voxels, lesions = (None if v is None else each(np.add, v) for v in (counts, columns.lesions))
    pooled = replace(
        columns,
        truth=each(np.logical_or, columns.truth),
        known=None if columns.known is None else each(np.logical_or, columns.known),
        probability=probability,
        predicted=each(np.logical_or, columns.predicted) if highest == 1 else probability >= 0.5,
        counts=voxels,
        lesions=lesions,
        surfaces=None,
        voxel_mm3=None if sizes is None else sizes[first],
        exclusive=False,
        patients=names,
        folds=None if columns.folds is None else columns.folds[first],
    )
    return pooled, first


def _mean_of_highest(values: np.ndarray, count: int) -> np.ndarray:
    """(K,) mean of the ``count`` highest of (n, K) values."""
    return np.sort(values, axis=0)[-count:].mean(0)
