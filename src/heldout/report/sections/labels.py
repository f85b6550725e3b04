"""The part of a report about predicted labels: confusion, ranking and reliability, of classes or of their presence."""

from __future__ import annotations

import numpy as np

from heldout.evaluate.held_out import HeldOut
from heldout.report.charts import UNIT, reliability_chart
from heldout.report.sections.blocks import Block, FigureBlock, Heading, TableBlock, Text
from heldout.report.svg import Line, line_chart, matrix_chart


def label_blocks(subject: HeldOut) -> list[Block]:
    """Confusion matrix, ROC and precision-recall curves, and reliability."""
    truth = subject.truth
    both = [k for k, known in enumerate(subject.known.T) if 0 < truth[known, k].sum() < known.sum()]
    title = "Presence" if subject.segments else "Predicted labels and probabilities"
    if not both:
        return [Heading(title), Text("Every case is of the same kind in every class: there is nothing to tell apart.")]
    return [Heading(title), *confusion_blocks(subject, both), *_curves(subject, both), *_reliability(subject, both)]


def confusion(truth: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """(2, 2) counts of negative and positive cases (rows) predicted so (columns), from (n,) bool arrays."""
    return np.bincount(2 * truth.astype(int) + predicted.astype(int), minlength=4).reshape(2, 2)


def confusion_blocks(subject: HeldOut, both: list[int]) -> list[Block]:
    """A matrix of one class, or of classes of which each case has one; a table where cases have several or none."""
    truth, predicted, names = subject.truth, subject.predicted_labels, subject.classes
    size, title = len(names), f"Confusion matrix of {subject.name}"
    if not subject.segments and size > 1 and bool((truth.sum(1) == 1).all() and (predicted.sum(1) == 1).all()):
        counts = np.bincount(size * truth.argmax(1) + predicted.argmax(1), minlength=size**2).reshape(size, size)
        caption = "Confusion matrix: cases of every class (rows) and what they were predicted as."
        return [FigureBlock("confusion", matrix_chart(counts, names, title), caption)]
    how = "predicted positive where its mask has any voxel" if subject.segments else "predicted labels as scored"
    if subject.row.at_half is not None:
        how += ", cut at one half"
    known = subject.known.T
    tables = {names[k]: confusion(truth[known[k], k], predicted[known[k], k]) for k in both}
    if size == 1:
        (name, counts), *_ = tables.items()
        chart = matrix_chart(counts, (f"no {name}", name), title)
        return [FigureBlock("confusion", chart, f"Confusion matrix of {name}: {how}.")]
    rows = []
    for name, counts in tables.items():
        (right_negative, extra), (missed, hits) = counts.tolist()
        shares = (hits / (hits + missed), right_negative / (right_negative + extra))
        figures = map(str, (hits + missed, hits, missed, extra, right_negative))
        rows.append((name, *figures, *(f"{share:.3f}" for share in shares)))
    columns = ("class", "positive cases", "found", "missed", "false positives", "true negatives")
    return [TableBlock((*columns, "sensitivity", "specificity"), rows, f"Predicted labels of every class: {how}")]


def _curves(subject: HeldOut, both: list[int]) -> list[Block]:
    from sklearn.metrics import precision_recall_curve, roc_curve

    from heldout.metrics import get_metric

    # curves of ranking look at what the scores of ranking look at: before a calibration that differs between folds
    table, roc, recall = get_metric("roc_auc").view(subject.table, subject.classes), [], []
    for k in both:
        name, known = subject.classes[k], subject.known[:, k]
        truth, score = subject.truth[known, k], table[f"p_{name}"].to_numpy(float)[known]
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
        FigureBlock(
            name, line_chart(lines, f"{text} {title}", x, y, spans=spans, diagonal=diagonal, width=400), f"{text}."
        )
        for name, lines, x, y, text, diagonal in charts
    ]


def _reliability(subject: HeldOut, both: list[int]) -> list[Block]:
    names = [subject.classes[k] for k in both]
    chart = reliability_chart(subject.table, names, f"Reliability of {subject.name}")
    caption = "Reliability: calibrated probabilities lie on the diagonal; the area of a dot is its number of cases."
    if any(f"uncalibrated_{name}" in subject.table for name in names):
        caption += " Dashed: before calibration; solid: after it, cross-fitted."
    return [FigureBlock("reliability", chart, caption)]
