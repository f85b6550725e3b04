"""All folds and seeds of an experiment."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from heldout.data.cases import open_dataset
from heldout.tasks import Task
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
    dataset = open_dataset(config)
    return [
        fit_fold(config, dataset, fold, seed, quiet=quiet)
        for seed in (config.seeds if seeds is None else seeds)
        for fold in (config.fold_list if folds is None else folds)
    ]
