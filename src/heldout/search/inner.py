"""Inner folds: the training part of one fold, divided again, so that tuning never meets the patients held out."""

from __future__ import annotations

from dataclasses import replace

from heldout import files
from heldout.data.dataset import Dataset
from heldout.data.folds import make_folds


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
    folds = make_folds(cases, inner_folds, seed, needs_negatives=one_class)
    place = ["inner", fold, inner_folds, seed]
    return replace(
        dataset,
        cases=cases,
        folds=folds,
        fold_hash=files.sha256_json([dataset.fold_hash, *place]),
        data_hash=files.sha256_json([dataset.data_hash, *place]),
    )
