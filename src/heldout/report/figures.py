"""Figures of out-of-fold predictions: which cases, which planes of a volume, and how they are drawn."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from heldout import files
from heldout.escape import visible
from heldout.evaluate.cases import ClassifiedCase, SegmentedCase, choose_evenly
from heldout.evaluate.held_out import HeldOut, open_held_out

CLASS_COLORS = ("#ff9f1c", "#c77dff", "#f9e547", "#ff9ecf", "#d9a066", "#dfe3ea")  # none like those of the errors
HIT, EXTRA, MISSED = "#2fd354", "#ff4d4d", "#4d96ff"
IGNORED_COLOR = "#9aa0a6"
INK, PAPER = "#e8eaed", "#14161a"
PANEL_INCHES = 2.6
_LETTERS = 30  # of small print across a panel
_MOST_SCORES = 3  # classes in the title of a classified case


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
    if case_id is not None:
        held.check_predicted(case_id)
    path = files.home() / "working" / "figures" / f"{name}.png"
    title = f"{name} on {held.dataset_name}, out-of-fold"
    if case_id is not None:
        draw_case(held, case_id, f"{title}: {case_id}", path := path.with_suffix("") / f"overlay_case_{case_id}.png")
    else:
        draw_selection(held, title, path)
    return path


def draw_selection(held: HeldOut, title: str, path: Path) -> None:
    """Draw some cases, from the worst to the best."""
    # a blend of one fold has no cross-fitted predictions: its first member tells which cases are hard
    known = not held.is_blend or held.cross_fitted_table is not None
    scores = held.case_scores if known else HeldOut.of_run(held.members[0]).case_scores
    if held.segments:
        draw_segmentation([held.segmented_case(case)[0] for case in choose_evenly(scores)], held.classes, title, path)
    else:
        draw_classification([held.classified_case(case) for case in choose_evenly(scores)], title, path)


def draw_case(held: HeldOut, case_id: str, title: str, path: Path) -> None:
    """Draw a single case; of a segmented volume three planes."""
    if held.segments:
        draw_segmentation(views(*held.segmented_case(case_id)), held.classes, title, path)
    else:
        draw_classification([held.classified_case(case_id)], title, path)


def views(case: SegmentedCase, affine: np.ndarray | None) -> list[SegmentedCase]:
    """What to show of a single case: an image as it is; a volume in three planes through the middle of its lesion.

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
            _square(np.take(array, middle[axis], axis + 1), step)
            for array in (case.image, case.truth, case.predicted, *([] if case.ignored is None else [case.ignored]))
        ]
        title = f"{names[axis]} {middle[axis] + 1} of {found.shape[axis]}"
        planes.append(SegmentedCase(title, *arrays))
    return planes


def draw_segmentation(cases: Sequence[SegmentedCase], classes: Sequence[str], title: str, path: Path) -> None:
    """Draw one row per case: image, truth, prediction, errors; of volumes the slice with most foreground."""
    from matplotlib.patches import Patch

    names = ("image", "truth", "prediction", "errors")
    shapes = [planar(case).image.shape for case in cases]
    heights = [PANEL_INCHES * min(max(shape[0] / shape[1], 0.4), 1.6) + 0.1 for shape in shapes]
    figure, axes = new_figure(len(cases), len(names), sum(heights) + 0.7, height_ratios=heights)
    for row, case in zip(axes, cases, strict=True):
        shown = planar(case)
        for axis, name in zip(row, names, strict=True):
            show_image(axis, shown.image)
            if axis in axes[0]:
                axis.set_title(name, color=INK, fontsize=10)
        row[0].set_ylabel(f"{small_print(case.case_id)}\nDice {case.dice:.2f}", color=INK, fontsize=8)
        for k, (true_mask, predicted_mask) in enumerate(zip(shown.truth, shown.predicted, strict=True)):
            _paint(row[1], true_mask, _color(k))
            _paint(row[2], predicted_mask, _color(k))
        for color, area in zip((HIT, EXTRA, MISSED), error_areas(shown.truth, shown.scored), strict=True):
            _paint(row[3], area, color, outline=False)
        if shown.ignored is not None:
            for axis in (row[1], row[3]):
                _paint(axis, np.asarray(shown.ignored.any(0)), IGNORED_COLOR, outline=False)
    of_errors = zip((HIT, EXTRA, MISSED), ("found", "false positive or wrong class", "missed"), strict=True)
    named = [*((_color(k), visible(name)) for k, name in enumerate(classes)), *of_errors]
    if any(case.ignored is not None for case in cases):
        named.append((IGNORED_COLOR, "ignored"))
    handles = [Patch(color=color, label=name) for color, name in named]
    style = {"frameon": False, "labelcolor": INK, "fontsize": 9, "handlelength": 1}
    figure.legend(handles=handles, loc="outside lower center", ncols=min(len(handles), 6), **style)
    finish_figure(figure, title, path)


