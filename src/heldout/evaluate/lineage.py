"""The plan of an experiment, and what it changes of its parent."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from heldout.config import BaseConfig, difference, load
from heldout.config.legacy import today_spec
from heldout.errors import UserError
from heldout.evaluate.row import Plan
from heldout.train.imported import SEED
from heldout.train.record import RunRecord, Settings, read_run
from heldout.train.runs import RunInfo, read_info, run_folder

if TYPE_CHECKING:
    from heldout.blend.decision import Decision


def plan_of(info: RunInfo) -> Plan:
    """Folds and seeds that a run is to have: as its file says today, or said when it was trained.

    Seeds and folds may be added to an experiment later; where the file is another experiment by now, or gone, only
    what was stored with the run counts.
    """
    today = _try_load(info.spec)
    if info.config.settings.imported is not None:
        return Plan(info.config.settings.fold_count, tuple(range(info.config.settings.fold_count)), (SEED,))
    if today is not None and not difference(today.complete(info.config.identity), today.identity()):
        return Plan(today.fold_count, tuple(today.fold_list), tuple(today.seeds))
    settings = info.config.settings
    folds = settings.folds if settings.folds is not None else tuple(range(settings.fold_count))
    return Plan(settings.fold_count, folds, settings.seeds)


def lineage_of(info: RunInfo) -> tuple[str | None, list[str]]:
    """Name of the parent and the changed fields; a run with overrides is a child of the plain one."""
    spec, _, overrides = info.spec.partition("+")
    name, _, budget = spec.partition("@")
    parent = name if overrides else info.config.parent
    if parent is None:
        return None, []
    config = _try_load(parent, budget or None) or _try_load(parent)
    if config is None:  # the parent's file is gone: its changes cannot be told
        return parent, []
    complete = (_try_load(info.spec) or config).complete  # what only one of the two tasks has, had its default
    return parent, changes(complete(config.identity()), complete(info.config.identity))


def depends_on(config: BaseConfig | Settings) -> str:
    """What else a run was made from, by the values of its fields: ``warm_start exp040``; empty for nothing."""
    fields = ("encoder_weights", "warm_start", "first_stage", "pseudo_labels", "imported")
    values = ((field, getattr(config, field, None)) for field in fields)
    return ", ".join(f"{field} {'of its library' if value is True else value}" for field, value in values if value)


_LONG = re.compile(r"\d+\.\d{7,}(?![\de])")  # a number with more digits than anyone reads


def changes(parent: dict[str, Any], child: dict[str, Any]) -> list[str]:
    """What differs between two identities: ``lr = 0.0003`` for a field, ``build_loss()`` for a method."""
    return [_compact(line) for line in difference(parent, child)]


def missing_text(plan: Plan, missing: list[tuple[int, int]]) -> str:
    """What a run lacks, in words: ``folds 2, 3 of every seed, fold 0 of seed 1``; empty where nothing is missing."""
    everywhere = [
        fold for fold in range(plan.fold_count) if plan.seeds and all((seed, fold) in missing for seed in plan.seeds)
    ]
    parts = []
    for chosen, why in (
        ([fold for fold in everywhere if fold in plan.folds], ""),
        ([fold for fold in everywhere if fold not in plan.folds], " (not asked for)"),
    ):
        if chosen:
            seeds = " of every seed" if len(plan.seeds) > 1 else ""
            parts.append(_folds(chosen) + seeds + why)
    for seed in plan.seeds:
        if chosen := [fold for of_seed, fold in missing if of_seed == seed and fold not in everywhere]:
            parts.append(f"{_folds(chosen)} of seed {seed}")
    return "; ".join(parts)


def _folds(folds: list[int]) -> str:
    return f"fold{'s' if len(folds) > 1 else ''} {', '.join(map(str, folds))}"


def _try_load(spec: str, budget: str | None = None) -> BaseConfig | None:
    """An experiment as its file has it; None where it cannot be loaded."""
    try:
        return load(spec, budget)
    except Exception:  # a file that is being edited raises anything when imported; finished runs are shown all the same
        return None


def _compact(line: str) -> str:
    key, _, values = line.partition(": ")
    new = _LONG.sub(lambda found: f"{float(found[0]):.6g}", values.rpartition(" -> ")[2])
    return f"{key.removeprefix('hooks.')}()" if key.startswith("hooks.") else f"{key} = {new}"


def lacking(decision: Decision, plan_for: Callable[[str], Plan | None]) -> tuple[list[tuple[int, int]], list[str]]:
    """What the members of a decision lacked when it was made: seed and fold of each fit, and sentences on them.

    Args:
        decision: A blend, or a run's plain mean.
        plan_for: The plan of a run by its name, None where its folder is gone or damaged.
    """
    found: list[tuple[int, int]] = []
    gone: list[str] = []
    without: dict[str, list[str]] = defaultdict(list)
    for member in decision.members:  # as blended then: what its members finished since is not in it
        spec = today_spec(member.spec)
        plan = plan_for(spec)
        if plan is None:
            gone.append(f"the run folder of {spec} is gone or damaged")
            continue
        if chosen := re.findall(r"/seed(\d+)", member.name):
            plan = replace(plan, seeds=tuple(int(seed) for seed in chosen))
        missing = plan.missing({(fit.seed, fit.fold) for fit in member.folders})
        found += [fit for fit in missing if fit not in found]
        if missing:
            without[missing_text(plan, missing)].append(member.name)
    sentences = []
    for text, names in without.items():
        every = len(names) > 1 and len(names) == len(decision.members)
        sentences.append(f"without {text} of {'any member' if every else ', '.join(names)}")
    return found, [*gone, *sentences]


def stored_plan(spec: str, read: Callable[[Path], RunRecord] = read_run) -> Plan | None:
    """The plan of a run by its name; None where its folder is gone or damaged. ``read`` reads the record of a fit."""
    try:
        info = read_info(run_folder(spec), read)
    except UserError:
        return None
    return None if info is None else plan_of(info)
