"""Experiments by name, as the tasks that they are."""

from __future__ import annotations

from heldout.config import BaseConfig, family, load
from heldout.errors import UserError
from heldout.tasks.base import Task


def load_task(spec: str, budget: str | None = None, overrides: list[str] | tuple[str, ...] = ()) -> Task:
    """Import an experiment and make the task that ``spec`` names; see :func:`heldout.config.load`.

    Raises:
        UserError: as :func:`heldout.config.load`, or the experiment does not subclass a task.
    """
    return _as_task(load(spec, budget, overrides))


def load_family(name: str, budget: str | None = None) -> list[Task]:
    """Tasks of a family of experiments; see :func:`heldout.config.family`.

    Raises:
        UserError: as :func:`heldout.config.family`, or an experiment does not subclass a task.
    """
    return [_as_task(config) for config in family(name, budget)]


def _as_task(config: BaseConfig) -> Task:
    if not isinstance(config, Task):
        raise UserError(f"exps/{config.experiment}.py does not subclass a task: choose one of heldout.tasks")
    return config