def draw_classification(cases: Sequence[ClassifiedCase], title: str, path: Path) -> None:
    """Draw a grid of cases with their true class and probabilities; a red frame marks a wrong label at 0.5."""
    columns = min(4, len(cases))
    rows = -(-len(cases) // columns)
    figure, axes = new_figure(rows, columns, rows * (PANEL_INCHES + 0.7))
    for axis in axes.flat[len(cases) :]:
        axis.set_visible(False)
    for axis, case in zip(axes.flat, cases, strict=False):
        middle = case.image if case.image.ndim == 3 else case.image[..., case.image.shape[-1] // 2]
        show_image(axis, to_colors(middle, case.image))
        likely = sorted(case.scores.items(), key=lambda pair: -pair[1])
        if not case.numbers:
            frame(axis, right={name for name, score in likely if score >= 0.5} == set(case.truth))
        digits = ".4g" if case.numbers else ".2f"
        scores = ", ".join(f"{name} {score:{digits}}" for name, score in likely[:_MOST_SCORES])
        scores += ", …" if len(likely) > _MOST_SCORES else ""
        named = [case.case_id] if len(cases) > 1 else []  # of a single one the title says so
        lines = (*named, f"truth: {', '.join(case.truth) or 'none'}", scores)
        axis.set_title("\n".join(map(small_print, lines)), color=INK, fontsize=8)
    finish_figure(figure, title, path)


def planar(case: SegmentedCase) -> SegmentedCase:
    """The case with an image (H, W) or (H, W, 3) and masks (K, H, W); of a volume the slice with most foreground."""
    ignored = [] if case.ignored is None else [case.ignored]
    image, *masks = flat(case.truth | case.predicted, case.image, case.truth, case.predicted, *ignored)
    return SegmentedCase(case.case_id, to_colors(image, case.image), *masks)


def flat(weight: np.ndarray, *arrays: np.ndarray) -> list[np.ndarray]:
    """Arrays (C, H, W); of volumes (C, X, Y, Z) the slice with the largest weight (C, X, Y, Z), else the middle."""
    if weight.ndim == 3:
        return list(arrays)
    by_slice = weight.sum(axis=(0, 1, 2))
    index = int(by_slice.argmax()) if by_slice.any() else weight.shape[-1] // 2
    return [np.rot90(array[..., index], axes=(1, 2)) for array in arrays]  # voxel axes run to the right and up


def error_areas(truth: np.ndarray, predicted: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """True positive, false positive (or of a wrong class) and missed pixels, from masks (K, H, W)."""
    extra, missed = (predicted & ~truth).any(0), (truth & ~predicted).any(0)
    return (truth & predicted).any(0) & ~extra & ~missed, extra, missed & ~extra


def new_figure(rows: int, columns: int, height: float, **layout: Any) -> tuple[Any, np.ndarray]:
    """A dark figure of panels, and its axes (rows, columns)."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(max(columns, 2) * PANEL_INCHES, height), facecolor=PAPER, layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False, **layout)


def show_image(axis: Any, image: np.ndarray) -> None:
    """An image (H, W) or (H, W, 3) in 0 ... 1, without ticks and frame."""
    axis.set(xticks=[], yticks=[], facecolor=PAPER)
    axis.imshow(image, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    for spine in axis.spines.values():
        spine.set_visible(False)


def frame(axis: Any, *, right: bool) -> None:
    """A frame that says whether a label is right."""
    for spine in axis.spines.values():
        spine.set(visible=True, color=HIT if right else EXTRA, linewidth=2)


def small_print(text: str) -> str:
    """A text that fits a panel: its middle is left out where it is longer."""
    text = visible(text)
    half = (_LETTERS - 1) // 2
    return (text if len(text) <= _LETTERS else f"{text[:half]}…{text[-half:]}").replace("$", r"\$")


def finish_figure(figure: Any, title: str, path: Path) -> None:
    """Give a figure its title and write it."""
    wrapped = textwrap.fill(visible(title), int(figure.get_figwidth() * 11)).replace("$", r"\$")
    inches = 0.25 * (wrapped.count("\n") + 1) + 0.1
    figure.set_figheight(figure.get_figheight() + inches)
    height = 1 - inches / figure.get_figheight()
    figure.get_layout_engine().set(rect=(0, 0, 1, height - 0.1 / figure.get_figheight()))
    figure.text(0.02, height, wrapped, color=INK, fontsize=12, va="bottom")
    files.write_with(path, lambda temporary: figure.savefig(temporary, dpi=130, facecolor=PAPER))


def to_colors(array: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """Scale values (C, H, W) to 0 ... 1 by percentiles of the whole case; three channels become colors."""
    low, high = np.percentile(whole.astype(np.float32), [0.5, 99.5])
    scaled = np.clip((array.astype(np.float32) - low) / max(high - low, 1e-6), 0, 1)
    return np.moveaxis(scaled, 0, -1) if len(scaled) == 3 else scaled[0]


def _paint(axis: Any, mask: np.ndarray, color: str, *, outline: bool = True) -> None:
    from matplotlib.colors import to_rgba

    if not mask.any():
        return
    axis.imshow(np.where(mask[..., None], to_rgba(color, 0.45 if outline else 0.75), 0), interpolation="nearest")
    if outline:
        axis.contour(mask, levels=[0.5], colors=[color], linewidths=1.2)


def _color(index: int) -> str:
    return CLASS_COLORS[index % len(CLASS_COLORS)]


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
