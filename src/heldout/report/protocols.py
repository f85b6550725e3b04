"""Other systems' own protocols: their split and their metric on held-out predictions of ours, beside their figures.

Networks of ours are not trained again on their split: their cases are scored on out-of-fold predictions, each by
networks that did not see the case. What else differs is a column.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from heldout.errors import UserError
from heldout.evaluate.held_out import HeldOut, open_held_out
from heldout.metrics import score
from heldout.report.baselines import Baseline, baselines, matching
from heldout.report.format import number

if TYPE_CHECKING:
    from heldout.evaluate.row import Row

FRACATLAS = {True: 717, False: 3366}  # pictures by folder in the whole dataset: fractured, and not
SIDE = 256
THRESHOLDS = np.arange(5, 100, 5) / 100
Parts = dict[str, str]  # part by name of the picture


@dataclass(frozen=True)
class Line:
    """A line of the table: who, values by metric, which cases, and what differs from the system's own way."""

    who: str
    values: dict[str, float]
    cases: str
    differs: str


@dataclass(frozen=True)
class Protocol:
    """How a system scores itself.

    Attributes:
        title: Of its entry in ``exps/baselines.json``.
        metrics: Scores that are shown.
        score: From held-out predictions of ours to a line by their protocol.
    """

    title: str
    metrics: tuple[str, ...]
    score: Callable[[HeldOut], Line]


def lines_of(name: str, runs: Sequence[str], rows: Sequence[Row]) -> tuple[Protocol, list[Line]]:
    """The table of a protocol: theirs, ours by their protocol, ours by ours.

    Args:
        name: Of the protocol.
        runs: Runs or blends of ours; none takes the best and those beside it, as RESULTS.md does.
        rows: The leaderboard.

    Raises:
        UserError: there is no such protocol, no finished run, or a run of another dataset.
    """
    if name not in PROTOCOLS:
        raise UserError(f"there is no protocol {name!r}: choose one of {', '.join(PROTOCOLS)}")
    protocol = PROTOCOLS[name]
    entry = next((one for one in baselines() if one.title == protocol.title), None)
    if entry is None:
        raise UserError(f"exps/baselines.json has no entry {protocol.title!r}: restore it from the repository")
    chosen = [row for row in rows if row.name in runs] if runs else matching(entry, rows)
    if missing := sorted(set(runs) - {row.name for row in chosen}):
        raise UserError(f"{missing[0]} has no row on the leaderboard: train it, or name another run or blend")
    if not chosen:
        raise UserError(f"there is no finished run for {name}: train one of {', '.join(entry.roots)} or their families")
    lines = [
        Line(system.name, _shown(system.values, protocol, entry), system.data, f"{system.split}; {system.budget}")
        for system in entry.systems
    ]
    for row in chosen:
        if entry.datasets and row.dataset not in entry.datasets:
            raise UserError(f"{row.name} is of {row.dataset}: name a run of {', '.join(entry.datasets)}")
        line = protocol.score(open_held_out(row.name, row))
        lines.append(Line(f"{row.name}, by their protocol", line.values, line.cases, line.differs))
        lines.append(_by_ours(row, protocol))
    return protocol, lines


def table_of(protocol: Protocol, lines: Sequence[Line]) -> tuple[list[str], list[list[str]]]:
    """Headings and cells."""
    cells = [[line.who, *(number(line.values.get(metric)) for metric in protocol.metrics)] for line in lines]
    return ["who", *protocol.metrics], cells


def _shown(values: dict[str, float], protocol: Protocol, entry: Baseline) -> dict[str, float]:
    return {name: values[own] for name in protocol.metrics if (own := entry.own_names.get(name, name)) in values}


def _by_ours(row: Row, protocol: Protocol) -> Line:
    values = {row.metric: row.score, **row.also}
    found = {name: value for name in protocol.metrics if (value := values.get(name)) is not None}
    folds = ", ".join(map(str, sorted({fit.fold for fit in row.fits}) or sorted(row.fold_scores)))
    split = f"out of fold, folds {folds}; duplicates in one fold; thresholds of other folds"
    return Line(f"{row.name}, by ours", found, f"{row.cases} cases", split)


def fracture_parts(pictures: Sequence[tuple[str, bool]], whole: dict[bool, int] = FRACATLAS) -> Parts:
    """The parts of the X-ray fracture benchmark: ``random.Random(42).shuffle`` of each class, then 70, 15 and 15 %.

    Its test part may be absent, as in the folder that this was written with: the others keep their order, so that their
    parts follow from how many there are in the whole dataset.

    Args:
        pictures: Names in the order of ``dataset.csv``, and whether they lie in ``Fractured/``.
        whole: Number of pictures of the whole dataset, by class.

    Raises:
        UserError: neither all pictures are there, nor all but the test part.
    """
    parts: Parts = {}
    for fractured, total in whole.items():
        names = [name for name, found in pictures if found == fractured]
        order = list(range(total))
        random.Random(42).shuffle(order)
        ends = int(0.7 * total), int(0.85 * total)
        part = {place: "train" if at < ends[0] else "val" if at < ends[1] else "test" for at, place in enumerate(order)}
        there = [part[place] for place in range(total) if len(names) == total or part[place] != "test"]
        if len(names) != len(there):
            raise UserError(
                f"the benchmark's split needs {total} or {ends[1]} pictures {'with' if fractured else 'without'} "
                f"fracture, and there are {len(names)}: restore FracAtlas"
            )
        parts |= dict(zip(names, there, strict=True))
    return parts


