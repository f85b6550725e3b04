"""Figures: overlays of image, truth, prediction and errors, and reliability diagrams."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from heldout import files
from heldout.evaluate.cases import ClassifiedCase, SegmentedCase

if TYPE_CHECKING:
    import pandas as pd

    from heldout.blend.decision import Decision

CLASS_COLORS = ("#2ec4b6", "#ff9f1c", "#c77dff", "#ffd60a", "#4cc9f0", "#f72585")
HIT, EXTRA, MISSED = "#06d6a0", "#ef476f", "#4d96ff"
INK, PAPER = "#e8eaed", "#14161a"
PANEL_INCHES = 2.6


def draw_segmentation(cases: Sequence[SegmentedCase], classes: Sequence[str], title: str, path: Path) -> None:
    """Draw one row per case: image, truth, prediction, errors; of volumes the slice with most foreground."""
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    names = ("image", "truth", "prediction", "errors")
    shapes = [planar(case)[0].shape for case in cases]
    heights = [PANEL_INCHES * min(max(shape[0] / shape[1], 0.4), 1.6) + 0.1 for shape in shapes]
    figure = Figure(figsize=(len(names) * PANEL_INCHES, sum(heights) + 1.1), facecolor=PAPER)
    axes = figure.subplots(len(cases), len(names), squeeze=False, height_ratios=heights)
    for row, case in zip(axes, cases, strict=True):
        picture, truth, predicted = planar(case)
        for axis, name in zip(row, names, strict=True):
            _bare(axis)
            axis.imshow(picture, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
            if axis in axes[0]:
                axis.set_title(name, color=INK, fontsize=10)
        row[0].set_ylabel(f"{_short(case.case_id)}\nDice {case.dice:.2f}", color=INK, fontsize=8)
        for color, true_mask, predicted_mask in zip(_colors(len(truth)), truth, predicted, strict=True):
            _paint(row[1], true_mask, color)
            _paint(row[2], predicted_mask, color)
        for color, area in zip((HIT, EXTRA, MISSED), error_areas(truth, predicted), strict=True):
            _paint(row[3], area, color, outline=False)
    handles = [Patch(color=color, label=name) for color, name in zip(_colors(len(classes)), classes, strict=True)]
    handles += [
        Patch(color=color, label=name)
        for color, name in ((HIT, "found"), (EXTRA, "false positive or wrong class"), (MISSED, "missed"))
    ]
    figure.legend(
        handles=handles,
        loc="lower center",
        ncols=len(handles),
        frameon=False,
        labelcolor=INK,
        fontsize=9,
        handlelength=1,
    )
    finish_figure(figure, title, path)


def draw_classification(cases: Sequence[ClassifiedCase], title: str, path: Path) -> None:
    """Draw a grid of cases with their true class and probabilities; a red frame marks a wrong label at 0.5."""
    from matplotlib.figure import Figure

    columns = min(4, len(cases))
    rows = -(-len(cases) // columns)
    figure = Figure(figsize=(columns * PANEL_INCHES, rows * (PANEL_INCHES + 0.55) + 0.6), facecolor=PAPER)
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for axis in axes:
        _bare(axis)
    for axis, case in zip(axes, cases, strict=False):
        middle = case.image if case.image.ndim == 3 else case.image[..., case.image.shape[-1] // 2]
        axis.imshow(_picture(middle, case.image), cmap="gray", vmin=0, vmax=1)
        labels = {name for name, score in case.scores.items() if score >= 0.5}
        color = HIT if labels == set(case.truth) else EXTRA
        for spine in axis.spines.values():
            spine.set(visible=True, color=color, linewidth=2)
        scores = ", ".join(f"{name} {score:.2f}" for name, score in case.scores.items())
        truth = ", ".join(case.truth) or "none"
        axis.set_title(f"{_short(case.case_id)}\ntruth: {truth}\n{scores}", color=INK, fontsize=8)
    finish_figure(figure, title, path)


def draw_reliability(decision: Decision) -> Path | None:
    """Draw the case scores of a blend: in-sample on the left, cross-fitted on the right, before and after.

    Returns:
        ``reliability.png`` in the blend's folder; None for a decision that does not calibrate.
    """
    if not decision.calibration:
        return None
    from matplotlib.figure import Figure

    from heldout.predict.store import read_table

    tables = {"in-sample": "in_sample", "cross-fitted": "oof"}
    tables = {title: read_table(decision.folder, name) for title, name in tables.items() if name in decision.tables}
    classes, size = decision.classes, 1.5 * PANEL_INCHES
    figure = Figure(figsize=(len(tables) * size, len(classes) * (size + 0.4) + 0.6), facecolor=PAPER)
    axes = figure.subplots(len(classes), len(tables), squeeze=False, sharex=True, sharey=True)
    for row, name in zip(axes, classes, strict=True):
        for axis, (title, table) in zip(row, tables.items(), strict=True):
            _plot_reliability(axis, table, name)
            axis.set_title(f"{name}, {title}", color=INK, fontsize=10)
    for axis in axes[-1]:
        axis.set_xlabel("stated probability", color=INK, fontsize=9)
    for axis in axes[:, 0]:
        axis.set_ylabel("observed frequency", color=INK, fontsize=9)
    path = decision.folder / "reliability.png"
    finish_figure(figure, f"{decision.name}: {decision.calibration['method']} calibration", path)
    return path


def planar(case: SegmentedCase) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Picture (H, W) or (H, W, 3) and the masks (K, H, W) to draw; of a volume the slice with most foreground."""
    if case.truth.ndim == 3:
        return _picture(case.image, case.image), case.truth, case.predicted
    foreground = (case.truth | case.predicted).sum(axis=(0, 1, 2))
    index = int(foreground.argmax()) if foreground.any() else case.truth.shape[-1] // 2
    # Voxel axes run to the right and up on the page.
    turned = [np.rot90(array[..., index], axes=(1, 2)) for array in (case.image, case.truth, case.predicted)]
    return _picture(turned[0], case.image), turned[1], turned[2]


