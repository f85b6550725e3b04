"""Protocols of other systems: how each splits its data and scores itself, applied to held-out predictions of ours."""

import random
from collections.abc import Sequence

import numpy as np
import pandas as pd

from heldout.errors import UserError
from heldout.evaluate.held_out import HeldOut, open_held_out
from heldout.metrics import score
from heldout.report.archive import ScoreLine
from heldout.report.protocols import ScoringProtocol
from heldout.tasks import load_task

FRACATLAS = {True: 717, False: 3366}  # images by folder in the whole dataset: fractured, and not
SIDE = 256
THRESHOLDS = np.arange(5, 100, 5) / 100
THEIRS = "their protocol"
Parts = dict[str, str]  # part by name of the image
_PARTS = {"train": "training", "val": "validation", "test": "test"}


def fracture_parts(images: Sequence[tuple[str, bool]], whole: dict[bool, int] = FRACATLAS) -> Parts:
    """The parts of the X-ray fracture benchmark: ``random.Random(42).shuffle`` of each class, then 70, 15 and 15 %.

    Its test part may be absent, as in the folder that this was written with: the others keep their order, so that their
    parts follow from how many there are in the whole dataset.

    Args:
        images: Names in the order of ``dataset.csv``, and whether they lie in ``Fractured/``.
        whole: Number of images of the whole dataset, by class.

    Raises:
        UserError: neither all images are there, nor all but the test part.
    """
    parts: Parts = {}
    for fractured, total in whole.items():
        names = [name for name, found in images if found == fractured]
        order = list(range(total))
        random.Random(42).shuffle(order)
        ends = int(0.7 * total), int(0.85 * total)
        part = {place: "train" if at < ends[0] else "val" if at < ends[1] else "test" for at, place in enumerate(order)}
        there = [part[place] for place in range(total) if len(names) == total or part[place] != "test"]
        if len(names) != len(there):
            raise UserError(
                f"the benchmark's split needs {total} or {ends[1]} images {'with' if fractured else 'without'} "
                f"fracture, and there are {len(names)}: restore FracAtlas"
            )
        parts |= dict(zip(names, there, strict=True))
    return parts


def _fracture(held: HeldOut) -> list[ScoreLine]:
    """Dice at 256 x 256 of images with a fracture, and presence of all, of their test part where its files are there.

    Masks are also scored over all folds: those of a blend as tuned on the other folds, those of a run at the threshold
    that is best on the other folds.

    Raises:
        UserError: the dataset's table is not here, as of an unpacked dataset.
    """
    rows = held.dataset.cases.set_index("case_id")
    listing = held.dataset.source.root / "dataset.csv"
    if not listing.is_file():
        raise UserError(f"the benchmark's split follows {listing}, which is not here: restore FracAtlas")
    listed = [line.split(",")[0] for line in listing.read_text().splitlines()[1:]]
    folder = {path.name: path.parent.name for path in (held.dataset.source.root / "images").rglob("*.jpg")}
    parts = fracture_parts([(name, folder[name] == "Fractured") for name in listed if name in folder])
    part = {name.rpartition(".")[0]: value for name, value in parts.items()}
    table = held.ranking_table.assign(part=held.ranking_table["case_id"].map(part))
    tuned, scored = ("val", "test") if "test" in parts.values() else ("train", "val")
    cases = table[table["part"] == scored]
    values = {name: float(score(name, cases, held.classes)) for name in ("roc_auc", "average_precision")}
    counted = f"{len(cases)} of {sum(value == scored for value in parts.values())} of their {_PARTS[scored]} part"
    words = "trained on our folds, not on their training part; those of our locked test part are left out"
    if not held.segments:
        return [ScoreLine(who=THEIRS, values=values, cases=counted, differs=words)]
    positive = table[(table[f"y_{held.classes[0]}"] > 0) & (rows.loc[table["case_id"], "mask"] != "").to_numpy()]
    dice = _dice(held, list(positive["case_id"]))
    best = int(dice[(positive["part"] == tuned).to_numpy()].mean(axis=0).argmax())
    values["dice_pos"] = float(dice[(positive["part"] == scored).to_numpy(), best].mean())
    words = f"threshold {THRESHOLDS[best]:g} of their {_PARTS[tuned]} part; {words}"
    folds = positive["fold"].to_numpy()
    if len(np.unique(folds)) == 1:
        crossed, tuned_on = {}, "one fold has no others to tune on"
    elif held.is_blend:
        own = _dice_of_masks(held, list(positive["case_id"]))
        crossed, tuned_on = {"dice_pos": float(own.mean())}, "out of fold, masks as tuned on the other folds"
    else:
        chosen = [dice[folds == fold, dice[folds != fold].mean(axis=0).argmax()] for fold in np.unique(folds)]
        crossed = {"dice_pos": float(np.concatenate(chosen).mean())}
        tuned_on = "out of fold, threshold of the other folds"
    every = ScoreLine(
        who=f"their metric at {SIDE} x {SIDE}, all folds",
        values=crossed,
        cases=f"{len(positive)} cases with a fracture",
        differs=tuned_on,
    )
    return [ScoreLine(who=THEIRS, values=values, cases=counted, differs=words), every]


