"""The systems that heldout replaces beside its own runs in RESULTS.md: their figures, and all that differs."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from heldout import files
from heldout.evaluate.ablation import family_of
from heldout.evaluate.row import Row
from heldout.evaluate.scores import CALIBRATED_ERROR
from heldout.metrics.registry import get_metric
from heldout.records import Number, read_record
from heldout.report.archive import ONE_HALF, ResultRecord, ScoreLine
from heldout.report.format import BEST_CHECKPOINT, asterisk, bounds, cases_text, number

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
class Goal:
    """A score that ours are to reach.

    Attributes:
        metric: Name of the score.
        bound: Its value: at least, or at most where less is better.
        dataset: Of which dataset; of any where empty.
        tried: What was tried without reaching it.
    """

    metric: str
    bound: Number
    dataset: str = ""
    tried: str = ""


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
        helpers: Experiments, or single runs, of ours that only serve others.
        goals: What ours are to reach.
        note: Text below the table.
    """

    title: str
    roots: list[str]
    datasets: list[str]
    metrics: list[str]
    systems: list[System]
    own_names: dict[str, str] = field(default_factory=dict)
    also: list[str] = field(default_factory=list)
    helpers: list[str] = field(default_factory=list)
    goals: list[Goal] = field(default_factory=list)
    note: str = ""


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


def comparisons(records: Sequence[ResultRecord]) -> list[Comparison]:
    """A table for every kind of data of which there is a run; none where the project names no other systems."""
    return [found for entry in baselines() if (found := _compare(entry, records)) is not None]


def baselines() -> list[Baseline]:
    """What the project holds of other systems; nothing where it has no such file.

    Raises:
        UserError: the file is damaged.
    """
    path = files.project() / "exps" / "baselines.json"
    if not path.is_file():
        return []
    return read_record(path, Baselines, 1, "restore it from the repository").entries


Ours = TypeVar("Ours", bound="Row | ResultRecord")


def matching(entry: Baseline, rows: Sequence[Ours]) -> list[Ours]:
    """Ours beside an entry: of each dataset the best run, the runs it names beside, and the best blend.

    The best has the most folds, and of those the highest score.
    """
    runs = [row for row in rows if row.kind == "run" and family_of(row.name) in entry.roots]
    runs = [row for row in runs if row.dataset in entry.datasets or not entry.datasets]
    runs = [row for row in runs if not {_experiment(row), row.name} & set(entry.helpers)]
    datasets = {row.dataset for row in runs}
    able = [*runs, *(row for row in rows if row.kind == "blend" and row.dataset in datasets)]
    scored = [(value, row) for row in able if (value := _value(row, entry.metrics[0])) is not None]
    best: dict[tuple[str, str], Ours] = {}
    for _, row in sorted(scored, key=lambda pair: (-len(pair[1].folds), -pair[0])):
        best.setdefault((row.dataset, row.kind), row)
    shown = list(best.values())
    shown += [row for row in able if row.name.removesuffix(f"@{row.budget}") in entry.also and row not in shown]
    return sorted(shown, key=lambda row: (row.dataset, row.kind == "blend"))


def _experiment(row: Row | ResultRecord) -> str:
    """The experiment behind a run: ``exp040`` of ``exp040@quick+lr=0.1``."""
    return re.split("[@+]", row.name)[0]


def _compare(entry: Baseline, records: Sequence[ResultRecord]) -> Comparison | None:
    ours = matching(entry, records)
    if not ours:
        return None
    named = {name: entry.own_names.get(name, name) for name in entry.metrics}
    headings = [name if own == name else f"{own} (ours: {name})" for name, own in named.items()]
    found = []
    for system in entry.systems:
        values = (number(system.values.get(own)) for own in named.values())
        found.append([system.name, *values, *(getattr(system, key) for key in _CONDITIONS)])
    blends = {record.dataset for record in ours if record.kind == "blend" and record.by_theirs}
    for record in ours:
        found.append(_ours(record, entry.metrics))
        if record.kind == "blend" or record.dataset not in blends:
            shown = [line for line in record.by_theirs if set(line.values) & set(entry.metrics)]
            found += [_theirs(record, line, entry.metrics) for line in shown]
    notes = [f"Goals: {'; '.join(_reached(goal, ours) for goal in entry.goals)}."] if entry.goals else []
    notes += [entry.note] if entry.note else []
    if any(record.checkpoint == "best" for record in ours):
        notes.append(BEST_CHECKPOINT)
    return Comparison(entry.title, ["system", *headings, *_CONDITIONS], found, notes)


def _ours(record: ResultRecord, metrics: Sequence[str]) -> list[str]:
    values = []
    for name in metrics:
        value, ranks = number(_value(record, name)), name == record.metric
        around = [record.low, record.high] if ranks else record.also_bounds.get(name, [None, None])
        value = f"{value} {bounds(*around)}".strip()
        # of a run at cross-fitted thresholds, only the score that ranks is at these
        half = record.thresholds == ONE_HALF or (record.at_half is not None and not ranks)
        cut = half and value != "-" and name != CALIBRATED_ERROR and get_metric(name).thresholded
        values.append(f"{value} at ½" if cut else value)
    budget = f"{record.budget}: {', '.join(record.scaled)}" if record.budget and record.scaled else record.budget
    if record.core_hours is not None:
        budget = f"{budget or 'full'}; {record.core_hours:.2g} core-hours"
    return [
        f"heldout, {_named(record)}",
        *values,
        f"{cases_text(record)} of {record.dataset}",
        record.split,
        budget or "full",
        record.pretraining,
        "this file",
    ]


def _theirs(record: ResultRecord, line: ScoreLine, metrics: Sequence[str]) -> list[str]:
    values = (number(line.values.get(name)) for name in metrics)
    return [
        f"heldout, {_named(record)}, by {line.who}",
        *values,
        line.cases,
        line.differs,
        line.budget,
        "as above",
        "this file",
    ]


def _named(record: ResultRecord) -> str:
    return f"{'blend ' if record.kind == 'blend' else ''}{record.name}{asterisk(record)}"


def _reached(goal: Goal, ours: Sequence[ResultRecord]) -> str:
    """A goal, the best value of ours that are shown, and whether it is reached."""
    sign = 1 if get_metric(goal.metric).higher_is_better else -1
    wanted = f"{goal.metric} {'at least' if sign > 0 else 'at most'} {goal.bound:g}"
    able = [record for record in ours if goal.dataset in ("", record.dataset)]
    values = [(sign * value, record.name) for record in able if (value := _value(record, goal.metric)) is not None]
    if not values:
        return f"{wanted}, not measured"
    value, name = max(values)
    if value >= sign * goal.bound:
        return f"{wanted}, reached: {number(sign * value)} ({name})"
    return f"{wanted}, not reached: {number(sign * value)} ({name})" + (f", tried: {goal.tried}" if goal.tried else "")


def _value(row: Row | ResultRecord, name: str) -> float | None:
    return row.score if row.metric == name else row.also.get(name)
