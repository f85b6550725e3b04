"""The part of a report about volumes: overlap from the first slice to the last."""

from __future__ import annotations

import numpy as np

from heldout.evaluate.cases import per_class
from heldout.evaluate.held_out import HeldOut
from heldout.report.sections.blocks import Block, Heading, Picture
from heldout.report.svg import Line, line_chart

PARTS = 20


def depth_blocks(subject: HeldOut) -> list[Block]:
    """IoU along the last axis of the volumes, all cases together; nothing for pictures and classifications."""
    if not subject.segments or subject.dataset.dimensions != 3:
        return []
    from rich.console import Console
    from rich.progress import track

    from heldout.metrics import iou_by_depth, mean_by_depth

    dataset, classes = subject.dataset, subject.classes
    profiles: list[list[tuple[np.ndarray, np.ndarray]]] = [[] for _ in classes]
    cases = track(list(subject.table["case_id"]), f"IoU by depth of {subject.name}", console=Console(stderr=True))
    for case_id in cases:
        masks = (per_class(mask, len(classes)) for mask in (subject.prediction(case_id).mask, dataset.truth(case_id)))
        for of_class, predicted, truth in zip(profiles, *masks, strict=True):
            of_class.append(iou_by_depth(predicted, truth))
    lines = []
    for k, (name, of_class) in enumerate(zip(classes, profiles, strict=True)):
        place, iou, slices = mean_by_depth(of_class, PARTS)
        known = np.isfinite(iou)
        sizes = 1.5 + 9 * np.sqrt(slices[known] / max(slices.max(), 1))
        lines.append(Line(name, list(zip(place[known], iou[known], strict=True)), k, list(sizes)))
    chart = line_chart(
        lines,
        f"IoU along the depth of {subject.name}",
        "place along the last axis, first slice to last",
        "mean IoU of slices",
        spans=((0.0, 1.0), (0.0, 1.0)),
        width=620,
    )
    if not chart:
        return []
    caption = (
        f"Mean IoU of the slices in {PARTS} equal parts of the depth, of slices with truth or prediction; a dot's area "
        "is the number of slices."
    )
    return [Heading("Overlap along the depth"), Picture("depth", chart, caption)]
