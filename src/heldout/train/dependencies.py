"""What an experiment depends on: finished fits of another one, on the same folds and cases. Free of torch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from heldout import files
from heldout.errors import UserError
from heldout.tasks import Task, load_task
from heldout.train import runs

if TYPE_CHECKING:
    from heldout.data.dataset import Dataset


def find_dependency(config: Task, field: Literal["warm_start", "first_stage"]) -> Task:
    """The experiment that a field names, under the same budget where it declares that.

    What that one depends on is not checked again: it was held to the same rule when it was trained.

    Raises:
        UserError: it does not exist, is the experiment itself or of another dataset, or chose its weights by each
            fold's own score while this one claims not to.
    """
    name = getattr(config, field)
    source = load_task(name)
    if "@" not in name and config.budget in source.budgets:
        source = load_task(name, config.budget)
    if source.spec == config.spec:
        raise UserError(f"{field} = {name!r} names {config.spec} itself: name another experiment")
    if source.dataset != config.dataset:
        raise UserError(
            f"{field} = {name!r} is of the dataset {source.dataset}, whose folds hold out other patients: name an "
            f"experiment of {config.dataset}"
        )
    if source.checkpoint == "best" and config.checkpoint != "best":
        raise UserError(
            f"the weights of {source.spec} were chosen by each fold's own score (checkpoint = 'best'), so what builds "
            f"on them is optimistic: mark {config.spec} with checkpoint = 'best' too, or set another {field}"
        )
    return source


def open_dependency(
    config: Task,
    source: Task,
    dataset: Dataset,
    seed: int,
    fold: int,
    sha256: Callable[[Path], str] = files.sha256_file,
) -> runs.FitRecord:
    """A finished fit of the experiment that ``config`` depends on.

    Raises:
        UserError: its weights changed, or it was trained on other folds or cases than those of ``dataset``.
    """
    folder = runs.fit_folder(source.spec, seed, fold)
    runs.check_weights(folder, sha256)
    record = runs.read_run(folder)
    for name, what in (("fold_hash", "folds"), ("data_hash", "cases")):
        if getattr(record, name) != getattr(dataset, name):
            raise UserError(
                f"{config.spec} cannot use {folder}, which was trained on other {what} ({name} differs) and may "
                f"have seen the patients held out here: train {source.spec} again on these {what}"
            )
    return runs.FitRecord(seed, fold, folder, record)


def how_to_finish(source: Task, seed: int, fold: int) -> str:
    """What to do about a fit that is not finished, in words."""
    for name, number, available in (("seeds", seed, source.seeds), ("folds", fold, source.fold_list)):
        if number not in available:
            return f"add {number} to the {name} of {source.spec}, which has {', '.join(map(str, available))} only"
    return f"run `python run.py train {source.spec} --seed {seed} --fold {fold}` first"
