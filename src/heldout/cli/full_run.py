"""The real experiments of a family, trained one after another, within a time limit and on all cores of a machine."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from heldout.config import BaseConfig, load
from heldout.errors import UserError

if TYPE_CHECKING:
    from pathlib import Path

# In the order in which they are worth having: a time limit cuts the end off.
FAMILIES: dict[str, tuple[str, ...]] = {
    "fracatlas": (
        *("exp040@baseline", "exp049@baseline", "exp047@baseline", "exp045@baseline", "exp043@baseline"),
        *("exp042@baseline", "exp041@baseline", "exp046@baseline"),
    ),
    "hippocampus": ("exp037", "exp036", "exp034", "exp030"),
    "adrenal": ("exp050", "exp053", "exp054", "exp051"),
    "brain-mri": ("exp020", "exp021", "exp022"),
}
_MOST_WORKERS = 16
_SPARED_CORES = 2  # for the loop itself and for bringing predictions back to their grids


@dataclass
class Outcome:
    """What a call did: fits finished by it, fits that were finished before, and those that are left."""

    done: list[Path] = field(default_factory=list)
    before: int = 0
    left: int = 0


class TimeIsUp(Exception):  # noqa: N818 - a message to the loop, no error
    """Ends a training whose last epoch is on the disk."""


def members(family: str) -> list[BaseConfig]:
    """Experiments of a family.

    Raises:
        UserError: there is no such family.
    """
    if family not in FAMILIES:
        raise UserError(f"there is no family {family!r}: choose one of {', '.join(FAMILIES)}")
    return [load(spec) for spec in FAMILIES[family]]


def run_family(configs: list[BaseConfig], minutes: float | None, workers: int | None = None) -> Outcome:
    """Train what is missing, experiment by experiment, and stop after the epoch in which the time is up.

    Args:
        configs: The experiments; the first is finished first.
        minutes: Time limit; None is none. Predicting a finished fold's cases is not cut short.
        workers: Loading processes; None takes the machine's cores. No result depends on them.

    Raises:
        UserError: a dataset is missing, or a fit is refused.
    """
    from heldout.data.cases import open_dataset
    from heldout.train import runs
    from heldout.train.fit import fit_fold

    deadline = None if minutes is None else time.monotonic() + 60 * minutes

    def watch(_: Any) -> None:
        if deadline is not None and time.monotonic() > deadline:
            raise TimeIsUp

    outcome = Outcome()
    places = list(_places(configs))
    for number, (config, seed, fold) in enumerate(places):
        if runs.is_finished(runs.fit_folder(config.spec, seed, fold)):
            outcome.before += 1
            continue
        # outside the identity of a run, and therefore no part of its name
        quick = config.model_copy(update={"workers": loading_processes() if workers is None else workers})
        try:
            watch(None)
            outcome.done.append(fit_fold(quick, open_dataset(config), fold, seed, watch=watch))
        except TimeIsUp:
            later = (runs.fit_folder(other.spec, *place) for other, *place in places[number:])
            outcome.left = sum(not runs.is_finished(folder) for folder in later)
            break
    return outcome


def loading_processes() -> int:
    """Loading processes for this machine."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(_MOST_WORKERS, cores - _SPARED_CORES))


def _places(configs: list[BaseConfig]) -> Iterator[tuple[BaseConfig, int, int]]:
    for config in configs:
        for seed in config.seeds:
            for fold in config.fold_list:
                yield config, seed, fold
