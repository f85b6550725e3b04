"""The command that searches hyper-parameters."""

from __future__ import annotations

from typing import Annotated

import typer

from heldout.cli.engines import Processes, Spread, spread
from heldout.cli.shared import Budget, Experiment, Settings, Track, command, configure, finish


@command("python run.py search exp030 --budget quick --trials 20")
def search(
    experiment: Experiment,
    trials: Annotated[int, typer.Option(min=1, help="number of trials")] = 20,
    fold: Annotated[int, typer.Option(help="the fold whose patients are not used")] = 0,
    inner_folds: Annotated[int, typer.Option(min=2, help="number of folds made of the other patients")] = 3,
    seed: Annotated[int, typer.Option(min=0, help="seed of the search")] = 0,
    processes: Processes = None,
    budget: Budget = None,
    settings: Settings = None,
    track: Track = None,
    ray: Spread = None,
) -> None:
    """Search an experiment's search_space with Optuna, on inner folds of the training patients.

    Bad trials are pruned. The same command resumes an interrupted search.
    """
    config = configure(experiment, budget, settings, False)
    spread(ray)

    from heldout.data.parallel import trial_processes
    from heldout.search.report import write_search
    from heldout.search.search import Search, reserved
    from heldout.search.search import search as run
    from heldout.track.follow import tracked

    shared = trial_processes(processes, trials, *reserved(config))
    plan = Search(config, fold, trials, inner_folds, seed, shared)
    with tracked(track, f"searches/{config.spec}/fold{fold}"):
        best = write_search(plan, run(plan))
    counts = best.trials
    print(f"{counts.complete} trials complete, {counts.pruned} pruned, {counts.fail} diverged")
    own = "" if best.own_value is None else f"; the experiment's own values {best.own_value:.4f}"
    print(f"best {best.metric} {best.value:.4f} on inner folds{own}")
    print(f"the values depend on all patients except those of fold {fold}: only its score is independent of them")
    print(f"\n{(plan.folder / 'experiment.py').read_text(encoding='utf-8')}")
    finish(plan.folder, f"{config.spec} --fold {fold} {' '.join(_as_settings(best.values))}")


def _as_settings(values: dict[str, object]) -> list[str]:
    from heldout.config.texts import compact

    return [f"--set {name}={compact(value)}" for name, value in values.items()]