def _dice(held: HeldOut, case_ids: Sequence[str]) -> np.ndarray:
    """Dice (cases, thresholds) of maps and masks resized to 256 x 256."""
    import cv2

    found = []
    for case_id in case_ids:
        probability = held.prediction(case_id).map
        assert probability is not None, "a segmentation gives maps"
        said = cv2.resize(probability[0].astype(np.float32) / 255, (SIDE, SIDE), interpolation=cv2.INTER_LINEAR)
        found.append(_overlap(said[None] >= THRESHOLDS[:, None, None], _small(held.dataset.truth(case_id))))
    return np.array(found)


def _dice_of_masks(held: HeldOut, case_ids: Sequence[str]) -> np.ndarray:
    """Dice (cases,) of predicted and true masks resized to 256 x 256."""
    masks = ((held.prediction(case_id).mask, held.dataset.truth(case_id)) for case_id in case_ids)
    return np.array([_overlap(_small(mask)[None], _small(truth))[0] for mask, truth in masks])


def _small(mask: np.ndarray) -> np.ndarray:
    """A mask (1, H, W) at 256 x 256, bool."""
    import cv2

    return cv2.resize((mask[0] > 0).astype(np.uint8), (SIDE, SIDE), interpolation=cv2.INTER_NEAREST) > 0


def _overlap(masks: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Dice (n,) of masks (n, H, W) with one that is true."""
    return 2 * (masks & true).sum(axis=(1, 2)) / np.maximum(masks.sum(axis=(1, 2)) + true.sum(), 1)


def _official_validation(held: HeldOut) -> list[ScoreLine]:
    """AUC and accuracy at one half of MedMNIST's own validation part."""
    table = held.ranking_table
    scored = table[table["case_id"].str.startswith("val_")]
    values = {name: float(score(name, scored, held.classes)) for name in ("roc_auc", "accuracy")}
    there = held.dataset.cases["case_id"].str.startswith("test_").any()
    why = "their test part stays locked until `test`" if there else "their test part is not here"
    words = f"their validation part, as {why}; trained on our folds of the other two parts"
    return [ScoreLine(who=THEIRS, values=values, cases=f"{len(scored)} of their validation part", differs=words)]


def _image_by_image(held: HeldOut) -> list[ScoreLine]:
    """The run whose folds keep exact copies together only, where it is trained; of a blend nothing."""
    if held.is_blend:
        return []
    spec = load_task(held.members[0].spec, overrides=["near_duplicates=False"]).spec
    try:
        other = open_held_out(spec)
    except UserError:
        words = f"folds image by image are not trained here: python run.py '{spec}'"
        return [ScoreLine(who=THEIRS, values={}, cases="-", differs=words)]
    values = {name: float(score(name, other.ranking_table, other.classes)) for name in PROTOCOLS["brain-mri"].metrics}
    folds = ", ".join(map(str, other.members[0].folds))
    seeds = len({fit.seed for fit in other.members[0].fits})
    words = f"{spec}: out of fold, folds {folds} image by image; exact copies in one fold, which their split separates"
    cases, budget = f"{len(other.ranking_table)} cases", f"{seeds} {'seed' if seeds == 1 else 'seeds'} of it"
    return [ScoreLine(who=THEIRS, values=values, cases=cases, differs=words, budget=budget)]


def _decathlon(held: HeldOut) -> list[ScoreLine]:
    """Mean Dice of each label, an empty label that is found empty being perfect."""
    table: pd.DataFrame = held.ranking_table
    values = {}
    for number_, name in enumerate(held.classes, start=1):
        counts = [table[f"{kind}_{name}"].to_numpy(float) for kind in ("tp", "fp", "fn")]
        total = 2 * counts[0] + counts[1] + counts[2]
        values[f"dice_{number_}"] = float(np.where(total > 0, 2 * counts[0] / np.maximum(total, 1), 1.0).mean())
    values["dice_pos"] = float(np.mean(list(values.values())))
    words = "out of fold on the training volumes; the challenge's test part has no public labels"
    return [ScoreLine(who=THEIRS, values=values, cases=f"{len(table)} cases", differs=words)]


PROTOCOLS = {
    "fracture": ScoringProtocol("Fractures", ("dice_pos", "roc_auc", "average_precision"), _fracture),
    "brain-mri": ScoringProtocol(
        "Brain MRI, tumor or none",
        ("roc_auc", "average_precision", "accuracy", "sensitivity", "specificity"),
        _image_by_image,
    ),
    "hippocampus": ScoringProtocol("Hippocampus, anterior and posterior", ("dice_1", "dice_2", "dice_pos"), _decathlon),
    "adrenal": ScoringProtocol("3D classification", ("roc_auc", "accuracy"), _official_validation),
}
