"""Which out-of-fold cases to show, and their pictures, truths and predictions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from heldout import files
from heldout.blend.apply import blend_case
from heldout.blend.decision import Decision, load_decision
from heldout.blend.members import Member, load_member
from heldout.errors import UserError
from heldout.evaluate.held_out import held_out_decision
from heldout.report.figures import ClassifiedCase, SegmentedCase, draw_classification, draw_segmentation

SEGMENTED, CLASSIFIED = 4, 8


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
    decision = load_decision(name)
    members = [load_member(member["name"]) for member in decision.members]
    table = members[0].table
    if case_id is not None and case_id not in set(table["case_id"]):
        raise UserError(f"{name} has no out-of-fold prediction of case {case_id!r}: choose a case of the train part")
    classes, path = decision.classes, files.home() / "working" / "figures" / f"{name}.png"
    title = f"{name} on {decision.dataset}, out-of-fold"
    if case_id is not None:
        path = path.with_suffix("") / f"overlay_case_{case_id}.png"
    if decision.kind == "segmentation" and case_id is not None:
        draw_segmentation(views(*read_segmented(decision, members, case_id)), classes, f"{title}: {case_id}", path)
    elif decision.kind == "segmentation":
        chosen = choose_segmented(table, classes)
        draw_segmentation([read_segmented(decision, members, case)[0] for case in chosen], classes, title, path)
    else:
        chosen = [case_id] if case_id else choose_classified(table, classes)
        draw_classification([read_classified(decision, members, case) for case in chosen], title, path)
    return path


def choose_segmented(table: pd.DataFrame, classes: tuple[str, ...], count: int = SEGMENTED) -> list[str]:
    """Cases with foreground, evenly from the worst Dice to the best; the last shows the largest invention."""
    found, extra, missed = (
        table[[f"{kind}_{label}" for label in classes]].sum(axis=1).to_numpy() for kind in ("tp", "fp", "fn")
    )
    ids = table["case_id"].to_numpy()
    positive = np.flatnonzero(found + missed > 0)
    dice = 2 * found[positive] / np.maximum(2 * found + extra + missed, 1)[positive]
    inventions = np.flatnonzero((found + missed == 0) & (extra > 0))
    places = count - 1 if len(inventions) else count
    ranked = positive[np.argsort(dice, kind="stable")]
    spread = np.unique(np.linspace(0, len(ranked) - 1, min(places, len(ranked))).round().astype(int))
    chosen = list(ids[ranked[spread]]) if len(ranked) else list(ids[:places])
    return chosen + ([ids[inventions[extra[inventions].argmax()]]] if len(inventions) else [])


def choose_classified(table: pd.DataFrame, classes: tuple[str, ...], count: int = CLASSIFIED) -> list[str]:
    """Cases evenly from the worst prediction to the best."""
    truth = table[[f"y_{label}" for label in classes]].to_numpy(float)
    scores = table[[f"p_{label}" for label in classes]].to_numpy(float)
    order = np.argsort(-np.abs(truth - scores).max(axis=1), kind="stable")
    spread = np.unique(np.linspace(0, len(order) - 1, min(count, len(order))).round().astype(int))
    return list(table["case_id"].to_numpy()[order[spread]])


def read_segmented(decision: Decision, members: list[Member], case_id: str) -> tuple[SegmentedCase, np.ndarray | None]:
    """A case with its truth and what was said of it while it was held out, and its affine (None for pictures).

    Raises:
        UserError: the case is not of the train part, or one of its files changed.
    """
    dataset = members[0].dataset
    truth = dataset.truth(case_id)  # refuses a case whose truth is sealed
    decision = held_out_decision(decision, int(dataset.folds[case_id]))
    mask = blend_case(decision, [member.prediction(case_id) for member in members]).mask
    image, classes = dataset.read_image(case_id), len(decision.classes)
    return SegmentedCase(case_id, image.array, per_class(truth, classes), per_class(mask, classes)), image.affine


def read_classified(decision: Decision, members: list[Member], case_id: str) -> ClassifiedCase:
    """A case with the names of its classes and what was said of it while it was held out."""
    dataset = members[0].dataset
    row = dataset.row(case_id)
    decision = held_out_decision(decision, int(dataset.folds[case_id]))
    result = blend_case(decision, [member.prediction(case_id) for member in members])
    truth = tuple(label for label in decision.classes if row[f"y_{label}"] == 1)
    scores = {label: float(score) for label, score in zip(decision.classes, result.scores, strict=True)}
    return ClassifiedCase(case_id, dataset.read_image(case_id).array, truth, scores)


def views(case: SegmentedCase, affine: np.ndarray | None) -> list[SegmentedCase]:
    """What to show of a single case: a picture as it is; a volume in three planes through the middle of its lesion.

    The lesion is the largest connected part of the truth, of all classes together; where there is none, of the
    prediction. Planes are stretched so that their pixels are square in millimetres.
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


def per_class(mask: np.ndarray, classes: int) -> np.ndarray:
    """Masks (K, *spatial) bool of a label map (1, *spatial), or of binary channels (K, *spatial)."""
    if len(mask) == classes and classes > 1:
        return mask > 0
    return np.stack([mask[0] == label for label in range(1, classes + 1)])