def _fracture(held: HeldOut) -> Line:
    """Dice at 256 x 256 of pictures with a fracture, threshold of the training part; presence of all."""
    rows = held.dataset.cases.set_index("case_id")
    listed = [line.split(",")[0] for line in (held.dataset.source.root / "dataset.csv").read_text().splitlines()[1:]]
    folder = {path.name: path.parent.name for path in (held.dataset.source.root / "images").rglob("*.jpg")}
    parts = fracture_parts([(name, folder[name] == "Fractured") for name in listed if name in folder])
    part = {name.rpartition(".")[0]: value for name, value in parts.items()}
    table = held.ranking_table.assign(part=held.ranking_table["case_id"].map(part))
    scored = table[table["part"] == "val"]
    values = {name: float(score(name, scored, held.classes)) for name in ("roc_auc", "average_precision")}
    words = "trained on our folds, not on their training part; those of our locked test part are left out"
    if held.segments:
        positive = table[(table[f"y_{held.classes[0]}"] > 0) & (rows.loc[table["case_id"], "mask"] != "").to_numpy()]
        dice = {part: _dice(held, positive[positive["part"] == part]["case_id"]) for part in ("train", "val")}
        best = int(dice["train"].mean(axis=0).argmax())
        values["dice_pos"] = float(dice["val"][:, best].mean())
        words = f"threshold {THRESHOLDS[best]:g} of their training part; {words}"
    return Line(
        "", values, f"{len(scored)} of {sum(v == 'val' for v in parts.values())} of their validation part", words
    )


def _dice(held: HeldOut, case_ids: Sequence[str]) -> np.ndarray:
    """Dice (cases, thresholds) of maps and masks resized to 256 x 256."""
    import cv2

    found = []
    for case_id in case_ids:
        probability, truth = held.prediction(case_id).map, held.dataset.truth(case_id)
        assert probability is not None, "a segmentation gives maps"
        said = cv2.resize(probability[0].astype(np.float32) / 255, (SIDE, SIDE), interpolation=cv2.INTER_LINEAR)
        true = cv2.resize((truth[0] > 0).astype(np.uint8), (SIDE, SIDE), interpolation=cv2.INTER_NEAREST) > 0
        masks = said[None] >= THRESHOLDS[:, None, None]
        sums = masks.sum(axis=(1, 2)) + true.sum()
        found.append(2 * (masks & true).sum(axis=(1, 2)) / np.maximum(sums, 1))
    return np.array(found)


def _official_validation(held: HeldOut) -> Line:
    """AUC and accuracy at one half of MedMNIST's own validation part."""
    table = held.ranking_table
    scored = table[table["case_id"].str.startswith("val_")]
    values = {name: float(score(name, scored, held.classes)) for name in ("roc_auc", "accuracy")}
    words = "their validation part, as their test part is not here; trained on our folds of the other two parts"
    return Line("", values, f"{len(scored)} of their validation part", words)


def _image_by_image(held: HeldOut) -> Line:
    """The run whose folds keep exact copies together only, where it is trained."""
    own = held.members[0].spec.partition("+")[0]
    spec = f"{own}+near_duplicates=False"
    try:
        other = open_held_out(spec)
    except UserError:
        command = f"python run.py {own} --set near_duplicates=False"
        return Line("", {}, "-", f"folds image by image are not trained here: {command}")
    values = {name: float(score(name, other.ranking_table, other.classes)) for name in PROTOCOLS["brain-mri"].metrics}
    words = "out of fold, five folds image by image; exact copies in one fold, which their split separates"
    return Line("", values, f"{len(other.ranking_table)} cases", words)


def _decathlon(held: HeldOut) -> Line:
    """Mean Dice of each label, an empty label that is found empty being perfect."""
    table: pd.DataFrame = held.ranking_table
    values = {}
    for number_, name in enumerate(held.classes, start=1):
        counts = [table[f"{kind}_{name}"].to_numpy(float) for kind in ("tp", "fp", "fn")]
        total = 2 * counts[0] + counts[1] + counts[2]
        values[f"dice_{number_}"] = float(np.where(total > 0, 2 * counts[0] / np.maximum(total, 1), 1.0).mean())
    words = "out of fold on the training volumes; the challenge's test part has no public labels"
    return Line("", values, f"{len(table)} cases", words)


PROTOCOLS = {
    "fracture": Protocol("Fractures", ("dice_pos", "roc_auc", "average_precision"), _fracture),
    "brain-mri": Protocol(
        "Brain MRI, tumor or none",
        ("roc_auc", "average_precision", "accuracy", "sensitivity", "specificity"),
        _image_by_image,
    ),
    "hippocampus": Protocol("Hippocampus, anterior and posterior", ("dice_1", "dice_2", "dice_pos"), _decathlon),
    "adrenal": Protocol("3D classification", ("roc_auc", "accuracy"), _official_validation),
}
