"""The part of a report about scores: all metrics with intervals, each fit, overlap by class."""

from __future__ import annotations

import math

import numpy as np

from heldout.errors import UserError
from heldout.evaluate.held_out import HeldOut
from heldout.report.format import bounds, duration, interval_text, number
from heldout.report.sections.blocks import Block, Heading, Picture, Table, Text
from heldout.report.svg import Bar, bar_chart

PRESENCE = ("roc_auc", "average_precision", "f1", "sensitivity", "specificity", "brier", "ece")


def score_blocks(subject: HeldOut) -> list[Block]:
    """Every metric of the held-out predictions with its interval, for all classes and each."""
    from heldout.metrics import METRICS, get_metric

    names = [subject.row.metric]
    names += [name for name, one in METRICS.items() if subject.segments == (one.kind == "segmentation")]
    held = subject.truth.sum(0)
    told_apart = bool(((held > 0) & (held < len(subject.table))).any())
    names += PRESENCE if subject.segments and told_apart else ()
    several = len(subject.classes) > 1
    columns = ("metric", "value", "95 % interval", *(subject.classes if several else ()))
    rows = []
    for name in dict.fromkeys(names):
        if (cells := _cells(subject, name)) is not None:
            rows.append((f"{name}{'' if get_metric(name).higher_is_better else ' (lower is better)'}", *cells))
    on = f"{len(subject.table)} cases of {subject.table['patient_id'].nunique()} patients"
    caption = f"Held-out predictions of {on}; intervals are over patients"
    if subject.segments and told_apart:
        caption += "; roc_auc and all below it are about whether a case holds the class at all"
    blocks: list[Block] = [Heading("Scores"), Table(columns, rows, caption)]
    if subject.row.in_sample is not None:
        flattered = f"In-sample {number(subject.row.in_sample)}: the same score on the very cases that it was tuned on"
        blocks.append(Text(f"{flattered}. All figures here are cross-fitted: tuned on the other folds."))
    if subject.row.at_half is not None:
        tuned = f"{subject.row.metric} {interval_text(subject.row)}"
        blocks.append(Text(f"Cut at one half. At thresholds tuned on the other folds, which rank it: {tuned}."))
    return blocks


def fit_blocks(subject: HeldOut) -> list[Block]:
    """Score of each fold and seed."""
    if subject.row.kind == "blend":
        folds = [(str(fold), number(value)) for fold, value in subject.row.fold_scores.items()]
        return [Heading("Folds"), Table(("fold", subject.row.metric), folds, "Settings tuned on the other folds")]
    rows = [
        (
            f"seed {fit.seed}, fold {fit.fold}",
            number(fit.score),
            str(fit.epochs),
            fit.checkpoint + (f" (epoch {fit.best_epoch})" if fit.best_epoch is not None else ""),
            duration(fit.train_seconds),
            fit.machine,
        )
        for fit in subject.row.fits
    ]
    columns = ("fit", subject.row.metric, "epochs", "checkpoint", "trained", "machine")
    return [Heading("Folds and seeds"), Table(columns, rows, "Each network on the fold that it never saw")]


def overlap_blocks(subject: HeldOut) -> list[Block]:
    """Overlap by class: the mean over cases, and of all voxels together."""
    if not subject.segments:
        return []
    from heldout.metrics import interval

    bars = []
    for name in subject.classes:
        found = interval("iou_pos", subject.table, [name])
        bars.append(_bar(f"{name}, mean over cases", found.value, found.low, found.high))
        bars.append(_bar(f"{name}, all voxels", *_pooled_iou(subject, name)))
    drawn = [bar for bar in bars if bar is not None]
    if not drawn:
        return []
    caption = (
        "IoU by class with 95 % intervals over patients: the mean over the cases that hold it, and of all voxels of "
        "all cases together, in which large lesions weigh more and false positives count"
    )
    chart = bar_chart(drawn, f"IoU by class of {subject.name}", "IoU")
    return [Heading("Overlap by class"), Picture("iou", chart, caption)]


def _cells(subject: HeldOut, name: str) -> tuple[str, ...] | None:
    """Value, interval and value of each class; None where the metric is undefined on these predictions."""
    from heldout.metrics import interval, score

    try:
        found = interval(name, subject.table, subject.classes)
        if not math.isfinite(found.value):
            return None
        each = [score(name, subject.table, [label]) for label in subject.classes] if len(subject.classes) > 1 else []
    except UserError:  # a metric that needs what these tables do not hold
        return None
    low, high = (value if math.isfinite(value) else None for value in (found.low, found.high))
    return number(found.value), bounds(low, high) or "-", *(number(v) if math.isfinite(v) else "-" for v in each)


def _pooled_iou(subject: HeldOut, name: str) -> tuple[float, float, float]:
    """IoU of all voxels together, with the percentiles of its bootstrap over patients."""
    from heldout.metrics.bootstrap import FEWEST_PATIENTS, patient_weights

    counts = subject.table[[f"{kind}_{name}" for kind in ("tp", "fp", "fn")]].to_numpy(float)
    value = float(_iou(counts.sum(0)))
    if subject.table["patient_id"].nunique() < FEWEST_PATIENTS:
        return value, math.nan, math.nan
    drawn = np.concatenate([_iou(w @ counts) for w in patient_weights(subject.table["patient_id"], 2000, 0)])
    return value, *(float(v) for v in np.nanpercentile(drawn, [2.5, 97.5]))


def _iou(counts: np.ndarray) -> np.ndarray:
    """IoU of counts (..., 3) [TP, FP, FN]; nan where there is neither truth nor prediction."""
    from heldout.metrics.ranking import divide

    return divide(counts[..., 0], counts.sum(-1))


def _bar(name: str, value: float, low: float, high: float) -> Bar | None:
    if not math.isfinite(value):
        return None
    known = math.isfinite(low)
    return Bar(name, value, low if known else None, high if known else None, f"{value:.4f} {bounds(low, high)}")
