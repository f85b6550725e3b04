"""A patient as slices, for a decision on images: the pictures of a stack, or a volume that is cut into them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import numpy as np

from heldout.blend.apply import Blended
from heldout.blend.together import put_together, slices_by
from heldout.data import readers
from heldout.data.geometry import orient, orientation
from heldout.data.image import Image
from heldout.deliver.masks import mask_files
from heldout.serve import screen
from heldout.serve.messages import Ask, Found
from heldout.serve.model import Case, Served

_TOGETHER = 16  # slices that are held at a time
_MOST_SHOWN = 1 << 28  # bytes of the files of slices for the screen

See = Callable[[Case, np.ndarray | None], None]  # what is called with every slice and its mask


def named(served: Served, values: Any) -> dict[str, float]:
    """Values (K,) by the names of the classes."""
    return {name: float(value) for name, value in zip(served.decision.classes, values, strict=True)}


def of_class(mask: np.ndarray, k: int) -> np.ndarray:
    """Where a mask (M, *S) shows the class of number k."""
    return mask[0] == k + 1 if len(mask) == 1 else mask[k] > 0


def analyze_slices(served: Served, ask: Ask) -> Found:
    """The answer for a patient: of every class the highest probability over the slices, and areas along the depth.

    With ``ask.preview`` its masks are among the files: on the grid of a volume, else as ``mask0001.png`` and on.

    Raises:
        UserError: a file cannot be read or does not fit.
    """
    paths = sorted(ask.folder.iterdir())
    notes, voxel = [*served.notes], None
    if len(paths) == 1 and (readers.is_series(paths[0]) or readers.format_of(paths[0]) == "nifti"):
        cases, volume, scaled = served.slices_of(paths[0])
        notes += scaled
        voxel = abs(float(np.linalg.det(volume.affine[:3, :3]))) if volume.affine is not None else None
        masks: list[np.ndarray] = []
        found = _analyze(served, cases, lambda _, mask: None if mask is None or not ask.preview else masks.append(mask))
        count = len(cases)
        like = None if readers.is_series(paths[0]) else paths[0]
        if masks:
            mask = _in_volume(masks, volume)
            found.files = dict(mask_files("mask", mask, served.decision.classes, affine=volume.affine, like=like))
        if ask.preview and like is None:
            found.preview = screen.preview(volume)
    else:
        if ask.pixel_mm and ask.slice_mm:
            voxel = ask.pixel_mm**2 * ask.slice_mm
        shown = _Shown(served.decision.classes)
        found = _analyze(served, served.each(ask.folder), shown.add if ask.preview else _see_nothing)
        found.files, count = shown.files, len(paths)
        if shown.left:
            notes.append(f"the last {shown.left} slices are not shown: together they are too large")
    found.shape, found.warnings = (count,), notes
    if found.areas is not None and voxel is not None:
        found.volumes_ml = {name: pixels * voxel / 1000 for name, pixels in found.areas.items()}
    elif found.areas is not None:
        found.warnings.append("no volume in ml: the images have no size; give pixel_mm and slice_mm")
    return found


def _see_nothing(case: Case, mask: np.ndarray | None) -> None:
    pass


class _Shown:
    """Files of the slices of a stack for the screen: masks, and images that no browser shows as they are."""

    def __init__(self, classes: tuple[str, ...]) -> None:
        self.classes = classes
        self.files: dict[str, bytes] = {}
        self.left = 0
        self._count = self._size = 0

    def add(self, case: Case, mask: np.ndarray | None) -> None:
        self._count += 1
        if self._size > _MOST_SHOWN:
            self.left += 1
            return
        new = {} if mask is None else dict(mask_files(f"mask{self._count:04d}", mask, self.classes))
        if not case.name.endswith((".png", ".jpg")) or case.image.array.dtype != np.uint8:
            new[f"preview{self._count:04d}.png"] = screen.preview(case.image)
        self.files |= new
        self._size += sum(map(len, new.values()))


def _in_volume(masks: Sequence[np.ndarray], volume: Image) -> np.ndarray:
    """Masks (M, H, W) of axial images as one (M, *grid) of their volume: the way back from :meth:`Served.slices_of`."""
    axes, flips = orientation(volume.affine, 3)
    whole = np.empty((len(masks[0]), *volume.array.shape[1:]), np.uint8)
    turned = orient(whole, axes, flips)[:, ::-1, ::-1]
    for z, mask in enumerate(masks):
        turned[..., z] = mask.transpose(0, 2, 1)
    return whole


def _analyze(served: Served, cases: Iterable[Case], see: See) -> Found:
    classes = served.decision.classes
    scores: list[np.ndarray] = []
    raw: list[Any] = []
    areas: list[list[int]] = []
    measures: list[dict[str, float]] = []
    unusual: dict[int, list[str]] = {}
    left: dict[int, str] = {}
    for case, result in _results(served, cases):
        see(case, result.mask)
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


def _results(served: Served, cases: Iterable[Case]) -> Iterator[tuple[Case, Blended]]:
    """Every slice and its result; all are held where the decision has a hook that sees them together."""
    pairs = (
        pair
        for some in _chunks(cases)
        for pair in zip(some, served.predict([served.prepare(case) for case in some], alone=False), strict=True)
    )
    if not slices_by(served.decision):
        yield from pairs
        return
    held = list(pairs)
    of_volume = {case.case_id: "volume" for case, _ in held}
    together = put_together(served.decision, [result for _, result in held], of_volume)
    yield from zip((case for case, _ in held), together, strict=True)


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
