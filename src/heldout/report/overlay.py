"""Overlays of out-of-fold predictions: which cases, and which planes of a volume."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from heldout import files
from heldout.errors import UserError
from heldout.evaluate.cases import SegmentedCase, choose_evenly
from heldout.evaluate.held_out import HeldOut, open_held_out
from heldout.report.figures import draw_classification, draw_segmentation


def overlay(name: str, case_id: str | None = None) -> Path:
    """Draw out-of-fold predictions of a run or a blend.

    Args:
        name: Spec of a run, or name of a blend.
        case_id: One case; None takes some, from the worst to the best.

    Returns:
        ``working/figures/<name>.png``, or ``working/figures/<name>/overlay_case_<case>.png``.

    Raises:
        UserError: there is no such run, or it has not predicted the case.
    """
    held = open_held_out(name)
    if case_id is not None and case_id not in set(held.members[0].table["case_id"]):
        raise UserError(f"{name} has no out-of-fold prediction of case {case_id!r}: choose a case of the train part")
    # a blend of one fold has no cross-fitted predictions: its first member tells which cases are hard
    known = not held.is_blend or held.cross_fitted_table is not None
    scores = held.case_scores if known else HeldOut.of_run(held.members[0]).case_scores
    path = files.home() / "working" / "figures" / f"{name}.png"
    title = f"{name} on {held.dataset_name}, out-of-fold"
    if case_id is not None:
        path = path.with_suffix("") / f"overlay_case_{case_id}.png"
    if held.segments and case_id is not None:
        draw_segmentation(views(*held.segmented_case(case_id)), held.classes, f"{title}: {case_id}", path)
    elif held.segments:
        cases = [held.segmented_case(case)[0] for case in choose_evenly(scores)]
        draw_segmentation(cases, held.classes, title, path)
    else:
        chosen = [case_id] if case_id else choose_evenly(scores)
        draw_classification([held.classified_case(case) for case in chosen], title, path)
    return path


def views(case: SegmentedCase, affine: np.ndarray | None) -> list[SegmentedCase]:
    """What to show of a single case: a picture as it is; a volume in three planes through the middle of its lesion.

    The lesion is the largest connected part of the truth, of all classes together; where there is none, of the
    prediction. Planes are stretched so that their pixels are square in millimeters.
    """
    if case.truth.ndim == 3:
        return [case]
    from scipy.ndimage import generate_binary_structure, label

    found = case.truth.any(0) if case.truth.any() else case.predicted.any(0)
    parts, _ = label(found, generate_binary_structure(3, 3))
    sizes = np.bincount(parts.ravel())
    largest = parts == 1 + sizes[1:].argmax() if found.any() else np.ones_like(found)
    middle = [int(np.median(places)) for places in np.nonzero(largest)]
    spacing = np.ones(3) if affine is None else np.linalg.norm(affine[:3, :3], axis=0)
    names = _plane_names(affine)
    planes = []
    for axis in (2, 1, 0):
        step = np.delete(spacing, axis)
        arrays = [
            _square(np.take(array, middle[axis], axis + 1), step) for array in (case.image, case.truth, case.predicted)
        ]
        title = f"{names[axis]} {middle[axis] + 1} of {found.shape[axis]}"
        planes.append(SegmentedCase(title, arrays[0], arrays[1], arrays[2]))
    return planes


def _plane_names(affine: np.ndarray | None) -> Sequence[str]:
    """Of each voxel axis, the name of the planes across it."""
    if affine is None:
        return ("across x", "across y", "across z")
    import nibabel

    planes = {"L": "sagittal", "R": "sagittal", "P": "coronal", "A": "coronal", "I": "axial", "S": "axial"}
    return [planes[code] for code in nibabel.aff2axcodes(affine)]


def _square(plane: np.ndarray, spacing: np.ndarray) -> np.ndarray:
    """A plane (C, A, B) turned upright, (C, B, A), its coarser axis repeated to the finer one's spacing."""
    sizes = np.maximum(1, np.rint(np.array(plane.shape[1:]) * spacing / spacing.min())).astype(int)
    rows, columns = ((np.arange(n) * (old / n)).astype(int) for n, old in zip(sizes, plane.shape[1:], strict=True))
    return np.rot90(plane[:, rows][:, :, columns], axes=(1, 2))
