"""The systems that heldout replaces beside its own runs in RESULTS.md: their figures, and all that differs."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from heldout import files
from heldout.blend.decision import read_decision
from heldout.deliver.ablation import family_of
from heldout.deliver.lineage import stands_on
from heldout.deliver.row import Row
from heldout.deliver.texts import bounds, number
from heldout.train.runs import read_info, run_folder

_HEAD = """## Beside other systems

Their figures are as their own descriptions state them (`src/heldout/deliver/baselines.json`), ours those of the best
finished run or blend of the same kind under each budget. They stand on different cases, splits, budgets and
pretraining, told in every line, so that no line proves one system better than another. Ours are out-of-fold; thresholds
are tuned for blends only, and cross-fitted there.
"""


def baseline_tables(rows: Sequence[Row]) -> str:
    """A table for every kind of data of which there is a run; empty where there is none."""
    entries = files.read_json(Path(__file__).with_name("baselines.json"))["entries"]
    tables = [table for entry in entries if (table := _table(entry, rows))]
    return "\n".join([_HEAD, *tables]) if tables else ""


def matching(entry: dict[str, Any], rows: Sequence[Row]) -> list[Row]:
    """Our best run or blend for each budget, the full one first; only of the entry's family and datasets."""
    of_family = [row for row in rows if row.kind == "run" and family_of(row.name) == entry["family"]]
    datasets = set(entry["datasets"]) or {row.dataset for row in of_family}
    lead = entry["metrics"][0]
    able = [row for row in rows if row.dataset in datasets and _value(row, lead) is not None]
    if not any(row.dataset in datasets for row in of_family):
        return []
    best: dict[str | None, Row] = {}
    for row in sorted(able, key=lambda row: -_value(row, lead)):
        best.setdefault(row.budget, row)
    return sorted(best.values(), key=lambda row: (row.budget is not None, row.budget or ""))


def _table(entry: dict[str, Any], rows: Sequence[Row]) -> str:
    ours = matching(entry, rows)
    if not ours:
        return ""
    metrics = entry["metrics"]
    columns = ["system", *metrics, "data", "split", "budget", "pretraining", "source"]
    lines = [f"### {entry['family']}: {entry['title']}", "", f"| {' | '.join(columns)} |", "|" + "---|" * len(columns)]
    for system in entry["systems"]:
        values = [number(system["values"].get(name)) for name in metrics]
        cells = [system["name"], *values, *(system[key] for key in columns[-5:])]
        lines.append(f"| {' | '.join(cells)} |")
    lines += [f"| {' | '.join(_ours(row, metrics))} |" for row in ours]
    if "note" in entry:
        lines += ["", *textwrap.wrap(entry["note"], 120)]
    return "\n".join([*lines, ""])


def _ours(row: Row, metrics: Sequence[str]) -> list[str]:
    values = []
    for name in metrics:
        interval = f" {bounds(row.low, row.high)}" if name == row.metric and row.low is not None else ""
        values.append(f"**{number(_value(row, name))}**{interval}" if _value(row, name) is not None else "-")
    configs = _configs(row)
    folds = sorted({fit["fold"] for fit in row.fits}) or sorted(row.fold_scores)
    near = bool(configs) and all(config["near_duplicates"] for config in configs)
    kept = f"patients and {'near' if near else 'exact'} duplicates in one fold"
    split = f"out-of-fold, folds {', '.join(map(str, folds))}; {kept}"
    budget = f"{row.budget}: {', '.join(row.scaled)}" if row.budget and row.scaled else row.budget or "full"
    cases = f"{row.cases} cases of {row.patients} patients of {row.dataset}"
    starts = [found for config in configs if (found := stands_on(config))]
    name = f"**heldout, {'blend ' if row.kind == 'blend' else ''}{row.name}**"
    return [name, *values, cases, split, budget, ", ".join(dict.fromkeys(starts)) or "none", "this file"]


def _configs(row: Row) -> list[dict[str, Any]]:
    """Configuration of a run as it was trained, or of the members of a blend."""
    specs = [row.name]
    if row.kind == "blend":
        specs = [member["spec"] for member in read_decision(row.name).members]
    infos = [read_info(run_folder(spec)) for spec in specs]
    return [info.config["config"] for info in infos if info is not None]


def _value(row: Row, name: str) -> float | None:
    return row.score if row.metric == name else row.also.get(name)
