"""The command that searches hyper-parameters."""

from __future__ import annotations

from typing import Annotated

import typer

from heldout.cli.shared import Budget, Experiment, Settings, command, configure, finish


def register(app: typer.Typer) -> None:
    """Add the command."""
    command(app, "python run.py search exp030 --budget quick --trials 20")(search)


def search(
    experiment: Experiment,
    trials: Annotated[int, typer.Option(min=1, help="sets of values to try")] = 20,
    fold: Annotated[int, typer.Option(help="the fold whose patients are never touched")] = 0,
    inner_folds: Annotated[int, typer.Option(min=2, help="parts of the other folds' patients")] = 3,
    seed: Annotated[int, typer.Option(help="seed of the search")] = 0,
    processes: Annotated[
        int, typer.Option(min=1, help="share the trials; with several, what is tried depends on their timing")
    ] = 1,
    budget: Budget = None,
    settings: Settings = None,
) -> None:
    """Search values of an experiment's search_space with Optuna, on inner folds of the training patients only.

    Bad trials are given up early. The same command goes on where it was stopped.
    """
    config = configure(experiment, budget, settings, False)

    from heldout.search.report import write_search
    from heldout.search.search import Search
    from heldout.search.search import search as run

    plan = Search(config, fold, trials, inner_folds, seed, processes)
    best = write_search(plan, run(plan))
    counts = best["trials"]
    print(f"{counts['complete']} trials complete, {counts['pruned']} given up early, {counts['fail']} diverged")
    own = "" if best["own_value"] is None else f"; the experiment's own values {best['own_value']:.4f}"
    print(f"best {best['metric']} {best['value']:.4f} on inner folds{own}")
    print(f"the values have seen all patients but those of fold {fold}: only that fold's score owes them nothing")
    print(f"\n{(plan.folder / 'experiment.py').read_text(encoding='utf-8')}")
    finish(plan.folder, f"{config.spec} --fold {fold} {' '.join(_as_settings(best['values']))}")


def _as_settings(values: dict[str, object]) -> list[str]:
    from heldout.config.texts import compact

    return [f"--set {name}={compact(value)}" for name, value in values.items()]
