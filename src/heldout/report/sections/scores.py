"""The part of a report about scores: metrics with intervals, fits, overlap by class and depth, learning curves."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from heldout.errors import UserError
from heldout.evaluate.cases import per_class
from heldout.evaluate.held_out import HeldOut
from heldout.evaluate.row import Row
from heldout.progress import track
from heldout.records import finite
from heldout.report.format import bounds, duration, interval_text, number, signed
from heldout.report.sections.blocks import Block, FigureBlock, Heading, TableBlock, Text
from heldout.report.svg import Bar, Line, bar_chart, line_chart
from heldout.train.history import read_metrics

if TYPE_CHECKING:
    import pandas as pd

PARTS = 20  # of the depth of a volume
PRESENCE = ("roc_auc", "average_precision", "f1", "sensitivity", "specificity", "brier", "ece")


def score_blocks(subject: HeldOut) -> list[Block]:
    """Every metric of the held-out predictions with its interval, for all classes and each."""
    from heldout.metrics import METRICS, get_metric

    names = [subject.row.metric]
    names += [name for name, one in METRICS.items() if one.kind == subject.kind]
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
    blocks: list[Block] = [Heading("Scores"), TableBlock(columns, rows, caption)]
    if subject.row.in_sample is not None:
        in_sample = f"In-sample {number(subject.row.in_sample)}: the same score on the cases that it was tuned on"
        blocks.append(Text(f"{in_sample}. All figures here are cross-fitted: tuned on the other folds."))
        blocks += [*_alternatives(subject.row), *_weights(subject)]
    if subject.row.at_half is not None:
        tuned = f"{subject.row.metric} {interval_text(subject.row)}"
        blocks.append(
            Text(f"At a threshold of one half. At thresholds tuned on the other folds, which rank it: {tuned}.")
        )
    return blocks


def fit_blocks(subject: HeldOut) -> list[Block]:
    """Score of each fold and seed."""
    if subject.row.kind == "blend":
        folds = [(str(fold), number(value)) for fold, value in subject.row.fold_scores.items()]
        return [Heading("Folds"), TableBlock(("fold", subject.row.metric), folds, "Settings tuned on the other folds")]
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
    at_half = "" if subject.row.at_half is None else " at ½"
    columns = ("fit", subject.row.metric + at_half, "epochs", "checkpoint", "trained", "machine")
    return [Heading("Folds and seeds"), TableBlock(columns, rows, "Each network on the fold that it never saw")]


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
    if subject.row.at_half is not None:
        caption += "; masks are cut at one half"
    chart = bar_chart(drawn, f"IoU by class of {subject.name}", "IoU")
    return [Heading("Overlap by class"), FigureBlock("iou", chart, caption)]


def curve_blocks(subject: HeldOut) -> list[Block]:
    """Learning curves of every fit; of a blend a note that its members' reports show them."""
    if subject.row.kind == "blend":
        members = ", ".join(dict.fromkeys(member.spec for member in subject.members))
        return [Heading("Learning curves"), Text(f"Nothing was trained for a blend: see the reports of {members}.")]
    metric, loss, scores, rate = subject.row.metric, [], [], []
    for index, fit in enumerate(subject.members[0].fits):
        if (epochs := read_metrics(fit.folder)) is None:
            continue
        name, dashed = f"seed {fit.seed}, fold {fit.fold}", index >= 6
        loss.append(_curve(name, epochs, "train_loss", index, dashed))
        rate.append(_curve(name, epochs, "lr", index, dashed))
        if f"val_{metric}" in epochs:
            scores.append(_curve(name, epochs.dropna(subset=f"val_{metric}"), f"val_{metric}", index, dashed))
    parts = (
        ("loss", loss, "training loss", "Training loss of every epoch."),
        ("validation", scores, f"held-out {metric}", f"Held-out {metric}, where validated on the way; without flips."),
        ("rate", rate, "learning rate", "Learning rate at the end of every epoch."),
    )
    blocks: list[Block] = [
        FigureBlock(name, chart, caption)
        for name, lines, label, caption in parts
        if (chart := line_chart(lines, f"{label} of {subject.name}", "epoch", label))
    ]
    if not any(len(line.points) for line in scores):
        blocks.append(Text("The held-out score was not watched during training, only at its end."))
    return [Heading("Learning curves"), *blocks]


