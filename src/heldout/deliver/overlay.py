"""Which out-of-fold cases to show, and their pictures, truths and predictions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from heldout import files
from heldout.blend.apply import blend_case
from heldout.blend.decision import Decision, load_decision
from heldout.blend.members import Member, load_member
from heldout.deliver.figures import ClassifiedCase, SegmentedCase, draw_classification, draw_segmentation
from heldout.errors import UserError

SEGMENTED, CLASSIFIED = 4, 8


def overlay(name: str, case_id: str | None = None) -> Path:
    """Draw out-of-fold predictions of a run or a blend.

    Args:
        name: Spec of a run, or name of a blend.
        case_id: One case; None takes some, from the worst to the best.

    Returns:
        ``working/figures/<name>.png``, or ``<name>-<case>.png``.

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
        path = path.with_name(f"{name}-{case_id}.png")
    if decision.kind == "segmentation":
        chosen = [case_id] if case_id else choose_segmented(table, classes)
        draw_segmentation([_segmented(decision, members, case) for case in chosen], classes, title, path)
    else:
        chosen = [case_id] if case_id else choose_classified(table, classes)
        draw_classification([_classified(decision, members, case) for case in chosen], title, path)
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


def _segmented(decision: Decision, members: list[Member], case_id: str) -> SegmentedCase:
    dataset = members[0].dataset
    mask = blend_case(decision, [member.prediction(case_id) for member in members]).mask
    classes = len(decision.classes)
    return SegmentedCase(
        case_id,
        dataset.read_image(case_id).array,
        per_class(dataset.truth(case_id), classes),
        per_class(mask, classes),
    )


def _classified(decision: Decision, members: list[Member], case_id: str) -> ClassifiedCase:
    result = blend_case(decision, [member.prediction(case_id) for member in members])
    row = members[0].table.set_index("case_id").loc[case_id]
    truth = tuple(label for label in decision.classes if row[f"y_{label}"] == 1)
    scores = {label: float(score) for label, score in zip(decision.classes, result.scores, strict=True)}
    return ClassifiedCase(case_id, members[0].dataset.read_image(case_id).array, truth, scores)


def per_class(mask: np.ndarray, classes: int) -> np.ndarray:
    """Masks (K, *spatial) bool of a label map (1, *spatial), or of binary channels (K, *spatial)."""
    if len(mask) == classes and classes > 1:
        return mask > 0
    return np.stack([mask[0] == label for label in range(1, classes + 1)])
