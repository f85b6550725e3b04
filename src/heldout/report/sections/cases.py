"""The part of a report about single cases: pictures of the best, the median and the worst, and what failed."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

from heldout.evaluate.failures import Failure, find_failures
from heldout.evaluate.subject import Subject
from heldout.report.figures import draw_classification, draw_segmentation
from heldout.report.overlay import read_classified, read_segmented, views
from heldout.report.sections.blocks import Block, Heading, Picture, Table, Text
from heldout.report.sections.charts import Line, line_chart

EACH = 2  # pictures of the worst, of the median and of the best cases


def overlay_blocks(subject: Subject, each: int = EACH) -> list[Block]:
    """Pictures of the worst, the median and the best cases, and of the largest invention."""
    blocks: list[Block] = [Heading("Cases from worst to best")]
    with tempfile.TemporaryDirectory() as folder:
        for case_id, why in choose_cases(subject, each):
            path = Path(folder) / "picture.png"
            _draw(subject, case_id, why, path)
            blocks.append(Picture(f"overlay_case_{case_id}", path.read_bytes(), f"{why}: {case_id}"))
    return blocks


def choose_cases(subject: Subject, each: int) -> list[tuple[str, str]]:
    """Cases to show, and why: of those that hold a class the worst, the median and the best, and one invention."""
    table, names = subject.table, subject.classes
    ids = table["case_id"].to_numpy()
    if not subject.segments:
        truth, score = (table[[f"{kind}_{name}" for name in names]].to_numpy(float) for kind in ("y", "p"))
        distance = np.abs(truth - score).max(1)
        return _spread(ids, -distance, distance, each, "{} off by {:.2f}")
    found, extra, missed = (
        table[[f"{kind}_{name}" for name in names]].sum(axis=1).to_numpy(float) for kind in ("tp", "fp", "fn")
    )
    positive = found + missed > 0
    dice = 2 * found / np.maximum(2 * found + extra + missed, 1)
    chosen = _spread(ids[positive], dice[positive], dice[positive], each, "{} Dice {:.2f}")
    inventions = np.flatnonzero(~positive & (extra > 0))
    if len(inventions):
        chosen.append((ids[inventions[extra[inventions].argmax()]], "Largest invention, nothing is there"))
    return chosen


def failure_blocks(subject: Subject) -> list[Block]:
    """Tables of the worst cases, the largest inventions and what was missed; and scores against size."""
    found = find_failures(subject.table, subject.classes, subject.called)
    counts = found.counts
    text = f"{counts['missed']} of {counts['positive']} positives were missed, {counts['invented']} of "
    text += f"{counts['negative']} negatives called positive"
    text += ", over all classes." if len(subject.classes) > 1 else "."
    blocks: list[Block] = [Heading("Failures"), Text(text)]
    titles = (
        ("Worst cases", found.worst, "the least Dice of those that were not missed outright"),
        ("Largest inventions", found.invented, "cases without the class"),
        ("Missed", found.missed, "cases in which nothing of the class was found"),
    )
    for title, failures, what in titles:
        if failures:
            blocks.append(_table(subject, failures, f"{title}: {what}" if subject.segments else title))
    if subject.segments:
        blocks += _by_size(subject)
    return blocks


def _draw(subject: Subject, case_id: str, why: str, path: Path) -> None:
    title = f"{why}: {case_id}"
    if subject.segments:
        case, affine = read_segmented(subject.decision, subject.members, case_id)
        draw_segmentation(views(case, affine), subject.classes, title, path)
    else:
        draw_classification([read_classified(subject.decision, subject.members, case_id)], why, path)


def _spread(ids: np.ndarray, quality: np.ndarray, shown: np.ndarray, each: int, text: str) -> list[tuple[str, str]]:
    """The worst, median and best few, each once."""
    order = np.argsort(quality, kind="stable")
    half = max(0, len(order) // 2 - each // 2)
    parts = (("Worst", order[:each]), ("Median", order[half : half + each]), ("Best", order[::-1][:each]))
    chosen: dict[str, str] = {}
    for name, places in parts:
        for place in places:
            chosen.setdefault(str(ids[place]), text.format(name, shown[place]))
    return list(chosen.items())


def _table(subject: Subject, failures: list[Failure], caption: str) -> Table:
    several = len(subject.classes) > 1
    if not subject.segments:
        columns = ("case", "patient", "fold", "true", "stated probability", "note")
        rows = [
            (
                one.case_id,
                one.patient_id,
                str(one.fold),
                one.label if one.true else f"no {one.label}",
                f"{one.score:.3f}",
                subject.remarks.get(one.case_id, ""),
            )
            for one in failures
        ]
        return Table(columns, rows, caption)
    units = {one.case_id: _unit(subject, one.case_id) for one in failures}
    columns = ("case", "patient", "fold", *(("class",) if several else ()), "Dice", "true size", "called size", "note")
    rows = [
        (
            one.case_id,
            one.patient_id,
            str(one.fold),
            *((one.label,) if several else ()),
            f"{one.score:.3f}" if one.true else "-",
            _size(one.true, *units[one.case_id]),
            _size(one.said, *units[one.case_id]),
            subject.remarks.get(one.case_id, ""),
        )
        for one in failures
    ]
    return Table(columns, rows, caption)


def _unit(subject: Subject, case_id: str) -> tuple[float, str]:
    """Size of a voxel and its unit: millilitres of a volume with an affine, else a pixel or voxel."""
    image = subject.dataset.read_image(case_id)
    if image.affine is None:
        return 1.0, "px" if subject.dataset.dimensions == 2 else "voxels"
    return abs(float(np.linalg.det(image.affine[:3, :3]))) / 1000, "ml"


def _size(count: int, unit: float, name: str) -> str:
    return f"{count:,} {name}" if unit == 1.0 and name != "ml" else f"{count * unit:,.2f} {name}"


def _by_size(subject: Subject) -> list[Block]:
    lines = []
    for k, name in enumerate(subject.classes):
        found, extra, missed = (subject.table[f"{kind}_{name}"].to_numpy(float) for kind in ("tp", "fp", "fn"))
        size, held = found + missed, found + missed > 0
        dice = 2 * found[held] / (2 * found + extra + missed)[held]
        points = list(zip(np.log10(size[held]), dice, strict=True))
        lines.append(Line(name, points, k, [3.0] * len(points), joined=False))
    chart = line_chart(
        lines,
        f"Dice against size of {subject.name}",
        "true size in voxels, power of ten",
        "Dice",
        spans=(None, (0.0, 1.0)),
        width=620,
    )
    return [Picture("size", chart, "Dice of every case that holds the class, against its true size.")] if chart else []
