"""Earlier names of fields, hooks, tasks and experiments: read from old records and files, written nowhere.

A run folder, record or decision that carries an earlier name stays valid. Names of experiments belong to the
repository, which keeps them in ``exps/aliases.py``.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator, Mapping
from itertools import product
from typing import Any

from heldout.config.code import POSTPROCESS
from heldout.errors import note

FIELDS = {"normalise": "normalize", "first_stage_share": "first_stage_fraction"}
EARLIER_FIELDS = {today: earlier for earlier, today in FIELDS.items()}
TASKS = {"Both2D": "MultiTask2D"}
HOOKS = {"judge": "classify_head"}
FIRST_HOOKS = {today: earlier for earlier, today in HOOKS.items()}
_NAMES_A_RUN = ("first_stage", "warm_start")  # fields whose value is the spec of another experiment


def today_field(name: str, where: str) -> str:
    """Today's name of a field or hook that a user wrote, with a note where the earlier one was used."""
    today = (FIELDS | HOOKS).get(name, name)
    if today != name:
        note(f"{where}: {name} is now called {today}")
    return today


def today_spec(spec: str) -> str:
    """A spec in today's names of experiment and fields.

    Example:
        >>> today_spec("exp040s@quick+normalise=unit")
        'exp040_stretch@quick+normalize=unit'
    """
    return _renamed(spec, _aliases(), FIELDS)


def earlier_specs(spec: str) -> Iterator[str]:
    """Specs that meant the same earlier, and under which a run folder may lie."""
    name = _name(spec)
    aliases: list[dict[str, str]] = [{}, *({name: old} for old, today in _aliases().items() if today == name)]
    names_of_fields: tuple[dict[str, str], ...] = ({}, EARLIER_FIELDS)
    found = dict.fromkeys(_renamed(spec, alias, fields) for alias, fields in product(aliases, names_of_fields))
    return (other for other in found if other != spec)


def first_spec(spec: str) -> str:
    """A spec under the names it first had: hashes are made of these, so that a later name changes none.

    Example:
        >>> first_spec("exp040_stretch@quick+normalize=unit/seed1")
        'exp040s@quick+normalise=unit/seed1'
    """
    earlier = {today: old for old, today in reversed(_aliases().items())}
    return _renamed(today_spec(spec), earlier, EARLIER_FIELDS)


def first_names(values: Any) -> Any:
    """A record whose keys and texts are all as :func:`first_spec` has them."""
    if isinstance(values, dict):
        return {first_spec(key): first_names(value) for key, value in values.items()}
    if isinstance(values, list):
        return [first_names(one) for one in values]
    return first_spec(values) if isinstance(values, str) else values


def today_fields(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Recorded fields and their values in today's names."""
    values = {FIELDS.get(name, name): value for name, value in fields.items()}
    for name in _NAMES_A_RUN:
        if values.get(name):
            values[name] = today_spec(values[name])
    return values


def today_identity(recorded: Mapping[str, Any], task: str) -> dict[str, Any]:
    """A recorded identity in today's names, where ``task`` is the name of the experiment's task."""
    found = recorded["task"]
    named = found if found == task else TASKS.get(found, found)
    named_today = {HOOKS.get(name, name): digest for name, digest in recorded["hooks"].items()}
    hooks = {name: digest for name, digest in named_today.items() if name not in POSTPROCESS}
    return {**recorded, "task": named, "fields": today_fields(recorded["fields"]), "hooks": hooks}


def _name(spec: str) -> str:
    """Name of the experiment in a spec."""
    return re.split(r"[@+/]", spec, maxsplit=1)[0]


def _renamed(spec: str, names: Mapping[str, str], fields: Mapping[str, str]) -> str:
    """A spec with other names of its experiment and of the fields that it overrides."""
    name = _name(spec)
    head, plus, overrides = spec[len(name) :].partition("+")
    return names.get(name, name) + head + plus + re.sub(r"\w+(?==)", lambda m: fields.get(m[0], m[0]), overrides)


def _aliases() -> dict[str, str]:
    """Today's name by earlier name, as the repository lists them; empty where it lists none."""
    try:
        return importlib.import_module("exps.aliases").ALIASES
    except ModuleNotFoundError:
        return {}
