"""Scores of detections: average precision, FROC and F-beta.

A detection is a row ``[class, score, kept, low ..., high ...]``, an object ``[class, low ..., high ...]``: the corners
of a box along the axes of the file, in mm where it has a voxel size, else in pixels, counted from the edge of the first
voxel. Of a point both corners are equal. ``kept`` says whether the score reached the threshold.

A case's detections and objects are a JSON text each in a table of cases, columns ``detections`` and ``objects``.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from heldout.errors import UserError
from heldout.metrics.masks import Uses
from heldout.metrics.metric import Metric
from heldout.metrics.ranking import divide
from heldout.metrics.tables import Columns

PREFIXES = ("map", "froc", "fbeta")
MOST = 100  # detections of a case and class that average precision counts, as COCO does
FALSE_RATES = (0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)  # false positives per case at which FROC reads the sensitivity
_RECALLS = np.linspace(0, 1, 101)
_BLOCK = 1 << 22  # numbers of a block of draws
_NUMBER = r"\d+(\.\d+)?"
_FORMS = {
    "map": (rf"({_NUMBER})(:{_NUMBER})?", "an IoU or a range of them after the colon, such as map:0.5 or map:0.5:0.95"),
    "froc": (_NUMBER, "a distance in mm after the colon, such as froc:5"),
    "fbeta": (rf"{_NUMBER}:{_NUMBER}", "beta and a distance in mm after the colon, such as fbeta:4:6"),
}


@dataclass(frozen=True)
class Matched:
    """Detections of one class in the order of their scores, the highest first.

    Attributes:
        case: (m,) number of the case.
        score: (m,) score.
        kept: (m,) whether it reached the threshold.
        hit: (m,) whether it found an object that none before it found.
        repeated: (m,) whether it is at an object that one before it found.
        objects: (n,) number of objects of every case.
    """

    case: np.ndarray
    score: np.ndarray
    kept: np.ndarray
    hit: np.ndarray
    repeated: np.ndarray
    objects: np.ndarray


def detection_metric(name: str) -> Metric:
    """The metric ``map:IOU``, ``map:FROM:TO``, ``froc:DISTANCE`` or ``fbeta:BETA:DISTANCE``.

    Raises:
        UserError: the numbers after the colon are missing or mean nothing.
    """
    kind, _, rest = name.partition(":")
    form, needs = _FORMS[kind]
    numbers = [float(part) for part in rest.split(":")] if re.fullmatch(form, rest) else []
    if not numbers or (kind == "map" and not 0 < numbers[0] <= numbers[-1] <= 1):
        raise UserError(f"metric {name!r} needs {needs}")
    whole: Callable[[Columns, np.ndarray], np.ndarray]
    if kind == "map":
        overlaps = np.round(np.arange(numbers[0], numbers[-1] + 1e-9, 0.05), 2) if len(numbers) > 1 else numbers
        what = f"average precision at an IoU of {rest.replace(':', ' ... ')}, mean over classes, as COCO computes it"
        whole = functools.partial(_of_classes, functools.partial(_mean_precision, tuple(map(float, overlaps))))
    elif kind == "froc":
        what = f"mean sensitivity at 1/8 ... 8 false positives per case, hits within {rest}"
        whole = functools.partial(_of_classes, functools.partial(_froc, numbers[0]))
    else:
        what = f"F-beta, beta {numbers[0]:g}, of all detections above the threshold, hits within {numbers[1]:g}"
        whole = functools.partial(_of_classes, functools.partial(_fbeta, numbers[0], numbers[1]))
    uses: Uses = "kept_detections" if kind == "fbeta" else "detections"
    return Metric(name, "segmentation", True, what, uses, whole=whole, interval_scale="logit")


def match(columns: Columns, number: int, worth: Callable[[np.ndarray, np.ndarray], np.ndarray], most: int) -> Matched:
    """Assign detections of a class to its objects, case by case, the surest detection first.

    Args:
        columns: The cases.
        number: The class.
        worth: From detections and objects, rows of corners, to (detections, objects): how well they fit; below 0 they
            do not. Each object goes to the first detection that fits, which takes the one that it fits best.
        most: Detections of a case that count.
    """
    assert columns.detections is not None, "tables of detections have both"
    assert columns.objects is not None
    parts: list[np.ndarray] = []
    counts = np.zeros(len(columns.truth))
    for case, (found, objects) in enumerate(zip(columns.detections, columns.objects, strict=True)):
        mine = found[found[:, 0] == number] if len(found) else np.empty((0, 3))
        theirs = objects[objects[:, 0] == number] if len(objects) else np.empty((0, 1))
        counts[case] = len(theirs)
        mine = mine[np.argsort(-mine[:, 1], kind="stable")][:most]
        if not len(mine):
            continue
        hit, repeated = np.zeros(len(mine), bool), np.zeros(len(mine), bool)
        if len(theirs):
            fits, free = worth(mine[:, 3:], theirs[:, 1:]), np.ones(len(theirs), bool)
            for row, values in enumerate(fits):
                open_ = np.where(free, values, -1.0)
                hit[row] = open_.max() >= 0
                repeated[row] = not hit[row] and values.max() >= 0
                if hit[row]:
                    free[len(open_) - 1 - int(open_[::-1].argmax())] = False  # of equals the last, as COCO does
        parts.append(np.stack([np.full(len(mine), case), mine[:, 1], mine[:, 2], hit, repeated], 1))
    rows = np.concatenate(parts) if parts else np.empty((0, 5))
    rows = rows[np.argsort(-rows[:, 1], kind="stable")]
    return Matched(rows[:, 0].astype(int), rows[:, 1], rows[:, 2] > 0, rows[:, 3] > 0, rows[:, 4] > 0, counts)


def overlaps(least: float, found: np.ndarray, objects: np.ndarray) -> np.ndarray:
    """IoU of boxes (m, 2 D) and (n, 2 D), above the least one; -1 where it is less."""
    axes = found.shape[1] // 2
    low = np.maximum(found[:, None, :axes], objects[None, :, :axes])
    high = np.minimum(found[:, None, axes:], objects[None, :, axes:])
    both = np.clip(high - low, 0, None).prod(-1)
    sizes = [(rows[:, axes:] - rows[:, :axes]).prod(-1) for rows in (found, objects)]
    iou = divide(both, sizes[0][:, None] + sizes[1][None] - both)
    return np.where(iou >= min(least, 1 - 1e-10), iou, -1.0)


def nearness(most: float, found: np.ndarray, objects: np.ndarray) -> np.ndarray:
    """1 / (1 + distance) of the centers of boxes (m, 2 D) from boxes (n, 2 D), 0 inside; -1 where that is too far."""
    axes = found.shape[1] // 2
    center = ((found[:, :axes] + found[:, axes:]) / 2)[:, None]
    outside = np.maximum(np.maximum(objects[None, :, :axes] - center, center - objects[None, :, axes:]), 0)
    distance = np.sqrt((outside**2).sum(-1))
    return np.where(distance <= most, 1 / (1 + distance), -1.0)


def _of_classes(one_class: Callable[..., np.ndarray], columns: Columns, weights: np.ndarray) -> np.ndarray:
    """(draws,) mean over the classes that have objects."""
    if columns.detections is None or columns.objects is None:
        raise UserError(
            "scores of detections need a task that detects: derive the experiment from Detect2D or Detect3D"
        )
    values = np.stack([one_class(columns, k, weights) for k in range(len(columns.classes))])
    known = ~np.isnan(values)
    return divide(np.where(known, values, 0).sum(0), known.sum(0).astype(float))


def _mean_precision(least: Sequence[float], columns: Columns, number: int, weights: np.ndarray) -> np.ndarray:
    if columns.objects is not None and not any(
        (rows[:, 1 : 1 + rows.shape[1] // 2] < rows[:, 1 + rows.shape[1] // 2 :]).any() for rows in columns.objects
    ):
        raise UserError("average precision compares boxes, and these objects are points: choose froc:5 or fbeta:1:5")
    found = [_precision(match(columns, number, functools.partial(overlaps, one), MOST), weights) for one in least]
    return np.mean(found, axis=0)


def _precision(matched: Matched, weights: np.ndarray) -> np.ndarray:
    """(draws,) average precision at 101 recalls; nan without objects."""
    objects, values = weights @ matched.objects, np.full(len(weights), np.nan)
    step = max(1, _BLOCK // max(1, len(matched.case)))
    for first in range(0, len(weights), step):
        block = weights[first : first + step][:, matched.case]
        hits, alarms = (block * matched.hit).cumsum(1), (block * ~matched.hit).cumsum(1)
        precision = hits / (hits + alarms + np.spacing(1))
        precision = np.maximum.accumulate(precision[:, ::-1], 1)[:, ::-1]
        for row, total in enumerate(objects[first : first + step]):
            if total > 0:
                place = np.searchsorted(hits[row] / total, _RECALLS, side="left")
                values[first + row] = np.append(precision[row], 0.0)[place].mean()
    return values


def _froc(distance: float, columns: Columns, number: int, weights: np.ndarray) -> np.ndarray:
    """(draws,) mean sensitivity; a further detection of an object that was found is no false positive (LUNA16)."""
    matched = match(columns, number, functools.partial(nearness, distance), len(columns.truth) + MOST)
    objects, values = weights @ matched.objects, np.full(len(weights), np.nan)
    last = np.append(matched.score[1:] != matched.score[:-1], True)[: len(matched.score)]  # of equal scores
    step = max(1, _BLOCK // max(1, len(matched.case)))
    for first in range(0, len(weights), step):
        part = weights[first : first + step]
        block = part[:, matched.case]
        hits = (block * matched.hit).cumsum(1)[:, last]
        alarms = (block * ~(matched.hit | matched.repeated)).cumsum(1)[:, last] / part.sum(1, keepdims=True)
        for row, total in enumerate(objects[first : first + step]):
            if total > 0:
                place = np.searchsorted(alarms[row], FALSE_RATES, side="right")
                values[first + row] = (np.concatenate([[0.0], hits[row]])[place] / total).mean()
    return values


def _fbeta(beta: float, distance: float, columns: Columns, number: int, weights: np.ndarray) -> np.ndarray:
    """(draws,) F-beta of all cases together."""
    matched = match(columns, number, functools.partial(nearness, distance), len(columns.truth) + MOST)
    of_case = weights[:, matched.case]
    hits, alarms = of_case @ (matched.hit & matched.kept), of_case @ (~matched.hit & matched.kept)
    missed = weights @ matched.objects - hits
    return divide((1 + beta**2) * hits, (1 + beta**2) * hits + beta**2 * missed + alarms)
