"""What duplicates are worth to a score: brain MRI classified with folds that keep copies together, and with naive ones.

The Kaggle set holds exact and near copies of images. Folds drawn image by image, as published figures on it rest on,
put a copy of many a held-out image into training. Both kinds of folds are trained with the same budget, on the same
cases, for several ways to deal them; nothing in heldout itself can train on the naive ones.

Needs brain_mri_images_for_brain_tumor_detection below ``$HELDOUT_DATA``.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import pandas as pd
from record import Measurement, numbered, record, with_budget
from sklearn.model_selection import StratifiedKFold

from heldout.blend.calibrate import cross_fitted
from heldout.config import load
from heldout.data.cases import open_dataset
from heldout.data.dataset import Dataset
from heldout.data.folds import make_folds
from heldout.files import sha256_json
from heldout.metrics.registry import score
from heldout.predict.store import read_table
from heldout.train.fit import fit_fold

METRICS = ("roc_auc", "average_precision", "accuracy", "sensitivity", "specificity", "ece")
FOLDS = 5
SEED = 0  # of the networks


def naive_folds(dataset: Dataset, seed: int) -> pd.Series:
    """Folds by image, stratified by class, blind to copies: what this benchmark warns of."""
    cases = dataset.part("train")
    splitter = StratifiedKFold(FOLDS, shuffle=True, random_state=seed)
    folds = pd.Series(-1, index=pd.Index(cases["case_id"], name="case_id"), name="fold")
    for fold, (_, held_out) in enumerate(splitter.split(cases, cases[f"y_{dataset.classes[0]}"])):
        folds.iloc[held_out] = fold
    return folds


def out_of_fold(spec: str, dataset: Dataset, home: Path) -> pd.DataFrame:
    """Train every fold below ``home``, or read what was trained there before; the held-out predictions."""
    config = load(spec)
    os.environ["HELDOUT_HOME"] = str(home)
    parts = [
        read_table(fit_fold(config, dataset, fold, SEED, quiet=True), "oof") for fold in sorted(set(dataset.folds))
    ]
    return pd.concat(parts, ignore_index=True)


def scores_of(table: pd.DataFrame, dataset: Dataset) -> dict[str, float]:
    """Every metric, the calibration error after calibration, and how well cases do of which there are copies."""
    classes = dataset.classes
    found = {name: float(score(name, table, classes)) for name in METRICS}
    calibrated = cross_fitted(table, classes, False, "temperature")
    found["ece after calibration"] = float(score("ece", calibrated, classes))
    sizes = dataset.cases.groupby("group_id")["case_id"].transform("size")
    copied = set(dataset.cases["case_id"][sizes > 1])
    for what, chosen in (("images with copies", True), ("images without", False)):
        part = table[table["case_id"].isin(copied) == chosen]
        found[f"roc_auc of {what}"] = float(score("roc_auc", part, classes))
    return found


def over_dealings(what: str, values: pd.Series) -> list[Measurement]:
    """Mean and sample standard deviation over the ways to deal the folds; of a single one the score itself."""
    if len(values) == 1:
        return [Measurement(f"{what}, one dealing", float(values.iloc[0]), "")]
    return [
        Measurement(f"{what}, mean over dealings", float(values.mean()), ""),
        Measurement(f"{what}, standard deviation over dealings", float(values.std()), ""),
    ]


def main() -> int:
    """Train both kinds of folds and write what they score, over all ways to deal them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--home", type=Path, help="folder to train in; a second call continues there")
    parser.add_argument("--spec", default="exp020@quick", help="the experiment")
    parser.add_argument("--splits", type=int, default=3, help="ways to deal the folds")
    chosen = parser.parse_args()
    found: dict[str, list[dict[str, float]]] = {"kept together": [], "naive": []}
    with tempfile.TemporaryDirectory() as temporary:
        home = (chosen.home or Path(temporary)).resolve()
        os.environ["HELDOUT_HOME"] = str(home)
        dataset = open_dataset(load(chosen.spec))
        for seed in range(chosen.splits):
            cases = dataset.part("train")
            folds = {
                "kept together": make_folds(cases, FOLDS, seed, needs_negatives=True),
                "naive": naive_folds(dataset, seed),
            }
            for kind, of_case in folds.items():
                dealt = replace(dataset, folds=of_case, fold_hash=sha256_json(sorted(of_case.to_dict().items())))
                table = out_of_fold(chosen.spec, dealt, home / f"{kind.replace(' ', '_')}{seed}")
                found[kind].append(scores_of(table, dealt))
                print(kind, seed, found[kind][-1], flush=True)
        groups = dataset.part("train").groupby("group_id").size()
    scores = {kind: pd.DataFrame(rows) for kind, rows in found.items()}
    gained = scores["naive"]["roc_auc"] - scores["kept together"]["roc_auc"]
    measurements = [
        Measurement("images of the training part", float(groups.sum()), ""),
        Measurement("of them, images of which there are copies", float(groups[groups > 1].sum()), ""),
        Measurement("ways to deal the folds", chosen.splits, ""),
        *over_dealings("roc_auc gained by naive folds", gained),
    ]
    for name in scores["naive"]:
        for kind, what in (("kept together", "copies kept together"), ("naive", "naive folds")):
            measurements += over_dealings(f"{name}, {what}", scores[kind][name])
    dealt = numbered("seed", range(chosen.splits))
    about = f"{with_budget(chosen.spec)}, seed {SEED}, {FOLDS} folds; the folds dealt by {dealt}."
    return record("duplicates", measurements, about)


if __name__ == "__main__":
    sys.exit(main())
