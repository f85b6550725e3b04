"""The part of a report about single cases: figures of the best, the median and the worst, and what failed."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

from heldout.evaluate.cases import EACH, choose_worst_median_best, find_failures
from heldout.evaluate.held_out import HeldOut
from heldout.report.figures import draw_case
from heldout.report.sections.blocks import Block, FigureBlock, Heading, TableBlock, Text
from heldout.report.svg import Line, line_chart


def overlay_blocks(subject: HeldOut, each: int = EACH) -> list[Block]:
    """Images of the worst, the median and the best cases, and of the largest false positive."""
    blocks: list[Block] = [Heading("Cases from worst to best")]
    with tempfile.TemporaryDirectory() as folder:
        for case_id, why in choose_worst_median_best(subject.case_scores, each):
            path = Path(folder) / "figure.png"
            draw_case(subject, case_id, f"{why}: {case_id}", path)
            blocks.append(FigureBlock(f"overlay_case_{case_id}", path.read_bytes(), f"{why}: {case_id}"))
    return blocks


def failure_blocks(subject: HeldOut) -> list[Block]:
    """Tables of the worst cases, the largest false positives and what was missed; and scores against size."""
    found = find_failures(subject.class_scores, masks=subject.segments)
    text = f"{found.missed_count} of {found.positive} positives were missed, {found.false_positive_count} of "
    text += f"{found.negative} negatives predicted as positive"
    text += ", over all classes" if len(subject.classes) > 1 else ""
    text += ", at a threshold of one half." if subject.row.at_half is not None else "."
    blocks: list[Block] = [Heading("Failures"), Text(text)]
    titles = (
        ("Worst cases", found.worst, "lowest Dice among those that were not missed"),
        ("Largest false positives", found.false_positives, "cases without the class"),
        ("Missed", found.missed, "cases in which nothing of the class was found"),
    )
    for title, failures, what in titles:
        if len(failures):
            blocks.append(_table(subject, failures, f"{title}: {what}" if subject.segments else title))
    if subject.segments:
        blocks += _by_size(subject)
    return blocks


def _table(subject: HeldOut, failures: pd.DataFrame, caption: str) -> TableBlock:
    several = len(subject.classes) > 1
    rows = []
    for one in failures.itertuples():
        place, note = (one.case_id, one.patient_id, str(one.fold)), subject.remarks.get(one.case_id, "")
        if subject.segments:
            unit = _unit(subject, one.case_id)
            of_class = (one.label,) if several else ()
            dice = f"{one.score:.3f}" if one.n_true else "-"
            rows.append((*place, *of_class, dice, _size(one.n_true, *unit), _size(one.n_pred, *unit), note))
        else:
            rows.append((*place, one.label if one.n_true else f"no {one.label}", f"{one.score:.3f}", note))
    if subject.segments:
        columns = (*(("class",) if several else ()), "Dice", "true size", "predicted size")
    else:
        columns = ("true", "predicted probability")
    noted = any(row[-1] for row in rows)
    titles = ("case", "patient", "fold", *columns, *(("note",) if noted else ()))
    return TableBlock(titles, rows if noted else [row[:-1] for row in rows], caption)


def _unit(subject: HeldOut, case_id: str) -> tuple[float, str]:
    """Size of a voxel and its unit: milliliters of a volume with an affine, else a pixel or voxel."""
    image = subject.dataset.read_image(case_id)
    if image.affine is None:
        return 1.0, "px" if subject.dataset.dimensions == 2 else "voxels"
    return abs(float(np.linalg.det(image.affine[:3, :3]))) / 1000, "ml"


def _size(count: int, unit: float, name: str) -> str:
    return f"{count:,} {name}" if unit == 1.0 and name != "ml" else f"{count * unit:,.2f} {name}"


def _by_size(subject: HeldOut) -> list[Block]:
    lines = []
    for k, name in enumerate(subject.classes):
        found, extra, missed = (subject.table[f"{kind}_{name}"].to_numpy(float) for kind in ("tp", "fp", "fn"))
        size, held = found + missed, found + missed > 0
        dice = 2 * found[held] / (2 * found + extra + missed)[held]
        points = list(zip(size[held], dice, strict=True))
        lines.append(Line(name, points, k, [3.0] * len(points), joined=False))
    chart = line_chart(
        lines,
        f"Dice against size of {subject.name}",
        f"true size in {'pixels' if subject.dataset.dimensions == 2 else 'voxels'}",
        "Dice",
        spans=(None, (0.0, 1.0)),
        log_x=True,
        width=620,
    )
    return (
        [FigureBlock("size", chart, "Dice of every case that holds the class, against its true size.")] if chart else []
    )
