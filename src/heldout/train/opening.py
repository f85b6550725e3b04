"""What a fold is trained on and with, as training starts; and how long a step of it takes."""

from __future__ import annotations

import time

import pandas as pd
import torch

from heldout.data.dataset import Dataset
from heldout.data.prepare import Prepared
from heldout.predict.allocator import keep_freed_memory
from heldout.tasks import Task
from heldout.train.first_stage import with_first_stage
from heldout.train.loader import Batches
from heldout.train.origins import Origins
from heldout.train.state import TrainState, build_state, loads_share, seed_everything, train_step
from heldout.train.team import ALONE, Team

WARM_UP = 4  # steps that choose kernels and use up batches that were loaded meanwhile
MIN_STEPS = 6


def open_fold(
    config: Task, dataset: Dataset, key: tuple[int, int], origins: Origins, *, quiet: bool, team: Team = ALONE
) -> tuple[Prepared, Batches, TrainState]:
    """Prepared arrays, training batches and, as training starts with them, the state of the fold ``key[1]``."""
    keep_freed_memory()
    training, _ = dataset.fold_cases(key[1], config.case_fraction)
    prepared = with_first_stage(dataset, config, progress=not quiet)
    everything, shown, pseudo = training, prepared, origins.pseudo_labels
    if pseudo is not None:
        everything = pd.concat([training, pseudo.rows], ignore_index=True)
        shown = pseudo.join(prepared, dataset, config, progress=not quiet)
    share = team if loads_share(config) else ALONE
    batches = Batches(config, dataset, shown, everything, key, torch.cuda.is_available(), share)
    return prepared, batches, build_state(config, dataset, batches.labels, key, len(batches), origins.warm_start, team)


def step_times(
    config: Task, state: TrainState, batches: Batches, key: tuple[int, int], seconds: float, epochs: int = 1
) -> tuple[float, float]:
    """Wall time of a training step, loading included, and what the first few take beyond that. The state is changed.

    Everything that learns at all does, as in the last epoch; of ``progressive_sizes`` each is measured.

    Args:
        config: The experiment.
        state: What is trained.
        batches: Of the fold.
        key: Seed and fold.
        seconds: How long to measure; at least six steps of each size, or one epoch, are.
        epochs: Most epochs of each size.

    Returns:
        The mean over the steps after the first four, and over the sizes; seconds of these, without as many times that
        mean.
    """
    sizes = config.progressive_sizes or (1.0,)
    config.start_epoch(state.network, config.epochs - 1)
    times = []
    for size in sizes:
        state.size = size
        times.append(_times(config, state, batches, key, seconds / len(sizes), epochs))
    return sum(mean for mean, _ in times) / len(sizes), sum(first for _, first in times)


def _times(
    config: Task, state: TrainState, batches: Batches, key: tuple[int, int], seconds: float, epochs: int
) -> tuple[float, float]:
    started = begun = time.perf_counter()
    warm_up, done = min(WARM_UP, len(batches) - 1), 0
    for epoch in range(epochs):
        for number, samples in enumerate(batches.epoch(epoch)):
            float(train_step(config, state, samples, seed_everything(*key, epoch, "step", number)))  # waits for a GPU
            done += 1
            if done == warm_up:
                begun = time.perf_counter()
            if done - warm_up >= MIN_STEPS and time.perf_counter() - begun > seconds:
                break
        else:
            continue
        break
    mean = (time.perf_counter() - begun) / (done - warm_up)
    return mean, max(0.0, begun - started - warm_up * mean)
