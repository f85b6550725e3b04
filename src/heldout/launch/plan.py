"""Which fits are missing, and which of them must wait for others. Free of torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from heldout.errors import UserError
from heldout.tasks import Task, load_task
from heldout.train import runs
from heldout.train.dependencies import find_dependency
from heldout.train.minutes import recorded, with_epochs


@dataclass(frozen=True)
class Fit:
    """One fold of one seed of an experiment, to be trained.

    Attributes:
        spec: The experiment.
        seed: Its seed.
        fold: The fold held out.
        minutes: Training time that decides the number of epochs; None leaves that to the experiment.
    """

    spec: str
    seed: int
    fold: int
    minutes: float | None = None

    def __str__(self) -> str:
        time = "" if self.minutes is None else f" in {self.minutes:g} minutes"
        return f"{self.spec} seed {self.seed} fold {self.fold}{time}"

    def config(self) -> Task | None:
        """The experiment as it is trained; None while its number of epochs has not been measured."""
        config = load_task(self.spec)
        if self.minutes is None:
            return config
        record = recorded(config, self.minutes)
        return None if record is None else with_epochs(config, record)

    def folder(self) -> Path | None:
        """Folder of the fit; None while the name of its run is not known."""
        config = self.config()
        return None if config is None else runs.fit_folder(config.spec, self.seed, self.fold)

    def is_finished(self) -> bool:
        """Whether it is trained and predicted."""
        folder = self.folder()
        return folder is not None and runs.is_finished(folder)

    def needs(self) -> tuple[Fit, ...]:
        """Fits that must be finished before: of its warm start, and every one of its first stage.

        Raises:
            UserError: the experiment that it depends on does not exist.
        """
        config = load_task(self.spec)
        found: list[Fit] = []
        if config.warm_start is not None:
            found.append(Fit(find_dependency(config, "warm_start").spec, self.seed, self.fold))
        if config.first_stage is not None:
            source = find_dependency(config, "first_stage")
            found += [Fit(source.spec, seed, fold) for seed in source.seeds for fold in source.fold_list]
        return tuple(found)


def missing(fit: Fit, above: tuple[Fit, ...] = ()) -> list[Fit]:
    """A fit and all that it depends on, as far as they are not finished, each once and after what it needs.

    Args:
        fit: The fit.
        above: The fits that need it.

    Raises:
        UserError: experiments depend on each other in a circle, or one that is depended on does not exist.
    """
    if fit.is_finished():
        return []
    if fit in above:
        circle = " -> ".join(dict.fromkeys(one.spec for one in (*above, fit)))
        raise UserError(f"{circle} depend on each other: change warm_start or first_stage of one of them")
    below = [one for need in fit.needs() for one in missing(need, (*above, fit))]
    return list(dict.fromkeys([*below, fit]))
