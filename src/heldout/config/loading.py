"""Experiments by name: import their files, make what a name says, compare two."""

from __future__ import annotations

import importlib
import importlib.util
import re
import sys
import traceback
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from heldout.config.base import BaseConfig
from heldout.config.legacy import today_spec
from heldout.config.texts import nearest, parse, split
from heldout.errors import UserError
from heldout.files import project

_SPEC = re.compile(r"(?P<name>exp\d{3}\w*)(@(?P<budget>\w+))?(\+(?P<overrides>.+))?")


def load(spec: str, budget: str | None = None, overrides: list[str] | tuple[str, ...] = ()) -> BaseConfig:
    """Import an experiment and make the instance that ``spec`` names.

    Args:
        spec: ``exp040``, ``exp040@quick`` or ``exp040@quick+lr=0.001,epochs=3``.
        budget: Budget, where ``spec`` names none.
        overrides: ``field=value`` texts, as given with ``--set``.

    Raises:
        UserError: the experiment, the budget or a field does not exist, or a value does not fit.

    Example:
        >>> config = load("exp001@quick", overrides=["lr=0.01"])
        >>> config.spec, config.epochs, config.lr
        ('exp001@quick+lr=0.01', 2, 0.01)
    """
    match = _SPEC.fullmatch(today_spec(spec))
    if match is None and spec.endswith(".py"):
        raise UserError(_instead_of_path(Path(spec)))
    if match is None:
        raise UserError(f"{spec!r} is not an experiment: write exp040, exp040@quick or exp040+lr=0.001")
    if budget is not None and match["budget"] not in (None, budget):
        raise UserError(f"{spec} already names the budget {match['budget']}: leave out --budget {budget}")
    name = match["name"]
    module = import_file(name)
    cls = next(
        (
            value
            for value in vars(module).values()
            if isinstance(value, type) and issubclass(value, BaseConfig) and value.__module__ == module.__name__
        ),
        None,
    )
    if cls is None:
        raise UserError(f"exps/{name}.py does not define an experiment: subclass a task or another experiment there")
    texts = split(match["overrides"] or "") + list(overrides)
    config = cls.create(match["budget"] or budget, dict(parse(text) for text in texts))
    config.check_name()
    return config


def _instead_of_path(path: Path) -> str:
    """What to write instead of the path of an experiment's file."""
    if path.resolve().parent == project() / "exps":
        return f"{path} is the file of an experiment: write its name, {path.stem}"
    return f"{path} lies outside {project() / 'exps'}: put the file there, and write its name, such as exp120"


def has_file(name: str) -> bool:
    """Whether ``exps/`` has a module of that name."""
    _find_exps()
    try:
        return importlib.util.find_spec(f"exps.{name}") is not None
    except ModuleNotFoundError:  # there is no exps/ at all
        return False


def _find_exps() -> None:
    if str(project()) not in sys.path:  # of a command that was not started as run.py
        sys.path.append(str(project()))


def import_file(name: str) -> Any:
    """The module of an experiment, or another of ``exps/``; whatever goes wrong in the file is told with its line.

    Raises:
        UserError: there is no such file, or it fails.
    """
    _find_exps()
    try:
        return importlib.import_module(f"exps.{name}")
    except UserError:
        raise
    except ModuleNotFoundError as error:
        if error.name not in (f"exps.{name}", "exps"):
            raise UserError(
                f"exps/{name}.py imports {error.name}, which does not exist here: correct its name, install it, "
                "or move it into exps/"
            ) from None
        known = nearest(name, names()) or f": there are {', '.join(names()) or 'none yet'}"
        raise UserError(f"exps/{name}.py does not exist{known}") from None
    except Exception as error:
        frames = traceback.extract_tb(error.__traceback__)
        lines = [frame.lineno for frame in frames if Path(frame.filename).stem == name]
        line = lines[-1] if lines else getattr(error, "lineno", "?")
        raise UserError(f"exps/{name}.py line {line} fails with {type(error).__name__}: {error}; correct it") from error


def names() -> list[str]:
    """Names of all experiments in ``exps/``, sorted."""
    return sorted(path.stem for path in (project() / "exps").glob("exp*.py"))


def experiments(name: str, budget: str | None = None) -> list[BaseConfig]:
    """Experiments of a full run in ``exps/full_runs.py``, or of a family: a root with its descendants.

    Args:
        name: A full run, such as ``fracatlas``, or the spec of an experiment, such as ``exp040@quick``.
        budget: Budget of a root and its descendants, where ``name`` names none; descendants without it stay out.

    Raises:
        UserError: there is no such full run or experiment.
    """
    listed = _full_runs().MINUTES
    if name in listed:
        return [load(spec, budget) for spec in listed[name]]
    if not name.startswith("exp"):
        raise UserError(f"there is no full run {name!r}: choose one of {', '.join(listed)}, or name an experiment")
    root = load(name, budget)
    members = [load(other) for other in names()]
    below = [member for member in members if issubclass(type(member), type(root)) and member.spec != root.experiment]
    if root.budget is not None:
        below = [load(member.spec, root.budget) for member in below if root.budget in member.budgets]
    return [root, *below]


def listed_minutes(name: str) -> dict[str, float]:
    """Minutes of training a fold on two cores, by experiment, of a full run in ``exps/full_runs.py``; else empty."""
    return dict(_full_runs().MINUTES.get(name, {}))


def listed_minutes_of(experiment: str) -> float | None:
    """Minutes of training a fold of an experiment on two cores, as any full run lists them."""
    listed = (minutes for minutes in _full_runs().MINUTES.values() if experiment in minutes)
    return next((float(minutes[experiment]) for minutes in listed), None)


def listed_blend(name: str) -> tuple[str, ...]:
    """Options with which ``exps/full_runs.py`` blends a full run."""
    return tuple(_full_runs().BLENDS.get(name, ()))


def _full_runs() -> Any:
    try:
        return importlib.import_module("exps.full_runs")
    except ModuleNotFoundError:
        return SimpleNamespace(MINUTES={}, BLENDS={})


def difference(old: Any, new: Any, prefix: str = "") -> list[str]:
    """Lines ``field: old -> new`` for two nested dictionaries, such as two identities."""
    if isinstance(old, dict) and isinstance(new, dict):
        keys = sorted(old.keys() | new.keys())
        return [line for key in keys for line in difference(old.get(key), new.get(key), f"{prefix}{key}.")]
    return [] if old == new else [f"{prefix.rstrip('.').removeprefix('fields.')}: {old!r} -> {new!r}"]
