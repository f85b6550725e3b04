"""One trial of a search: an experiment with some values, trained on inner folds until done or given up.

Inner folds are the training part of one fold, divided again, so that tuning never meets the patients held out.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

from heldout import files
from heldout.data.dataset import Dataset
from heldout.data.folds import make_folds
from heldout.errors import UserError
from heldout.tasks import Task
from heldout.train.checkpoint import Progress
from heldout.train.fit import fit_fold

REPORTS = 8  # validations per inner fold, at which a trial may be given up

Report = Callable[[float, int], bool]


class Ended(Exception):  # noqa: N818 - a message to the loop, no error
    """The training of an inner fold is over; carries its score, or None where the trial is given up."""

    def __init__(self, score: float | None) -> None:
        super().__init__()
        self.score = score


def inner_dataset(dataset: Dataset, fold: int, inner_folds: int, seed: int) -> Dataset:
    """The dataset as a search for one fold may see it (nested cross-validation: Varma and Simon 2006).

    Cases of the fold, of the test part and of any other part are not in it: their images cannot be asked for and
    their truth cannot be read. Its own hashes keep its predictions apart from those of the dataset.

    Args:
        dataset: The checked dataset.
        fold: The fold that stays held out.
        inner_folds: Parts into which the patients of the other folds are divided.
        seed: Seed of that division.

    Raises:
        UserError: there is no such fold, or a class is too rare to be in every inner fold.
    """
    cases, _ = dataset.fold_cases(fold)
    one_class = dataset.source.kind == "classification" and len(dataset.classes) == 1
    folds = make_folds(cases[cases["split"] == "train"], inner_folds, seed, needs_negatives=one_class)
    place = ["inner", fold, inner_folds, seed]
    return replace(
        dataset,
        cases=cases,
        folds=folds,
        fold_hash=files.sha256_json([dataset.fold_hash, *place]),
        data_hash=files.sha256_json([dataset.data_hash, *place]),
    )


def trial_config(config: Task, values: Mapping[str, Any]) -> Task:
    """The experiment with a trial's values; its last weights count, as the best epoch's are biased.

    Raises:
        UserError: a value does not fit its field.
    """
    settings = {"checkpoint": "last", "early_stopping": None, "validate_every": 1}
    whole = type(config).create(config.budget, {**config.overrides, **values, **settings})
    every = max(1, whole.epochs // REPORTS)
    return type(config).create(config.budget, {**whole.overrides, "validate_every": every})


def run_trial(
    config: Task, dataset: Dataset, folder: Path, report: Report, *, seed: int = 0, quiet: bool = False
) -> float | None:
    """Train the inner folds one after another.

    Args:
        config: From :func:`trial_config`.
        dataset: From :func:`inner_dataset`.
        folder: Where unfinished states lie; a killed trial resumes from them. Gone when the trial is over.
        report: Takes the mean score over the inner folds begun so far and the number of the report, and says whether
            to give up.
        seed: Seed of the training.
        quiet: Show no progress.

    Returns:
        Mean over the inner folds of the score after the last epoch; None for a trial that was given up.

    Raises:
        UserError: the training fails, or an inner fold has no score.
    """
    done: list[float] = []
    for inner in sorted(set(dataset.folds)):
        watch = _watch(config, done, inner, report)
        try:
            fit_fold(config, dataset, int(inner), seed, quiet=quiet, folder=folder / f"inner{inner}", watch=watch)
        except Ended as end:
            if end.score is None:
                break
            done.append(end.score)
        else:
            raise UserError(f"{folder} holds a finished fit, which no search leaves there: delete it and search again")
    shutil.rmtree(folder)
    return fmean(done) if len(done) == dataset.folds.nunique() else None


def _watch(config: Task, done: list[float], inner: int, report: Report) -> Callable[[Progress], None]:
    """Reports every validation once, those of an earlier process included, and ends the fold after the last."""
    last = [0]
    per_fold = -(-config.epochs // (config.validate_every or 1))

    def watch(progress: Progress) -> None:
        for row in progress.rows:
            score = row.score
            if row.epoch <= last[0] or (score is None and row.epoch < config.epochs):
                continue
            last[0] = row.epoch
            if score is None:
                raise UserError(f"{config.metric} is undefined on inner fold {inner}: search with fewer inner folds")
            if row.epoch == config.epochs:
                report(fmean([*done, score]), (inner + 1) * per_fold)
                raise Ended(score)
            if report(fmean([*done, score]), inner * per_fold + -(-row.epoch // (config.validate_every or 1))):
                raise Ended(None)

    return watch