def depth_blocks(subject: HeldOut) -> list[Block]:
    """IoU along the last axis of the volumes, all cases together; nothing for images and classifications."""
    if not subject.segments or subject.dataset.dimensions != 3:
        return []
    from heldout.metrics import iou_by_depth, mean_by_depth
    from heldout.metrics.ignored import hide

    dataset, classes = subject.dataset, subject.classes
    profiles: list[list[tuple[np.ndarray, np.ndarray]]] = [[] for _ in classes]
    for case_id in track(subject.table["case_id"], len(subject.table), f"IoU by depth of {subject.name}"):
        mask, true_mask = subject.prediction(case_id).mask, dataset.truth(case_id)
        assert mask is not None, "a segmentation predicts masks"
        masks = (per_class(hide(one, true_mask), len(classes)) for one in (mask, true_mask))
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
    return [Heading("Overlap along the depth"), FigureBlock("depth", chart, caption)]


def _alternatives(row: Row) -> list[Block]:
    """What single members and simpler weightings of a blend score."""
    rows = []
    for name, scores in row.baselines.items():
        in_sample, cross_fitted = scores.in_sample, scores.cross_fitted
        gap = None if in_sample is None or cross_fitted is None else in_sample - cross_fitted
        optimism = gap if gap is None or row.higher_is_better else -gap
        rows.append((name, number(in_sample), number(cross_fitted), signed(optimism)))
    columns = ("choice", "in-sample", "cross-fitted", "optimism")
    return [TableBlock(columns, rows, f"{row.metric} of single members and of other weightings")] if rows else []


def _weights(subject: HeldOut) -> list[Block]:
    """What each member of a blend counts for each class; nothing where all classes are blended alike."""
    from heldout.blend.mixing import rows_by_label

    decision = subject.decision
    weighed = rows_by_label(decision.mixing, subject.classes)
    rows = [(label, *(f"{value:.3f}" for value in row)) for label, row in weighed.items()]
    columns = (
        "label",
        *(member.name for member, _ in zip(decision.members, next(iter(weighed.values()), ()), strict=False)),
    )
    return [TableBlock(columns, rows, "Weights of the members by class")] if rows else []


def _cells(subject: HeldOut, name: str) -> tuple[str, ...] | None:
    """Value, interval and value of each class; None where the metric is undefined on these predictions."""
    from heldout.metrics import interval, scores_by_class

    try:
        found = interval(name, subject.table, subject.classes)
        if not math.isfinite(found.value):
            return None
        each = scores_by_class(name, subject.table, subject.classes).values()
    except UserError:  # a metric that needs what these tables do not hold
        return None
    interval_ = bounds(finite(found.low), finite(found.high)) or "-"
    return number(found.value), interval_, *(number(finite(value)) for value in each)


def _pooled_iou(subject: HeldOut, name: str) -> tuple[float, float, float]:
    """IoU of all voxels together, with its interval over patients."""
    from heldout.metrics.jackknife import interval_of

    counts = subject.table[[f"{kind}_{name}" for kind in ("tp", "fp", "fn")]].to_numpy(float)
    patients, folds = subject.table["patient_id"].to_numpy(str), subject.table["fold"].nunique()
    found = interval_of(lambda weights: _iou(weights @ counts), patients, "iou_pos", folds)
    return found.value, found.low, found.high


def _iou(counts: np.ndarray) -> np.ndarray:
    """IoU of counts (..., 3) [TP, FP, FN]; nan where there is neither truth nor prediction."""
    from heldout.metrics.ranking import divide

    return divide(counts[..., 0], counts.sum(-1))


def _bar(name: str, value: float, low: float, high: float) -> Bar | None:
    if not math.isfinite(value):
        return None
    return Bar(name, value, finite(low), finite(high), f"{value:.4f} {bounds(finite(low), finite(high))}".rstrip())


def _curve(name: str, epochs: pd.DataFrame, column: str, index: int, dashed: bool) -> Line:
    points = list(zip(epochs["epoch"], epochs[column], strict=True))
    sizes = [3.0] * len(points) if len(points) < 40 else []
    return Line(name, points, color=index, sizes=sizes, dashed=dashed)
