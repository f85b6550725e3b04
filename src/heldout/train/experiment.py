"""All folds and seeds of an experiment."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from heldout.data.cases import open_dataset, open_source
from heldout.tasks import Task
from heldout.train import runs
from heldout.train.first_batch import try_first_batch
from heldout.train.fit import fit_fold


def run_experiment(
    config: Task, folds: Sequence[int] | None = None, seeds: Sequence[int] | None = None, *, quiet: bool = False
) -> list[Path]:
    """Train what is missing of an experiment, seed by seed.

    Args:
        config: The experiment.
        folds: Folds to train; None is what the experiment says.
        seeds: Seeds to train; None is what the experiment says.
        quiet: Show no progress.

    Returns:
        The folders of the folds asked for, finished before or now.
    """
    places = [
        (fold, seed)
        for seed in (config.seeds if seeds is None else seeds)
        for fold in (config.fold_list if folds is None else folds)
    ]
    if not all(runs.has_epoch(runs.fit_folder(config.spec, seed, fold)) for fold, seed in places):
        try_first_batch(config, open_source(config))
    dataset = open_dataset(config)
    return [fit_fold(config, dataset, fold, seed, quiet=quiet) for fold, seed in places]