def error_areas(truth: np.ndarray, predicted: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """True positive, false positive (or of a wrong class) and missed pixels, from masks (K, H, W)."""
    extra, missed = (predicted & ~truth).any(0), (truth & ~predicted).any(0)
    return (truth & predicted).any(0) & ~extra & ~missed, extra, missed & ~extra


def _picture(array: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """Scale values (C, H, W) to 0 ... 1 by percentiles of the whole case; three channels become colors."""
    values = whole.astype(np.float32)
    low, high = np.percentile(values, [0.5, 99.5])
    scaled = np.clip((array.astype(np.float32) - low) / max(high - low, 1e-6), 0, 1)
    return np.moveaxis(scaled, 0, -1) if len(scaled) == 3 else scaled[0]


def _paint(axis: Any, mask: np.ndarray, color: str, *, outline: bool = True) -> None:
    from matplotlib.colors import to_rgba

    if not mask.any():
        return
    axis.imshow(np.where(mask[..., None], to_rgba(color, 0.45 if outline else 0.75), 0), interpolation="nearest")
    if outline:
        axis.contour(mask, levels=[0.5], colors=[color], linewidths=1.2)


def _colors(count: int) -> list[str]:
    return [CLASS_COLORS[index % len(CLASS_COLORS)] for index in range(count)]


def _short(case_id: str) -> str:
    return case_id if len(case_id) <= 30 else f"{case_id[:14]}…{case_id[-14:]}"


def _bare(axis: Any) -> None:
    axis.set(xticks=[], yticks=[], facecolor=PAPER)
    for spine in axis.spines.values():
        spine.set_visible(False)


def _plot_reliability(axis: Any, table: pd.DataFrame, name: str) -> None:
    """The diagonal of perfect calibration, and two curves; the area of a dot is the number of its cases."""
    from heldout.metrics.calibration import reliability_curve

    axis.plot([0, 1], [0, 1], color=INK, linewidth=0.8, linestyle=":")
    truth = table[f"y_{name}"].to_numpy(float) > 0
    for column, label, color in (("uncalibrated", "before", CLASS_COLORS[1]), ("p", "after", CLASS_COLORS[0])):
        curve = reliability_curve(truth, table[f"{column}_{name}"].to_numpy(float))
        axis.plot(curve.stated, curve.observed, color=color, linewidth=1.4, label=label)
        axis.scatter(curve.stated, curve.observed, s=12 + 250 * curve.cases / len(table), color=color, alpha=0.6)
    axis.set(xlim=(-0.03, 1.03), ylim=(-0.03, 1.03), aspect="equal", facecolor=PAPER)
    axis.tick_params(colors=INK, labelsize=8)
    for spine in axis.spines.values():
        spine.set_color(INK)
    axis.legend(frameon=False, labelcolor=INK, fontsize=8, loc="upper left")


def finish_figure(figure: Any, title: str, path: Path) -> None:
    """Give a figure its title and write it."""
    figure.suptitle(title, color=INK, fontsize=12, x=0.02, ha="left")
    figure.tight_layout(rect=(0, 0.5 / figure.get_figheight(), 1, 1 - 0.1 / figure.get_figheight()))
    files.write_with(path, lambda temporary: figure.savefig(temporary, dpi=130, facecolor=PAPER))
