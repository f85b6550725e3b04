"""The part of a report about calls: confusion, ranking and reliability, of classes or of their presence."""

from __future__ import annotations

import numpy as np

from heldout.evaluate.held_out import HeldOut
from heldout.report.sections.blocks import Block, Heading, Picture, Text
from heldout.report.svg import Line, line_chart, matrix_chart

UNIT = (0.0, 1.0)


def label_blocks(subject: HeldOut) -> list[Block]:
    """Confusion matrix, ROC and precision-recall curves, and reliability."""
    truth = subject.truth
    both = [k for k in range(len(subject.classes)) if 0 < truth[:, k].sum() < len(truth)]
    title = "Presence" if subject.segments else "Predicted labels and probabilities"
    if not both:
        return [Heading(title), Text("Every case is of the same kind in every class: there is nothing to tell apart.")]
    return [
        Heading(title),
        *_confusion(subject, both),
        *_curves(subject, both),
        *_reliability(subject, both),
    ]


def confusion(truth: np.ndarray, called: np.ndarray) -> np.ndarray:
    """(2, 2) counts of negative and positive cases (rows) called so (columns), from (n,) bool arrays."""
    return np.bincount(2 * truth.astype(int) + called.astype(int), minlength=4).reshape(2, 2)


def _confusion(subject: HeldOut, both: list[int]) -> list[Block]:
    truth, called, names = subject.truth, subject.predicted_labels, subject.classes
    one_each = len(names) > 1 and bool((truth.sum(1) == 1).all() and (called.sum(1) == 1).all())
    if one_each and not subject.segments:
        size = len(names)
        counts = np.bincount(size * truth.argmax(1) + called.argmax(1), minlength=size**2).reshape(size, size)
        chart = matrix_chart(counts, names, f"Confusion matrix of {subject.name}")
        return [
            Picture(
                "confusion", chart, "Confusion matrix: cases of every class (rows) and what they were predicted as."
            )
        ]
    how = (
        "a case is predicted positive where its mask has any voxel"
        if subject.segments
        else "predicted labels as scored"
    )
    blocks: list[Block] = []
    for k in both:
        counts = confusion(truth[:, k], called[:, k])
        chart = matrix_chart(counts, (f"no {names[k]}", names[k]), f"Confusion matrix of {names[k]}, {subject.name}")
        blocks.append(Picture(f"confusion_{names[k]}", chart, f"Confusion matrix of {names[k]}: {how}."))
    return blocks


def _curves(subject: HeldOut, both: list[int]) -> list[Block]:
    from sklearn.metrics import precision_recall_curve, roc_curve

    from heldout.metrics import get_metric

    # curves of ranking look at what the scores of ranking look at: before a calibration that differs between folds
    table, roc, recall = get_metric("roc_auc").view(subject.table, subject.classes), [], []
    for k in both:
        name, truth = subject.classes[k], subject.truth[:, k]
        score = table[f"p_{name}"].to_numpy(float)
        false_alarms, hits, _ = roc_curve(truth, score)
        precisions, recalls, _ = precision_recall_curve(truth, score)
        roc.append(Line(name, list(zip(false_alarms, hits, strict=True)), k))
        recall.append(Line(name, list(zip(recalls, precisions, strict=True)), k))
        share = float(truth.mean())
        recall.append(Line(f"{name}: by chance", [(0, share), (1, share)], k, dashed=True))
    spans = (UNIT, UNIT)
    title = f"of {subject.name}"
    charts = (
        ("roc", roc, "1 - specificity", "sensitivity", "ROC curve", True),
        ("precision", recall, "recall", "precision", "Precision and recall", False),
    )
    return [
        Picture(name, line_chart(lines, f"{text} {title}", x, y, spans=spans, diagonal=diagonal, width=400), f"{text}.")
        for name, lines, x, y, text, diagonal in charts
    ]


def _reliability(subject: HeldOut, both: list[int]) -> list[Block]:
    from heldout.metrics.calibration import reliability_curve

    blocks: list[Block] = []
    for k in both:
        name, truth = subject.classes[k], subject.truth[:, k]
        kinds = {"p": "as given"}
        if f"uncalibrated_{name}" in subject.table:
            kinds = {"uncalibrated": "before calibration", "p": "after calibration, cross-fitted"}
        lines = []
        for number, (column, text) in enumerate(kinds.items()):
            curve = reliability_curve(truth, subject.table[f"{column}_{name}"].to_numpy(float))
            sizes = 2.5 + 14 * np.sqrt(curve.cases / len(truth))
            points = list(zip(curve.stated, curve.observed, strict=True))
            lines.append(Line(text, points, 2 - number if len(kinds) > 1 else 0, list(sizes)))
        title = f"Reliability of {name}, {subject.name}"
        chart = line_chart(
            lines, title, "stated probability", "observed share", spans=(UNIT, UNIT), diagonal=True, width=400
        )
        caption = f"Reliability of {name}: what is stated happens on the dotted line; a dot's area is its cases."
        blocks.append(Picture(f"reliability_{name}", chart, caption))
    return blocks
