"""Scores of masks: which values of every case they look at, and what becomes of them.

The name says what an empty mask costs: ``_pos`` is a mean over the cases that hold the class, ``_all`` one over all
cases, ``_pooled`` adds up all cases before anything is divided.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Literal

import numpy as np

from heldout.errors import UserError
from heldout.metrics import overlap
from heldout.metrics.ranking import divide
from heldout.metrics.tables import Columns

Uses = Literal["probability", "predicted_label", "counts", "lesions", "surfaces", "volume"]
# What an experiment must measure of its masks, by what a score looks at.
DETAILS = {"lesions": "lesions", "surfaces": "surface", "volume": "volume"}
_MM3_PER_ML = 1000
_MIN_HITS = "a lesion is found where one of its voxels is predicted"


def mask_values(name: str, uses: str, columns: Columns) -> np.ndarray:
    """Values (n, K, values) of every case, of which the first three always are [hits, false alarms, misses].

    ``counts`` are voxels; ``surfaces`` add HD95 and average distance in mm, ``volume`` the volume of a voxel in mm³;
    ``lesions`` are lesions, and add the number of true lesions and of predicted regions.

    Raises:
        UserError: the table has no masks, or they were not measured that way.
    """
    if columns.counts is None:
        raise UserError(f"{name} needs masks, and these are predictions without: choose another metric")
    extra = {"lesions": columns.lesions, "surfaces": columns.surfaces, "volume": columns.voxel_mm3}.get(uses)
    if uses == "counts":
        return columns.counts
    if extra is None:
        raise UserError(
            f"{name} needs what was not measured of these masks: set mask_details = ({DETAILS[uses]!r},) in the "
            "experiment and train it; blends do not have it"
        )
    if uses == "lesions":
        lesions, found, regions, false = np.moveaxis(extra, -1, 0)
        return np.stack([found, false, lesions - found, lesions, regions], -1)
    if uses == "volume":
        extra = np.broadcast_to(extra[:, None, None], (*columns.counts.shape[:2], 1))
    return np.concatenate([columns.counts, extra], -1)


def _mean(of_case: Callable, empty: float, mean: Callable, values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    counts = values[..., :3]
    return mean(of_case(counts, empty), counts, weights)


def _mean_value(position: int, mean: Callable, values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    return mean(values[..., position], values[..., :3], weights)


def _volume_ml(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    milliliters = np.abs(values[..., 1] - values[..., 2]) * values[..., 3] / _MM3_PER_ML
    return overlap.mean_of_all(milliliters, values[..., :3], weights)


def _count_error(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    return overlap.mean_of_all(np.abs(values[..., 4] - values[..., 3]), values[..., :3], weights)


def _pooled_f1(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    hits, false, missed = np.moveaxis(np.tensordot(weights, values[..., :3], 1), -1, 0)
    return divide(2 * hits, 2 * hits + false + missed)


def _scores() -> list[tuple[str, bool, str, Uses, Callable]]:
    positives, everyone = overlap.mean_of_positives, overlap.mean_of_all
    held, both_empty = "mean over the cases that hold the class", "1 where mask and prediction are both empty"

    def one(of_case: Callable, empty: float, mean: Callable) -> Callable:
        return functools.partial(_mean, of_case, empty, mean)

    dice, iou = overlap.case_dice, overlap.case_iou
    recall, precision, volume = overlap.case_recall, overlap.case_precision, overlap.case_volume_error
    none, kind = "0 where nothing is predicted", f"by lesions, {_MIN_HITS}"
    return [
        ("dice_pos", True, f"Dice, {held}", "counts", one(dice, 0.0, positives)),
        ("dice_all", True, f"Dice, mean over all cases, {both_empty}", "counts", one(dice, 1.0, everyone)),
        ("iou_pos", True, f"Iou, {held}", "counts", one(iou, 0.0, positives)),
        ("iou_all", True, f"Iou, mean over all cases, {both_empty}", "counts", one(iou, 1.0, everyone)),
        ("recall_pos", True, f"share of the true voxels found, {held}", "counts", one(recall, 0.0, positives)),
        (
            "precision_pos",
            True,
            f"share of the predicted voxels that are true, {none}, {held}",
            "counts",
            one(precision, 0.0, positives),
        ),
        ("volume_error_pos", False, f"|predicted - true| / true volume, {held}", "counts", one(volume, 0.0, positives)),
        ("volume_ml_error_all", False, "|predicted - true| volume in ml, mean over all cases", "volume", _volume_ml),
        ("lesion_recall_pos", True, f"recall {kind}, {held}", "lesions", one(recall, 0.0, positives)),
        ("lesion_precision_pos", True, f"precision {kind}, {none}, {held}", "lesions", one(precision, 0.0, positives)),
        ("lesion_f1_pos", True, f"F1 {kind}, {held}", "lesions", one(dice, 0.0, positives)),
        ("lesion_f1_all", True, f"F1 {kind}, mean over all cases, {both_empty}", "lesions", one(dice, 1.0, everyone)),
        ("lesion_f1_pooled", True, f"F1 {kind}, all lesions of all cases alike", "lesions", _pooled_f1),
        ("lesion_count_error_all", False, "|predicted - true| number of lesions", "lesions", _count_error),
        (
            "hd95_pos",
            False,
            f"95 % Hausdorff distance in mm, the volume's diagonal where nothing is predicted, {held}",
            "surfaces",
            functools.partial(_mean_value, 3, positives),
        ),
        (
            "assd_pos",
            False,
            f"average symmetric surface distance in mm, the diagonal where nothing is predicted, {held}",
            "surfaces",
            functools.partial(_mean_value, 4, positives),
        ),
    ]


# Name, whether higher is better, one line for people, what it looks at, and the function.
MASK_SCORES = _scores()
