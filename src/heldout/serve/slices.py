"""A patient as slices, for a decision on images: the pictures of a stack, or a volume that is cut into them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import numpy as np

from heldout.data import readers
from heldout.serve.messages import Ask, Found
from heldout.serve.model import Case, Served

_TOGETHER = 16  # slices that are held at a time


def named(served: Served, values: Any) -> dict[str, float]:
    """Values (K,) by the names of the classes."""
    return {name: float(value) for name, value in zip(served.decision.classes, values, strict=True)}


def of_class(mask: np.ndarray, k: int) -> np.ndarray:
    """Where a mask (M, *S) shows the class of number k."""
    return mask[0] == k + 1 if len(mask) == 1 else mask[k] > 0


def analyze_slices(served: Served, ask: Ask) -> Found:
    """The answer for a patient: of every class the highest probability over the slices, and areas along the depth.

    Raises:
        UserError: a file cannot be read or does not fit.
    """
    paths = sorted(ask.folder.iterdir())
    notes, voxel = [*served.notes], None
    if len(paths) == 1 and (readers.is_series(paths[0]) or readers.format_of(paths[0]) == "nifti"):
        cases, volume, scaled = served.slices_of(paths[0])
        notes += scaled
        voxel = abs(float(np.linalg.det(volume.affine[:3, :3]))) if volume.affine is not None else None
        found, count = _analyze(served, cases), len(cases)
    else:
        if ask.pixel_mm and ask.slice_mm:
            voxel = ask.pixel_mm**2 * ask.slice_mm
        found, count = _analyze(served, served.each(ask.folder)), len(paths)
    found.shape, found.warnings = (count,), notes
    if found.areas is not None and voxel is not None:
        found.volumes_ml = {name: pixels * voxel / 1000 for name, pixels in found.areas.items()}
    elif found.areas is not None:
        found.warnings.append("no volume in ml: the images have no size; give pixel_mm and slice_mm")
    return found


def _analyze(served: Served, cases: Iterable[Case]) -> Found:
    classes = served.decision.classes
    scores: list[np.ndarray] = []
    raw: list[Any] = []
    areas: list[list[int]] = []
    measures: list[dict[str, float]] = []
    unusual: dict[int, list[str]] = {}
    left: dict[int, str] = {}
    for some in _chunks(cases):
        for case, result in zip(some, served.predict([served.prepare(case) for case in some]), strict=True):
            scores.append(result.scores)
            raw.append(result.uncalibrated)
            if result.mask is not None:
                areas.append([int(of_class(result.mask, k).sum()) for k in range(len(classes))])
            measured, reasons = served.compare(case, result)
            measures.append(measured)
            if reasons:
                unusual[len(scores)] = reasons
            if result.abstain:
                left[len(scores)] = result.abstain
    found = Found("stack", named(served, np.max(scores, axis=0)), named(served, np.max(raw, axis=0)), ())
    found.measures = {name: float(np.median([one[name] for one in measures])) for name in measures[0]}
    found.unusual = _summary(unusual, len(scores), "are unlike the training images")
    if served.decision.abstention:
        found.abstain = "; ".join(_summary({n: [text] for n, text in left.items()}, len(scores), "are left to people"))
    columns = zip(classes, np.transpose(scores), strict=True)
    found.numbers = {
        "slices": len(scores),
        "probabilities": {name: [round(float(value), 6) for value in column] for name, column in columns},
    }
    if areas:
        counts = np.transpose(areas)
        found.areas = dict(zip(classes, map(int, counts.sum(axis=1)), strict=True))
        found.numbers["areas"] = dict(zip(classes, counts.tolist(), strict=True))
    return found


def _chunks(cases: Iterable[Case]) -> Iterator[list[Case]]:
    rest = iter(cases)
    while some := list(islice(rest, _TOGETHER)):
        yield some


def _summary(reasons: Mapping[int, Sequence[str]], count: int, what: str) -> list[str]:
    """One sentence about the slices with reasons, and the first of these."""
    if not reasons:
        return []
    first = min(reasons)
    return [f"{len(reasons)} of {count} slices {what}; slice {first}: {reasons[first][0]}"]
