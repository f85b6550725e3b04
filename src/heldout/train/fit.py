"""The fold loop: train on all folds but one, predict that one, and leave a folder that proves what was done.

Every random number of epoch e is a function of (seed, fold, e, position in the epoch), so nothing about the generators
has to be stored: a run killed at any moment resumes after its last finished epoch and ends, on a CPU, with bitwise the
weights of a run that was never killed. On CUDA some backward passes (interpolation, pooling in 3D, reflection padding)
add in no fixed order, so that there even two uninterrupted runs differ in the last bits.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import cast

import torch
from torch import Tensor

from heldout import files
from heldout.data.cases import open_dataset, open_source
from heldout.data.dataset import Dataset
from heldout.data.grids import check_axes
from heldout.errors import Diverged, UserError
from heldout.metrics.registry import get_metric, get_ranking_metric
from heldout.tasks import Task
from heldout.tasks.check import check_fields
from heldout.tasks.optim import LearningRate, Precision, machine_precision
from heldout.train import checkpoint, history, numerics, runs
from heldout.train.checkpoint import Progress
from heldout.train.display import Display
from heldout.train.failures import explained
from heldout.train.fastest import fastest
from heldout.train.first_batch import try_first_batch
from heldout.train.hard_negatives import Miner, read_hard_negatives
from heldout.train.loader import Batches
from heldout.train.opening import open_fold
from heldout.train.origins import Origins, find_origins
from heldout.train.record import PseudoLabelsRecord
from heldout.train.results import ValidationFold, write_results
from heldout.train.state import TrainState, seed_everything, train_step
from heldout.train.team import Team, train_together
from heldout.train.threads import exactly

CHECK_EVERY = 16  # batches between looks at the loss: every look makes a GPU wait
DRAW_EVERY = 300.0  # seconds between drawings of the curves

Watch = Callable[[Progress], None]


def run_experiment(
    config: Task,
    folds: Sequence[int] | None = None,
    seeds: Sequence[int] | None = None,
    *,
    quiet: bool = False,
    watch: Watch | None = None,
    precision: str | None = None,
) -> list[Path]:
    """Train what is missing of an experiment, seed by seed.

    Args:
        config: The experiment.
        folds: Folds to train; None is what the experiment says.
        seeds: Seeds to train; None is what the experiment says.
        quiet: Show no progress.
        watch: As :func:`fit_fold` takes it.
        precision: As :func:`fit_fold` takes it.

    Returns:
        The folders of the folds asked for, finished before or now.

    Raises:
        UserError: a fold is refused, pretrained weights cannot be had, or the network cannot be trained, see
            :func:`try_first_batch`.
    """
    chosen = [
        (fold, seed)
        for seed in (config.seeds if seeds is None else seeds)
        for fold in (config.fold_list if folds is None else folds)
    ]
    dataset = open_checked(config, chosen)
    return [
        fit_fold(config, dataset, fold, seed, quiet=quiet, watch=watch, precision=precision) for fold, seed in chosen
    ]


def open_checked(config: Task, chosen: Sequence[tuple[int, int]]) -> Dataset:
    """The checked dataset of an experiment, whose network was tried unless all folds and seeds chosen hold an epoch.

    Raises:
        UserError: as :func:`run_experiment`.
    """
    check_fields(config)
    if not all(runs.has_epoch(runs.fit_folder(config.spec, seed, fold)) for fold, seed in chosen):
        config.pretrained_file()
        source = open_source(config)
        check_fields(config, source.classes)
        try_first_batch(config, source)
    dataset = open_dataset(config)
    check_axes(config, dataset.source, dataset.cases)
    return dataset


@dataclass(eq=False)
class Fold:
    """A fold in training: what to train, on what, with what, and how far it has come."""

    config: Task
    key: tuple[int, int]  # seed and fold
    folder: Path
    batches: Batches
    state: TrainState
    held_out: ValidationFold
    miner: Miner
    progress: Progress
    display: Display
    watch: Watch | None


def fit_fold(
    config: Task,
    dataset: Dataset,
    fold: int,
    seed: int,
    *,
    quiet: bool = False,
    folder: Path | None = None,
    watch: Watch | None = None,
    precision: str | None = None,
) -> Path:
    """Train one fold of one seed and predict the cases it held out, or resume where that stopped.

    Args:
        config: The experiment.
        dataset: The checked dataset.
        fold: The fold to hold out.
        seed: Seed of the run.
        quiet: Show no progress.
        folder: Where to write; None is the fold's place in the run of the experiment.
        watch: Called with the progress when an epoch is on the disk, and with what an earlier call left; what it raises
            ends the training, which can be resumed later.
        precision: Number format of the run, where its other fits are on another machine.

    Returns:
        The fold's folder; at once where the fold is finished.

    Raises:
        UserError: the run was begun with other settings or data, or from other weights or pseudo-labels than there
            are now, its metric is optimistically biased, another process trains this fold, the loss is not finite,
            or the disk is full.
    """
    beginning: contextlib.AbstractContextManager[None] = contextlib.nullcontext()
    if folder is None:
        folder = runs.fit_folder(config.spec, seed, fold)
        runs.check_identity(config, dataset)
        runs.check_code(config)
        beginning = numerics.beginning(config, folder, wait=True)
    if not runs.is_finished(folder):
        # before there is a folder, which a refusal would leave empty
        get_ranking_metric(config.metric)
        origins = find_origins(config, dataset, seed, fold)
        if not runs.has_epoch(folder):
            try_first_batch(config, dataset, dataset)
        with contextlib.ExitStack() as held:
            with beginning:
                held.enter_context(_held(folder, f"training {config.spec} seed {seed} fold {fold}"))
                done = runs.is_finished(folder)  # another process may have finished it a moment ago
                if not done:
                    for rest in folder.rglob(".*.part"):  # what a killed run was writing
                        rest.unlink()
                    threads = held.enter_context(exactly(numerics.fit_threads(config, folder)))
                    recorded = numerics.fit_precision(config, folder) or precision
                    opened = _same_precision(fastest(config, dataset, (seed, fold), origins), recorded)
                    runs.begin_fit(config, dataset, folder, origins.hashes(), threads, opened)
            if not done:
                fit = partial(_fit, config, opened, dataset, (seed, fold), folder, origins)
                train_together(config.devices, partial(fit, quiet, watch), partial(fit, True, None))
    runs.check_weights(folder)
    (folder / "state.pt").unlink(missing_ok=True)
    return folder


@contextlib.contextmanager
def _held(folder: Path, what: str) -> Iterator[None]:
    """Hold the folder of a fit, and leave none that has nothing in it."""
    with files.lock(folder, what), explained(folder):
        try:
            yield
        except BaseException:
            if not runs.has_epoch(folder):
                runs.forget(folder)
            raise


def _fit(
    config: Task,
    opened: Task,
    dataset: Dataset,
    key: tuple[int, int],
    folder: Path,
    origins: Origins,
    quiet: bool,
    watch: Watch | None,
    team: Team,
) -> None:
    """Train a fold; ``opened`` is the experiment in the layout and number format of its run, compiled or not."""
    prepared, batches, state = open_fold(opened, dataset, key, origins, quiet=quiet, team=team)
    warm_start, pseudo = origins.warm_start, origins.pseudo_labels
    training, validation = dataset.fold_cases(key[1], config.case_fraction)
    begun = None if warm_start is None else warm_start.describe(state.network)
    labels = None
    if pseudo is not None:
        labels = PseudoLabelsRecord(name=pseudo.name, sha256=pseudo.sha256, cases=len(pseudo.rows))
    device = state.fabric.device
    held_out = ValidationFold(config, dataset, prepared, validation.assign(fold=key[1]), device, team)
    miner = Miner(config, prepared, training, dataset.classes, dataset.exclusive, device, key, team)
    progress = checkpoint.load(folder / "state.pt", state.stateful)
    label = f"{config.spec} seed {key[0]} fold {key[1]}"
    with Display(label, config.epochs, len(batches), progress.epoch, quiet) as display:
        if begun is not None:
            display.announce(f"starts from {begun.loaded} of {begun.tensors} tensors of {begun.spec}")
        _train(Fold(config, key, folder, batches, state, held_out, miner, progress, display, watch))
        batches.close()
        if team.is_first:
            history.draw_curves(folder, progress.rows, label, config.metric, progress.best_epoch)
        write_results(folder, key, state, held_out, progress, display, begun, labels)


def _same_precision(config: Task, recorded: str | None) -> Task:
    """The experiment in the number format that the fits of its run have.

    Raises:
        UserError: this machine cannot train in that format.
    """
    chosen = machine_precision(config.precision if recorded is None else cast("Precision", recorded))
    if recorded not in (None, chosen):
        raise UserError(
            f"{config.spec} is trained in {recorded}, which needs a CUDA GPU: train it on one, or as a run of its own "
            f"with --set precision={chosen}"
        )
    return config.model_copy(update={"precision": chosen})


def _train(fold: Fold) -> None:
    """Run the epochs that are missing; after each, everything the next one needs is on the disk."""
    config, state, progress = fold.config, fold.state, fold.progress
    drawn = time.monotonic()
    if progress.rows and state.team.is_first:
        _write_history(fold)  # a kill may have come between the state and these
        if fold.watch is not None:
            fold.watch(progress)
    while progress.epoch < config.epochs and not _stops_early(fold):
        started = time.perf_counter()
        loss, lr = _run_epoch(fold)
        progress.epoch += 1
        if fold.miner.is_due(progress.epoch):
            progress.mined.append(fold.miner.mine(state.average.module, progress.epoch, fold.folder, fold.display))
        score = None
        if config.validate_every and (progress.epoch % config.validate_every == 0 or progress.epoch == config.epochs):
            score = fold.held_out.score(state.average.module)
            better = progress.add_score(score, progress.epoch, get_metric(config.metric).higher_is_better)
            if better and config.checkpoint == "best":
                progress.best = {name: value.cpu().clone() for name, value in state.average.module.state_dict().items()}
        _look(fold, loss, score)
        row = history.EpochRow(
            epoch=progress.epoch,
            train_loss=loss,
            lr=lr,
            seconds=round(time.perf_counter() - started, 3),
            score=None if score is None or math.isnan(score) else score,
            wall_time=round(time.time(), 3),
        )
        progress.rows.append(row)
        if not state.team.is_first:
            continue
        checkpoint.save(fold.folder / "state.pt", progress, state.stateful)
        _write_history(fold)
        fold.display.epoch(row, config.metric)
        if time.monotonic() - drawn > DRAW_EVERY:
            history.draw_curves(fold.folder, progress.rows, fold.display.label, config.metric, progress.best_epoch)
            drawn = time.monotonic()
        if fold.watch is not None:
            fold.watch(progress)


def _run_epoch(fold: Fold) -> tuple[float, float]:
    """Train on every batch of an epoch once; returns the mean loss and the last learning rate."""
    config, state, epoch, length = fold.config, fold.state, fold.progress.epoch, len(fold.batches)
    config.start_epoch(state.network, epoch)
    state.size = config.size_in(epoch)
    total, lr = 0.0, math.nan
    unseen: list[Tensor] = []
    mined = fold.progress.mined
    hard = read_hard_negatives(fold.folder, mined[-1], fold.batches.case_ids) if mined else []
    for step, samples in enumerate(fold.batches.epoch(epoch, hard)):
        first = step - step % config.accumulate
        group = min(config.accumulate, length - first)
        lr = float(state.schedule.get_last_lr()[0])
        # seeded after the samples came, so that it does not matter which process made them
        seed = seed_everything(*fold.key, epoch, "step", step)
        unseen.append(train_step(config, state, samples, seed, group, update=step + 1 == first + group))
        if len(unseen) == CHECK_EVERY or step + 1 == length:
            total += _finite_sum(unseen, epoch, step + 1 - len(unseen))
            unseen.clear()
        fold.display.step()
    if not state.is_finite():
        raise _diverged(f"the weights are not finite after epoch {epoch + 1}")
    return total / length, lr


def _look(fold: Fold, loss: float, score: float | None) -> None:
    """Show a schedule that waits for a plateau the fold's score, or where there are no validations the loss."""
    rate = getattr(fold.state.schedule, "lr_lambdas", [None])[0]
    if not isinstance(rate, LearningRate):
        return
    if fold.config.validate_every is None:
        rate.look(loss)
    elif score is not None and not math.isnan(score):
        rate.look(-score if get_metric(fold.config.metric).higher_is_better else score)


def _finite_sum(losses: list[Tensor], epoch: int, first: int) -> float:
    values = torch.stack(losses).double().tolist()
    for step, value in enumerate(values, start=first):
        if not math.isfinite(value):
            raise _diverged(f"the loss is {value} in epoch {epoch + 1}, step {step + 1}")
    return math.fsum(values)


def _diverged(what: str) -> Diverged:
    return Diverged(
        f"{what}: lower lr, or set precision = '32-true', in a new experiment or with --set (the state before this "
        "epoch is kept)"
    )


def _stops_early(fold: Fold) -> bool:
    return fold.config.early_stopping is not None and fold.progress.stale >= fold.config.early_stopping


def _write_history(fold: Fold) -> None:
    for write in (history.write_metrics, history.write_tensorboard):
        write(fold.folder, fold.progress.rows, fold.config.metric)
