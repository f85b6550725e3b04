"""RESULTS.md: what was run, on which part, with which budget and machine; written from what lies in working/."""

from __future__ import annotations

from collections import defaultdict
from contextlib import suppress
from pathlib import Path

from heldout import files
from heldout.errors import UserError
from heldout.evaluate.ablation import ablations
from heldout.evaluate.row import Row
from heldout.report.format import (
    BEST_CHECKPOINT,
    asterisk,
    bounds,
    cases_text,
    duration,
    interval_text,
    lineage,
    metric_text,
    number,
    seeds_text,
    signed,
    test_evals_text,
)
from heldout.report.results.ablation import ablation_tables, unscored
from heldout.report.results.baselines import baseline_tables
from heldout.report.results.uncertainty import uncertainty_table

_HEAD = """# Results

Written by `python run.py results` from the run folders; change nothing here by hand. Scores stand on out-of-fold
predictions of the train part: every case was predicted by networks that never saw its patient, or that single image
where the dataset names no patients. Intervals are 95 % bootstrap intervals over patients, or single images where the
dataset names no patients; where only cases are counted, every case is one of its own. A budget is a scaled-down way to
run that the experiment itself declares. In the tables of the datasets a run by itself is cut at one half, a blend at
thresholds tuned on the other folds.
"""


def write_results(rows: list[Row]) -> tuple[Path, list[str]]:
    """Write ``RESULTS.md`` beside ``working/``.

    Returns:
        Its path, and which runs and blends have no score there, and why.

    Raises:
        UserError: there are no runs; an existing file stays as it is.
    """
    if not rows:
        raise UserError(f"{files.home() / 'working'} holds no finished run: train first, `python run.py exp001`")
    datasets: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        datasets[row.dataset].append(row)
    found = ablations(rows)
    tables = [baseline_tables(rows), ablation_tables(found, rows), uncertainty_table(rows)]
    parts = [_HEAD, *filter(None, tables), *(_dataset(name, datasets[name]) for name in sorted(datasets))]
    path = files.home() / "RESULTS.md"
    files.write_text(path, "\n".join(parts))
    damaged = [f"{row.name}: {row.note.rstrip('.')}" for row in rows if row.score is None and row.note]
    return path, [*damaged, *unscored(found)]


def _dataset(name: str, rows: list[Row]) -> str:
    lines = [f"## {name}", "", *_caveats(name, rows)]
    lines += ["| name | metric | out-of-fold score | scored on | folds | seeds | budget | trained | test part |"]
    lines += ["|" + "---|" * 9]
    lines += [_line(row) for row in rows]
    if any(row.checkpoint == "best" for row in rows):
        lines += ["", BEST_CHECKPOINT]
    return "\n".join([*lines, "", *_by_fold(rows), *(_detail(row) + _alternatives(row) for row in rows)])


def _caveats(name: str, rows: list[Row]) -> list[str]:
    """What the data's source says that a reader of the scores must know, as it was noted when they were checked."""
    found: list[str] = []
    start = name.strip("/").replace("/", "_")  # as the folders of checked data are named
    for folder in sorted((files.home() / "working" / "data").glob("*-*")):
        if folder.name.rpartition("-")[0] != start or not (folder / "index.json").is_file():
            continue
        with suppress(UserError):  # of damaged tables nothing is known; whoever opens them is told
            index = files.read_record(folder / "index.json", {"data_hash": str}, "check the dataset again")
            leaks = files.read_record(folder / "leaks.json", {"caveats": list}, "check the dataset again")
            found += leaks["caveats"] if index["data_hash"] in {row.data_hash for row in rows} else []
    return [*(f"- {caveat}" for caveat in dict.fromkeys(found)), *([""] if found else [])]


def _by_fold(rows: list[Row]) -> list[str]:
    """The same scores of every fold alone: how much luck there is in which patients are held out."""
    shown = [row for row in rows if len(row.fold_scores) > 1]
    folds = sorted({fold for row in shown for fold in row.fold_scores})
    if not shown:
        return []
    columns = ["name", "metric", *(f"fold {fold}" for fold in folds), "standard deviation"]
    lines = [f"| {' | '.join(columns)} |", "|" + "---|" * len(columns)]
    for row in shown:
        scores = (number(row.fold_scores.get(fold)) for fold in folds)
        cells = [row.name + asterisk(row), row.metric, *scores, number(row.fold_spread)]
        lines.append(f"| {' | '.join(cells)} |")
    return [*lines, ""]


def _line(row: Row) -> str:
    folds, seeds = (sorted({fit[key] for fit in row.fits}) for key in ("fold", "seed"))
    test = bounds(row.test_low, row.test_high)
    test = ", ".join(filter(None, [f"{number(row.test_score)} {test}".strip(), test_evals_text(row)]))
    cells = [
        row.name + asterisk(row),
        row.metric,
        interval_text(row),
        cases_text(row),
        _list(folds) or f"{row.done} networks",
        _list(seeds) or "-",
        row.budget or ("-" if row.score is None else "full"),
        "-" if row.score is None else duration(row.seconds),
        test if row.test_evals_by_name else "not evaluated",
    ]
    return "| " + " | ".join(cells) + " |"


def _detail(row: Row) -> str:
    origin = f" ({lineage(row)})" if lineage(row) else ""
    text = f"**{row.name}**: {row.title.rstrip('.')}{origin}."
    if row.scaled:
        text += f" Budget {row.budget}: {', '.join(row.scaled)}."
    if row.in_sample is not None:
        text += f" In-sample {number(row.in_sample)}, cross-fitted {number(row.score)}."
    if row.seed_spread is not None:
        text += f" Seeds alone, all folds pooled: {seeds_text(row)}."
    if row.note:
        text += f" {row.note[0].upper()}{row.note[1:]}."
    if not row.fits:
        return text + "\n"
    for values in (row.by_class, {metric_text(name): value for name, value in row.also.items()}):
        if values:
            text += " " + ", ".join(f"{name} {number(value)}" for name, value in values.items()) + "."
    fits = [f"seed {fit['seed']} fold {fit['fold']} {number(fit['score'])}" for fit in row.fits]
    where = sorted({f"{fit['machine']}, torch {fit['torch']}" for fit in row.fits})
    epochs = sorted({fit["epochs"] for fit in row.fits})
    return f"{text} {_list(epochs)} epochs; {'; '.join(fits)}. On {'; '.join(where)}.\n"


def _alternatives(row: Row) -> str:
    """Of a blend, what simpler choices from the same members score; empty for a run."""
    if row.kind != "blend" or row.in_sample is None:
        return ""
    tuned = {"in_sample": row.in_sample, "cross_fitted": row.score}
    listed = dict(row.baselines) or {f"{row.name}, as tuned": tuned}
    lines = ["", f"| {row.name}: {row.metric} | in-sample | cross-fitted | optimism |", "|---|---|---|---|"]
    for name, scores in listed.items():
        in_sample, honest = scores.get("in_sample"), scores.get("cross_fitted")
        gap = None if in_sample is None or honest is None else in_sample - honest
        gap = gap if gap is None or row.higher_is_better else -gap
        lines.append(f"| {name} | {number(in_sample)} | {number(honest)} | {signed(gap)} |")
    return "\n".join([*lines, "", ""])


def _list(values: list[int]) -> str:
    return ", ".join(str(value) for value in values)
