"""Hyper-parameter search with Optuna, on inner folds only, resumable, the same again for the same seed.

Values come from a tree-structured Parzen estimator (Bergstra et al. 2011); a trial that does worse than the median of
the earlier ones at the same point is given up (median pruning: Golovin et al. 2017, section 2.4). As in the search for
weights of a blend, the sampler is made anew for every trial from the seed and the trial's number, and a trial is
written to the journal when it is over. A search that was killed asks for the same values again, and resumes their
training.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from heldout import files
from heldout.config.code import code_of
from heldout.config.metric import metric_source
from heldout.config.space import Range, read_space
from heldout.data.cases import open_dataset
from heldout.data.dataset import Dataset
from heldout.data.parallel import processes
from heldout.errors import Diverged, UserError
from heldout.journal import Direction, Journal, TrialStore
from heldout.metrics.registry import get_metric
from heldout.search.trial import inner_dataset, run_trial, trial_config
from heldout.tasks import Task

if TYPE_CHECKING:
    import optuna

_RANDOM_TRIALS = 6  # before the estimator and the pruner begin
_VERSION = 1  # of how trials are made: raise it when the same values would be scored in another way


@dataclass(frozen=True)
class Search:
    """What to search, and how.

    Attributes:
        config: The experiment; its ``search_space``, or a default one, says what is tried.
        fold: The fold whose patients are never touched.
        trials: Sets of values to try, the experiment's own first where they lie in the space.
        inner_folds: Parts of the other folds' patients; every trial trains on each but one of them in turn.
        seed: Seed of the sampler and of the division.
        processes: Processes that share the work. With one, the seed decides everything; with several, what is tried
            next depends on their timing.
    """

    config: Task
    fold: int = 0
    trials: int = 20
    inner_folds: int = 3
    seed: int = 0
    processes: int = 1

    def __post_init__(self) -> None:
        """Check what was asked for."""
        config = self.config
        if self.fold not in range(config.fold_count):
            raise UserError(f"{config.spec} has no fold {self.fold}: it has 0 ... {config.fold_count - 1}")
        if self.trials < 1 or self.processes < 1 or self.inner_folds < 2:
            raise UserError("trials and processes must be at least 1, inner_folds at least 2")
        for name in ("warm_start", "first_stage", "pseudo_labels"):
            if getattr(config, name) is not None:
                raise UserError(
                    f"{config.spec} uses {name} = {getattr(config, name)!r}, made by networks that have seen "
                    f"patients of the inner folds: search with --set {name}=None"
                )
        self._check_trials()

    def _check_trials(self) -> None:
        """Make the experiment of a trial at each extreme of each field, the others at their first."""
        first = {name: one.extremes[0] for name, one in self.space.items()}
        for name, one in self.space.items():
            for value in one.extremes:
                try:
                    trial_config(self.config, {**first, name: value})
                except UserError as error:
                    raise UserError(f"{error} (a trial of search_space with {name} = {value!r})") from None

    @property
    def folder(self) -> Path:
        """Where everything about it lies."""
        return files.home() / "working" / "searches" / self.config.spec / f"fold{self.fold}"

    @property
    def space(self) -> dict[str, Range]:
        """What is tried."""
        return read_space(self.config.search_space or default_space(self.config))

    @property
    def direction(self) -> Direction:
        """``maximize`` or ``minimize``."""
        return "maximize" if get_metric(self.config.metric).higher_is_better else "minimize"

    def identity(self, dataset: Dataset) -> str:
        """Hash of all that a trial's score depends on besides its values; the code that the experiment reaches too."""
        identity = self.config.identity()
        # what the trials set themselves may change in the experiment
        fields = {name: value for name, value in identity["fields"].items() if name not in self.space}
        space = {name: [one.kind, one.low, one.high, list(one.choices)] for name, one in self.space.items()}
        made_of = [_VERSION, {**identity, "fields": fields}, space, dataset.data_hash, dataset.fold_hash, self.seed]
        reached = code_of(type(self.config)) | metric_source(self.config.metric)
        return files.sha256_json([*made_of, reached] if reached else made_of)


def default_space(config: Task) -> dict[str, Any]:
    """Learning rate within a factor of ten, weight decay, augmentation, and dropout where the network has it."""
    space: dict[str, Any] = {
        "lr": ("log", config.lr / 10, config.lr * 10),
        "weight_decay": ("log", 1e-4, 0.3),
        "augment": ["light", "strong"],
    }
    return space | ({"dropout": ("uniform", 0.0, 0.5)} if "dropout" in type(config).model_fields else {})


