"""The systems that heldout replaces beside its own runs in RESULTS.md: their figures, and all that differs."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from heldout import files
from heldout.blend.decision import read_decision
from heldout.evaluate.ablation import family_of
from heldout.evaluate.lineage import depends_on
from heldout.evaluate.row import Row
from heldout.metrics import get_metric
from heldout.records import Number, parse_value
from heldout.report.format import BEST_CHECKPOINT, asterisk, bounds, cases_text, number
from heldout.train.runs import RunInfo, read_info, run_folder

_CONDITIONS = ("data", "split", "budget", "pretraining", "source")


@dataclass(frozen=True)
class System:
    """A system as its own description states it: name, figures, and all that differs."""

    name: str
    values: dict[str, Number]
    data: str
    split: str
    budget: str
    pretraining: str
    source: str


@dataclass(frozen=True)
class Baseline:
    """Other systems on one kind of data, and which of our runs are listed beside them.

    Attributes:
        title: Heading of the table.
        roots: First experiments of our families on such data.
        datasets: Our datasets; empty for any.
        metrics: Scores to show; the first decides which run is the best.
        systems: The other systems.
        own_names: Metrics that they name and define otherwise than we do.
        also: Experiments of ours to be shown beside the best.
        helpers: Experiments of ours that only serve others.
        note: Text below the table.
        note_of_a_cpu: The same, as long as ours had none but the ``budgets_of_a_cpu``.
    """

    title: str
    roots: list[str]
    datasets: list[str]
    metrics: list[str]
    systems: list[System]
    own_names: dict[str, str] = field(default_factory=dict)
    also: list[str] = field(default_factory=list)
    helpers: list[str] = field(default_factory=list)
    note: str = ""
    note_of_a_cpu: str = ""
    budgets_of_a_cpu: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Baselines:
    """``exps/baselines.json``."""

    about: str
    entries: list[Baseline]


@dataclass(frozen=True)
class Comparison:
    """Other systems and ours on one kind of data: a table with notes below it."""

    title: str
    columns: list[str]
    rows: list[list[str]]
    notes: list[str]


def comparisons(rows: Sequence[Row]) -> list[Comparison]:
    """A table for every kind of data of which there is a run; none where the project names no other systems."""
    return [found for entry in baselines() if (found := _compare(entry, rows)) is not None]


def baselines() -> list[Baseline]:
    """What the project holds of other systems; nothing where it has no such file.

    Raises:
        UserError: the file is damaged.
    """
    path = files.project() / "exps" / "baselines.json"
    if not path.is_file():
        return []
    return parse_value(path.read_bytes(), str(path), Baselines, "restore it from the repository").entries


def matching(entry: Baseline, rows: Sequence[Row]) -> list[Row]:
    """Ours beside an entry: of each dataset and budget the best run, the runs it names beside, and the best blend.

    The best has the most folds, and of those the highest score; the full budget comes first.
    """
    runs = [row for row in rows if row.kind == "run" and family_of(row.name) in entry.roots]
    runs = [row for row in runs if row.dataset in entry.datasets or not entry.datasets]
    runs = [row for row in runs if _experiment(row) not in entry.helpers]
    datasets = {row.dataset for row in runs}
    able = [*runs, *(row for row in rows if row.kind == "blend" and row.dataset in datasets)]
    scored = [(value, row) for row in able if (value := _value(row, entry.metrics[0])) is not None]
    best: dict[tuple[str, str | None, str], Row] = {}
    for _, row in sorted(scored, key=lambda pair: (-len(_folds(pair[1])), -pair[0])):
        best.setdefault((row.dataset, row.budget, row.kind), row)
    shown = list(best.values())
    shown += [row for row in able if row.name.removesuffix(f"@{row.budget}") in entry.also and row not in shown]
    return sorted(shown, key=lambda row: (row.dataset, row.budget is not None, row.budget or "", row.kind == "blend"))


def _experiment(row: Row) -> str:
    """The experiment behind a run: ``exp040`` of ``exp040@quick+lr=0.1``."""
    return re.split("[@+]", row.name)[0]


def _compare(entry: Baseline, rows: Sequence[Row]) -> Comparison | None:
    ours = matching(entry, rows)
    if not ours:
        return None
    named = {name: entry.own_names.get(name, name) for name in entry.metrics}
    headings = [name if own == name else f"{own} (ours: {name})" for name, own in named.items()]
    found = []
    for system in entry.systems:
        values = (number(system.values.get(own)) for own in named.values())
        found.append([system.name, *values, *(getattr(system, key) for key in _CONDITIONS)])
    found += [_ours(row, entry.metrics) for row in ours]
    notes = [entry.note] if entry.note else []
    if {row.budget for row in ours} <= set(entry.budgets_of_a_cpu):
        notes.append(entry.note_of_a_cpu)
    if any(row.checkpoint == "best" for row in ours):
        notes.append(BEST_CHECKPOINT)
    return Comparison(entry.title, ["system", *headings, *_CONDITIONS], found, notes)


def _ours(row: Row, metrics: Sequence[str]) -> list[str]:
    values = []
    for name in metrics:
        interval = f" {bounds(row.low, row.high)}" if name == row.metric and row.low is not None else ""
        values.append(f"{number(_value(row, name))}{interval}")
    infos = _infos(row)
    configs = [info.config.settings for info in infos]
    near = bool(configs) and all(config.near_duplicates for config in configs)
    kept = f"{'' if row.cases == row.patients else 'patients and '}{'near' if near else 'exact'} duplicates in one fold"
    split = f"out-of-fold, folds {', '.join(map(str, _folds(row)))}; {kept}"
    budget = f"{row.budget}: {', '.join(row.scaled)}" if row.budget and row.scaled else row.budget or "full"
    starts = [found for config in configs if (found := depends_on(config))]
    pretraining = ", ".join(dict.fromkeys(starts)) or ("none" if configs else "not known")
    name = f"heldout, {'blend ' if row.kind == 'blend' else ''}{row.name}{asterisk(row)}, {_thresholds(row, infos)}"
    return [name, *values, f"{cases_text(row)} of {row.dataset}", split, budget, pretraining, "this file"]


def _folds(row: Row) -> list[int]:
    return sorted({fit.fold for fit in row.fits}) or sorted(row.fold_scores)


def _infos(row: Row) -> list[RunInfo]:
    """What is stored of a run as it was trained, or of the members of a blend."""
    specs = [row.name]
    if row.kind == "blend":
        specs = [member.spec for member in read_decision(row.name).members]
    return [info for spec in specs if (info := read_info(run_folder(spec))) is not None]


def _thresholds(row: Row, infos: Sequence[RunInfo]) -> str:
    """How its masks and predicted labels are made."""
    if any(info.config.exclusive and len(info.config.classes) > 1 for info in infos):
        return "the most probable class each"
    if row.threshold == "cross-fitted" or (row.kind == "blend" and get_metric(row.metric).thresholded):
        return "cross-fitted thresholds"
    return "threshold of one half"


def _value(row: Row, name: str) -> float | None:
    return row.score if row.metric == name else row.also.get(name)
