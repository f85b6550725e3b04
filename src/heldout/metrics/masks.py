"""Scores of masks: which values of every case each one uses, and how they become a score.

The name states the policy for empty masks: ``_pos`` is a mean over the cases that hold the class, ``_all`` one over all
cases, ``_pooled`` adds up all cases before anything is divided.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np

from heldout.errors import UserError
from heldout.metrics import overlap
from heldout.metrics.ranking import divide
from heldout.metrics.tables import Columns

Uses = Literal[
    "probability", "predicted_label", "value", "counts", "lesions", "surfaces", "volume", "tolerance", "detections",
    "kept_detections",
]  # fmt: skip
OF_LABELS = ("probability", "predicted_label", "value")  # what is known of cases without masks
OF_DETECTIONS = ("detections", "kept_detections")  # of all, ranked by score, or of those above the threshold
# What an experiment must measure of its masks, by what a score looks at.
DETAILS = {"lesions": "lesions", "surfaces": "surface", "volume": "volume"}
_MM3_PER_ML = 1000
PRESENCE_SHARE = 0.001
PRESENCE_MIN = 10


def presence_count(voxels: int) -> int:
    """Of a map of so many voxels, how many of the most probable ones its presence score is the mean of.

    Example:
        >>> presence_count(100_000), presence_count(1_000), presence_count(4)
        (100, 10, 4)
    """
    return min(voxels, max(PRESENCE_MIN, round(PRESENCE_SHARE * voxels)))


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


def at_tolerance(name: str) -> Callable[[Columns, np.ndarray], np.ndarray]:
    """Score of surfaces at the tolerance in its name, such as ``nsd:2``: a mean over the cases that hold the class."""

    def score(columns: Columns, weights: np.ndarray) -> np.ndarray:
        if columns.counts is None:
            raise UserError(f"{name} needs masks, and these are predictions without: choose another metric")
        if name not in columns.tolerant:
            raise UserError(
                f"{name} needs what was not measured of these masks: set mask_details = ({name!r},) in the experiment "
                "and train it; blends do not have it"
            )
        return overlap.mean_of_positives(columns.tolerant[name], columns.counts, weights).mean(1)

    return score


def _mean(of_case: Callable, empty: float, mean: Callable) -> Callable:
    """A score of voxel or lesion counts, by its value of one case, that of empty masks, and the mean over the cases."""

    def score(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
        counts = values[..., :3]
        return mean(of_case(counts, empty), counts, weights)

    return score


def _distance(position: int) -> Callable:
    return lambda values, weights: overlap.mean_of_positives(values[..., position], values[..., :3], weights)


def _volume_ml(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    milliliters = np.abs(values[..., 1] - values[..., 2]) * values[..., 3] / _MM3_PER_ML
    return overlap.mean_of_all(milliliters, values[..., :3], weights)


def _count_error(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    return overlap.mean_of_all(np.abs(values[..., 4] - values[..., 3]), values[..., :3], weights)


def _pooled_f1(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    hits, false, missed = np.moveaxis(np.tensordot(weights, values[..., :3], 1), -1, 0)
    return divide(2 * hits, 2 * hits + false + missed)


_dice, _iou = overlap.case_dice, overlap.case_iou
_recall, _precision, _volume = overlap.case_recall, overlap.case_precision, overlap.case_volume_error
_some, _all = overlap.mean_of_positives, overlap.mean_of_all
_HELD = "mean over the cases that hold the class"
_EMPTY = "mean over all cases, 1 where mask and prediction are both empty"
_NONE, _LESIONS = "0 where nothing is predicted", "by lesions, a lesion is found where one of its voxels is predicted"
_RIGHT = "share of the predicted voxels that are true"
_FAR = "the volume's diagonal where nothing is predicted"
# Name, whether higher is better, one line for people, what it looks at, and the function.
MASK_SCORES: list[tuple[str, bool, str, Uses, Callable]] = [
    ("dice_pos", True, f"Dice, {_HELD}", "counts", _mean(_dice, 0, _some)),
    ("dice_all", True, f"Dice, {_EMPTY}", "counts", _mean(_dice, 1, _all)),
    ("iou_pos", True, f"IoU, {_HELD}", "counts", _mean(_iou, 0, _some)),
    ("iou_all", True, f"IoU, {_EMPTY}", "counts", _mean(_iou, 1, _all)),
    ("recall_pos", True, f"share of the true voxels found, {_HELD}", "counts", _mean(_recall, 0, _some)),
    ("precision_pos", True, f"{_RIGHT}, {_NONE}, {_HELD}", "counts", _mean(_precision, 0, _some)),
    ("volume_error_pos", False, f"|predicted - true| / true volume, {_HELD}", "counts", _mean(_volume, 0, _some)),
    ("volume_ml_error_all", False, "|predicted - true| volume in ml, mean over all cases", "volume", _volume_ml),
    ("lesion_recall_pos", True, f"recall {_LESIONS}, {_HELD}", "lesions", _mean(_recall, 0, _some)),
    ("lesion_precision_pos", True, f"precision {_LESIONS}, {_NONE}, {_HELD}", "lesions", _mean(_precision, 0, _some)),
    ("lesion_f1_pos", True, f"F1 {_LESIONS}, {_HELD}", "lesions", _mean(_dice, 0, _some)),
    ("lesion_f1_all", True, f"F1 {_LESIONS}, {_EMPTY}", "lesions", _mean(_dice, 1, _all)),
    ("lesion_f1_pooled", True, f"F1 {_LESIONS}, all lesions of all cases alike", "lesions", _pooled_f1),
    ("lesion_count_error_all", False, "|predicted - true| number of lesions", "lesions", _count_error),
    ("hd95_pos", False, f"95 % Hausdorff distance in mm, {_FAR}, {_HELD}", "surfaces", _distance(3)),
    ("assd_pos", False, f"average symmetric surface distance in mm, {_FAR}, {_HELD}", "surfaces", _distance(4)),
]
