"""The command that trains the experiments of record of a dataset, blends them and seals the decision."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from heldout.cli.shared import Budget, command, finish

if TYPE_CHECKING:
    from heldout.tasks import Task

_MOST_WORKERS = 16
_SPARED_CORES = 2  # for the loop itself and for bringing predictions back to their grids


@command("python run.py full fracatlas --minutes 25 --pack fracatlas.pack")
def full(
    context: typer.Context,
    name: Annotated[
        str,
        typer.Argument(metavar="NAME", help="a full run listed in exps/full_runs.py, or a root experiment: exp040"),
    ],
    budget: Budget = None,
    minutes: Annotated[
        float | None, typer.Option(min=0, help="time limit; training stops after the current epoch")
    ] = None,
    pack: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="a packed dataset to unpack first, if the raw one is not available"),
    ] = None,
    workers: Annotated[int | None, typer.Option(min=0, help="data loading processes; by default one per core")] = None,
) -> None:
    """Train the experiments of record of a dataset, all folds, then blend and seal them under its name.

    Finished fits are skipped, and the same command resumes an interrupted one. A root experiment is trained with its
    descendants, and nothing is sealed.
    """
    from heldout.config import listed_blend, listed_minutes
    from heldout.tasks import load_experiments

    configs = load_experiments(name, budget)
    if pack is not None:
        from heldout.data.pack.read import unpack

        unpack(pack)
    _print_budget(configs, listed_minutes(name))
    outcome = train_missing(configs, minutes, workers)
    print(f"{len(outcome.done)} fits finished now, {outcome.before} before, {outcome.left} left")
    if outcome.left or not listed_minutes(name):
        again = f"full {name}" + ("" if minutes is None else f" --minutes {minutes:g}")
        finish(outcome.done[-1] if outcome.done else "nothing new", again if outcome.left else "leaderboard")
        return
    decision = name if budget is None else f"{name}-{budget}"
    if not _is_sealed(decision):
        context.obj(["blend", *(config.spec for config in configs), "--name", decision, *listed_blend(name)])
        context.obj(["freeze", decision])
    finish(f"the sealed decision {decision}", "leaderboard")


def _print_budget(configs: list[Task], listed: dict[str, float]) -> None:
    """Tell how long what is missing takes: as fits here took, else as listed."""
    from heldout.launch.worth import Worths
    from heldout.train import runs

    worths, total, unknown = Worths(), 0.0, False
    for config in configs:
        left = sum(not runs.is_finished(runs.fit_folder(*place)) for place in _places(config))
        here = worths.of(config.spec).minutes
        each = listed.get(config.experiment) if here is None else here
        source = "on two cores, as listed" if here is None else "as those finished here"
        time_text = "of unknown length" if each is None else f"of about {each:.0f} minutes of training ({source})"
        print(f"{config.spec}: {left} fits left, {time_text}" if left else f"{config.spec}: finished")
        total, unknown = total + left * (each or 0.0), unknown or (each is None and left > 0)
    if total:
        print(f"together {'more than ' if unknown else 'about '}{total / 60:.1f} hours; predictions come on top")


def _is_sealed(name: str) -> bool:
    from heldout.blend.decision import read_decision
    from heldout.files import home

    return (home() / "working" / "blends" / name / "decision.json").exists() and read_decision(name).seal is not None


@dataclass
class Outcome:
    """What a call did: fits finished by it, fits that were finished before, and those that are left."""

    done: list[Path] = field(default_factory=list)
    before: int = 0
    left: int = 0


class TimeIsUp(Exception):  # noqa: N818 - a message to the loop, no error
    """Ends a training whose last epoch is on the disk."""


def train_missing(configs: list[Task], minutes: float | None, workers: int | None = None) -> Outcome:
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
    places = [(config, *place[1:]) for config in configs for place in _places(config)]
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
            later = [runs.fit_folder(other.spec, *place) for other, *place in places[number:]]
            outcome.left = sum(not runs.is_finished(folder) for folder in later)
            break
    return outcome


def loading_processes() -> int:
    """Loading processes for this machine."""
    from heldout.data.parallel import cores

    return max(1, min(_MOST_WORKERS, cores() - _SPARED_CORES))


def _places(config: Task) -> list[tuple[str, int, int]]:
    return [(config.spec, seed, fold) for seed in config.seeds for fold in config.fold_list]