def search(plan: Search, *, quiet: bool = False) -> list[optuna.trial.FrozenTrial]:
    """Make the trials that are missing.

    Returns:
        All of them, in the order in which they ended.

    Raises:
        UserError: another process searches here, the journal is damaged, or a training fails.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    dataset = inner_dataset(open_dataset(plan.config), plan.fold, plan.inner_folds, plan.seed)
    with files.lock(plan.folder, f"searching {plan.config.spec}"):
        _record(plan, dataset)  # made once, before several processes look for it
        if plan.processes == 1:
            _work(plan, dataset, 0, quiet)
        else:
            import joblib

            processes(plan.processes, *reserved(plan.config))(
                joblib.delayed(_work)(plan, dataset, process, quiet) for process in range(1, plan.processes + 1)
            )
        return _record(plan, dataset).trials()[: plan.trials]


def reserved(config: Task) -> tuple[int, float]:
    """Cores, and GPUs where there are any, that a process with trials of an experiment takes of a cluster."""
    return config.threads or 1, float(config.devices)


def _record(plan: Search, dataset: Dataset) -> TrialStore:
    return Journal(plan.folder / "study.journal", plan.identity(dataset)).record("search", plan.direction)


def _work(plan: Search, dataset: Dataset, process: int, quiet: bool) -> None:
    """Continue until the journal holds all trials; one of several processes, or 0 for the only one."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    record = _record(plan, dataset)
    study = optuna.create_study(direction=plan.direction, pruner=_pruner(plan))
    space = {name: one.distribution() for name, one in plan.space.items()}
    number = 0
    while True:
        found = record.new()
        study.add_trials(found)
        number += len(found)
        if number >= plan.trials:
            return
        study.sampler = _sampler(plan, process, number)
        if number == 0 and process <= 1 and (own := _own_values(plan)) is not None:
            study.enqueue_trial(own)
        trial = study.ask(space)
        record.add(_train(plan, dataset, study, trial, quiet))
        number += 1


def _train(
    plan: Search, dataset: Dataset, study: optuna.Study, trial: optuna.Trial, quiet: bool
) -> optuna.trial.FrozenTrial:
    """Train with a trial's values and tell the study how it went."""
    from optuna.trial import TrialState

    values = values_of(plan, trial.params)
    folder = plan.folder / "trials" / files.sha256_json([plan.identity(dataset), values])[:16]
    started = time.monotonic()
    try:
        score = run_trial(
            trial_config(plan.config, values), dataset, folder, partial(_report, trial), seed=plan.seed, quiet=quiet
        )
        state = TrialState.PRUNED if score is None else TrialState.COMPLETE
    except Diverged as error:
        score, state = None, TrialState.FAIL
        trial.set_user_attr("reason", str(error))
    trial.set_user_attr("seconds", round(time.monotonic() - started, 1))
    return study.tell(trial, score, state=state)


def _report(trial: optuna.Trial, score: float, step: int) -> bool:
    trial.report(score, step)
    return trial.should_prune()


def values_of(plan: Search, drawn: dict[str, Any]) -> dict[str, Any]:
    """The fields that a trial sets, of what Optuna drew."""
    return {name: one.value(drawn[name]) for name, one in plan.space.items()}


def _own_values(plan: Search) -> dict[str, Any] | None:
    """What Optuna would draw for the experiment's own values; None where one lies outside the space."""
    own: dict[str, Any] = {}
    for name, one in plan.space.items():
        value = getattr(plan.config, name)
        if one.kind == "choice" and value in one.choices:
            own[name] = one.choices.index(value)
        elif one.kind != "choice" and value is not None and one.low <= value <= one.high:
            own[name] = value
        else:
            return None
    return own


def _sampler(plan: Search, process: int, number: int) -> optuna.samplers.BaseSampler:
    import optuna

    seed = int(np.random.SeedSequence([plan.seed, process, number]).generate_state(1)[0])
    make: Callable[..., Any] = optuna.samplers.TPESampler
    return make(seed=seed, multivariate=True, constant_liar=False, n_startup_trials=_RANDOM_TRIALS)


def _pruner(plan: Search) -> optuna.pruners.BasePruner:
    import optuna

    # the first reports tell little: a learning rate that warms up is not slow
    return optuna.pruners.MedianPruner(n_startup_trials=min(_RANDOM_TRIALS, plan.trials), n_warmup_steps=2)
